"""The README stays true: its tree names every file, its commands and figures exist."""

import ast
import itertools
import re

import numpy as np
import pytest

from simlaw.cli.corpus import KINDS
from simlaw.config import Tokens
from simlaw.config.source import AbstractSource
from simlaw.corpora import open_corpus
from simlaw.laws import PrecisionWeights
from simlaw.plan import expand
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted(path for path in (ROOT / "docs" / "corpora").glob("*.md") if path.name != "README.md")
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


def test_the_python_example_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    truth = PrecisionWeights(E=1.8, A=400.0, B=2000.0, alpha=0.35, beta=0.37, g_w=2.0, n_w=0.3)
    grid = itertools.product(np.geomspace(1e6, 6.4e7, 4), np.geomspace(5e8, 8e10, 4), (3, 4, 6, ""), range(3))
    rng = np.random.default_rng(0)
    with (tmp_path / "runs.csv").open("w") as file:
        print("params,tokens,w_bits,val_loss,state", file=file)
        for n, d, bits, _ in grid:
            loss = truth.loss(N=n, D=d, P_w=bits or np.inf) * np.exp(0.004 * rng.normal())
            print(f"{n},{d},{bits},{loss},finished", file=file)
        print("1e6,5e8,3,9.8,failed", file=file)
    block = next(
        text for text in re.findall(r"(?:^    .*\n|^\n)+", README, flags=re.MULTILINE) if "import simlaw as sl" in text
    )
    names, shown = {}, []
    for statement in ast.parse("\n".join(line[4:] for line in block.splitlines())).body:
        code = ast.unparse(statement)
        if isinstance(statement, ast.Expr):
            shown.append(eval(code, names))
        else:
            exec(code, names)
    said = "\n".join(str(value) for value in shown)
    assert "PrecisionWeights: VALID" in said
    assert "PrecisionWeights wins beyond noise" in said
    assert "nothing stands out" in said
    assert "in int5 g128, within 29 kB and 1e12 training FLOPs" in said
    assert "the best choice is" in said
    assert "a model of 26.6k parameters at P_post=3 gets worse with more than" in said
    assert shown[-2].round(3).tolist() == [4.306, 3.828, 3.740]
    assert shown[-1].bits.round(2).tolist() == [7.0, 7.0]


def declared(page):
    """The corpora that the Python lines of a page declare."""
    block = re.search(r"(?:^    .*\n|^\n)*^    from simlaw(?:.*\n)(?:^    .*\n|^\n)+", page, flags=re.MULTILINE)[0]
    names = {}
    exec("\n".join(line[4:] for line in block.splitlines()), names)
    each = [one for value in names.values() for one in (value if isinstance(value, tuple) else (value,))]
    return [one for one in each if isinstance(one, AbstractSource)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_python_lines_of_a_page_declare_corpora_that_open(path):
    page = path.read_text()
    assert len(page.splitlines()) <= 60
    kinds = re.findall(r"simlaw corpus (\w+)", page)
    found = declared(page)
    assert path.stem in kinds
    assert {type(one) for one in found} == {KINDS[kind][0] for kind in kinds}
    for one in found:
        if not (isinstance(one, Tokens) or getattr(one, "folder", None)):  # those want a person's files
            assert open_corpus(one).fingerprint


def test_every_kind_of_corpus_has_a_page():
    kinds = [kind for path in PAGES for kind in dict.fromkeys(re.findall(r"simlaw corpus (\w+)", path.read_text()))]
    assert sorted(kinds) == sorted(KINDS)
    index = (ROOT / "docs" / "corpora" / "README.md").read_text()
    assert sorted(re.findall(r"\]\((\w+)\.md\)", index)) == [path.stem for path in PAGES]
    assert [kind for kind in KINDS if f"`{kind}`" not in index] == []
