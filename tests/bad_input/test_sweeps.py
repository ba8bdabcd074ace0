"""Sweep files that no sweep can be made of."""

from pathlib import Path

import pytest

from tests.bad_input.conftest import Refused, as_bytes
from tests.conftest import ROOT

SMOKE = (ROOT / "sweeps" / "smoke" / "sweep.py").read_text()
#: Whole files by the rule that they break, each with words of the sentence.
FILES: dict[str, tuple[str | bytes, str]] = {
    "it defines a sweep": ("", "defines no SWEEP = Sweep(...)"),
    "SWEEP is a value": (SMOKE + "\nSWEEP = Sweep\n", "defines no SWEEP = Sweep(...)"),
    "it is Python": ("SWEEP = Sweep(\n", "line 1 raises SyntaxError: '(' was never closed"),
    "it is UTF-8": (SMOKE.replace("whole", "whöle").encode("latin-1"), "can't decode byte 0xf6"),
    "it is text": (SMOKE.encode() + b"\0", "null bytes"),
    "it ends by itself": ("import sys\nsys.exit(0)\n", "line 2 raises SystemExit: 0"),
    "its imports are there": ("import nothing_such\n", "No module named 'nothing_such'"),
    "it raises nothing": ("raise ValueError('a\\nb')\n", "line 1 raises ValueError: a b; mend the sweep file"),
    "it comes to an end": ("def f():\n    f()\nf()\n", "RecursionError"),
    "it can be compiled": ("x = " + "-" * 5000 + "1\n", "RecursionError"),
    "what it says is short": (f"raise ValueError('{'a' * 9999}')\n", "a" * 200 + "a; mend the sweep file"),
    "fields are given once": (SMOKE.replace("batch=8,", "batch=8, batch=8,"), "keyword argument repeated: batch"),
    "declarations do not change": (SMOKE + "\nSWEEP.batch = 3\n", "cannot assign to field 'batch'"),
}
#: Changes of one line of a good file, by the rule that they break.
CHANGES: dict[str, tuple[str, str, str]] = {
    "fields are known": ("batch=8", "batch=8, bacth=3", "line 17: Sweep has no field 'bacth': did you mean 'batch'?"),
    "fields are there": ("    batch=8,\n", "", "Sweep needs the field 'batch'"),
    "fields are named": ("Graph(nodes=16, out=4)", "Graph(16, 4)", "Graph(16) needs field names"),
    "counts are numbers": ("batch=8", "batch='8'", "Sweep.batch is '8': it must be a whole number"),
    "counts are whole": ("batch=8", "batch=8.5", "Sweep.batch is 8.5: it must be a whole number"),
    "counts are above 0": ("batch=8", "batch=-8", "Sweep.batch is -8: it must be at least 1"),
    "rates are numbers": ("rate=0.02", "rate=float('nan')", "RateRule.rate is nan: it must be a finite number"),
    "rates are finite": ("rate=0.02", "rate=float('inf')", "RateRule.rate is inf: it must be a finite number"),
    "numbers fit a float": ("rate=0.02", "rate=10**400", "it must be a finite number"),
    "axes are tuples": ("seeds=(0, 1, 2)", "seeds=[0]", "Grid.seeds is [0]: it must be a tuple"),
    "axes have values": ("widths=(8, 16)", "widths=()", "Grid.widths is empty"),
    "seeds fit 31 bits": ("seeds=(0, 1, 2)", "seeds=(2**70,)", "the seed 1180591620717411303424"),
    "widths fit heads": ("widths=(8, 16)", "widths=(9,)", "width 9 is no multiple of the head dimension 8"),
    "tokens are whole batches": ("20 * BATCH_TOKENS, ", "200, ", "RunSpec.tokens is 200: it must be whole batches"),
    "steps fit 32 bits": ("80 * BATCH_TOKENS)", "128 * 10**30)", "would be more than 2147483647 steps"),
    "warm-ups end": ("4 * BATCH_TOKENS", "4000 * BATCH_TOKENS", "the warm-up of 512000 tokens is longer"),
    "cool-downs are shares": ("cooldown=0.2", "cooldown=1.5", "WSD.cooldown is 1.5: it must be from 0 to 1"),
    "bits are bits": ("bits=(3, 4, 8)", "bits=(0,)", "PTQGrid.bits is (0,): item 0 is 0"),
    "graphs fit memory": ("nodes=16", "nodes=10**12", "Graph.nodes is 1000000000000: it must be from 2 to 16384"),
    "successors are nodes": ("out=4", "out=40", "Graph.out is 40: a node has at most 16 successors"),
    "evaluations have windows": ("eval_tokens=2048", "eval_tokens=1", "Sweep.eval_tokens is 1: errors are"),
    "evaluations fit memory": ("eval_tokens=2048", "eval_tokens=10**18", "Sweep.eval_tokens is 1000000000000000000"),
    "corpora are declared": ("Graph(nodes=16, out=4)", "'graph'", "Sweep.corpus is 'graph': it must be Text or"),
    "budgets are above 0": ("bytes=2000", "bytes=-1", "Budget.bytes is -1: it must be above 0"),
    "choices name columns": ("    budget", "    where=('nope=1',), budget", "Sweep.where has 'nope=1'"),
    "choices have values": ("    budget", "    where=('tokens',), budget", "Sweep.where has 'tokens'"),
}


@pytest.mark.parametrize("rule", FILES)
def test_a_broken_file_is_refused(rule: str, project: Path, refused: Refused) -> None:
    content, words = FILES[rule]
    path = project / "sweeps" / "bad" / "sweep.py"
    path.parent.mkdir()
    path.write_bytes(as_bytes(content))
    refused(words, "plan", "bad")


@pytest.mark.parametrize("rule", CHANGES)
def test_a_wrong_declaration_is_refused(rule: str, project: Path, refused: Refused) -> None:
    old, new, words = CHANGES[rule]
    assert old in SMOKE
    path = project / "sweeps" / "bad" / "sweep.py"
    path.parent.mkdir()
    path.write_text(SMOKE.replace(old, new, 1))
    refused(words, "plan", "bad", "--own")


@pytest.mark.parametrize("command", ["run", "status", "table", "claims", "corpus"])
def test_every_command_says_the_same(command: str, project: Path, refused: Refused) -> None:
    path = project / "sweeps" / "bad" / "sweep.py"
    path.parent.mkdir()
    path.write_text(SMOKE.replace("batch=8", "batch=0"))
    refused("sweeps/bad/sweep.py, line 17: Sweep.batch is 0: it must be at least 1", command, "bad")


def test_a_file_must_be_a_file(project: Path, refused: Refused) -> None:
    path = project / "sweeps" / "bad" / "sweep.py"
    path.mkdir(parents=True)
    refused("there is no sweep 'bad'", "plan", "bad")
    path.rmdir()
    path.symlink_to(path)  # a loop
    refused("there is no sweep 'bad'", "plan", "bad")
    refused("there is no sweep '", "plan", str(path))
    refused("there is no sweep 'aaa", "plan", "a" * 5000)


def test_what_a_sweep_prints_does_not_come_between(project: Path, refused: Refused) -> None:
    import json

    from click.testing import CliRunner

    from simlaw.cli import cli

    path = project / "sweeps" / "smoke" / "sweep.py"
    path.write_text(SMOKE + "\nprint('hello')\n")
    said = CliRunner().invoke(cli, ["plan", "smoke", "--json"])
    assert (said.exit_code, said.stderr) == (0, "hello\n")
    assert json.loads(said.stdout)["runs"] == 18
