"""The README stays true: its tree names every file, its commands and figures exist."""

import re

import pytest

from simlaw.plan import expand
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
TREE = README.split("## The files")[1]


@pytest.mark.parametrize("path", sorted((ROOT / "simlaw").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_tree_names_every_file(path):
    if path.name not in ("__init__.py", "__main__.py"):
        assert f" {path.name} " in TREE


def test_the_tree_names_no_file_that_is_not_there():
    names = set(re.findall(r"^ +(\w+\.py) ", TREE, flags=re.MULTILINE))
    there = {path.name for folder in ("simlaw", "figures", "sweeps", "tests") for path in (ROOT / folder).rglob("*.py")}
    assert names
    assert names <= there


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"^>? ?[A-Z_]{4,}$", README, flags=re.MULTILINE)


def test_the_sweep_example_is_a_sweep():
    block = next(text for text in re.findall(r"(?:^    .*\n|^\n)+", README, flags=re.MULTILINE) if "SWEEP = " in text)
    names = {}
    exec("\n".join(line[4:] for line in block.splitlines()), names)
    sweep = names["SWEEP"]
    assert sweep.schedule.warmup_tokens == 65_536
    assert len(expand(sweep, "f").cells) == 27


def test_the_python_example_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    block = next(
        text for text in re.findall(r"(?:^    .*\n|^\n)+", README, flags=re.MULTILINE) if "import simlaw as sl" in text
    )
    code = "\n".join(line[4:] for line in block.splitlines()).replace('"law.json"', repr(str(tmp_path / "law.json")))
    exec(code, {})
    said = capsys.readouterr().out
    assert "quantize N=129M in int5 g128" in said
    assert "the best choice is 334M parameters on 166B tokens" in said
    assert "Chinchilla: VALID" in said
