"""Command lines that say nothing to do."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bad_input.conftest import Refused, contents

ALLOCATE = ("allocate", "besiroglu2024")
SIMULATE = ("simulate", "smoke", "--law", "besiroglu2024", "--out", "o.csv")
TEACH = ("teach", "abc", "--out", "lessons")
#: What is typed, by the rule that it breaks.
LINES: dict[str, tuple[Sequence[str], str]] = {
    "commands are known": (("fti",), "no such command 'fti': `simlaw --help` shows"),
    "options are known": (("status", "smoke", "--jsno"), "no such option '--jsno'"),
    "options of none are known": (("--nope",), "no such option '--nope'"),
    "arguments are given": (("plan",), "missing argument 'SWEEP': `simlaw plan --help` shows"),
    "options are given": (("work",), "missing option '--manifest': `simlaw work --help` shows"),
    "options have values": (("work", "--manifest"), "option '--manifest' requires an argument"),
    "arguments are few": (("laws", "a", "b"), "got unexpected extra argument (b)"),
    "numbers are numbers": (("decide", "smoke", "--bytes", "lots"), "'lots' is not a valid float"),
    "workers are whole": (("plan", "smoke", "--workers", "1.5"), "'1.5' is not a valid integer"),
    "workers are above 0": (("plan", "smoke", "--workers", "0"), "0 is not in the range x>=1"),
    "memory is above 0": (("plan", "smoke", "--memory", "-1"), "-1.0 is not in the range x>0"),
    "memory is a number": (("plan", "smoke", "--memory", "nan"), "nan is no number of bytes"),
    "memory is finite": (("run", "smoke", "--memory", "inf"), "inf is no number of bytes"),
    "devices are known": (("run", "smoke", "--device", "abacus"), "'abacus' is not one of 'cpu', 'gpu', 'tpu'"),
    "a budget is given": (ALLOCATE, "besiroglu2024 declares no budget: give --flops"),
    "a budget is above 0": ((*ALLOCATE, "--flops", "-1"), "--flops -1: it must be a number above 0"),
    "a budget is a number": ((*ALLOCATE, "--flops", "nan"), "--flops nan: it must be a number above 0"),
    "a budget is finite": ((*ALLOCATE, "--flops", "1e999"), "--flops inf: it must be a number above 0"),
    "points have names": ((*ALLOCATE, "--flops", "1e20", "--at", "x"), "--at x: it must read NAME=VALUE"),
    "points are numbers": ((*ALLOCATE, "--flops", "1e20", "--at", "P_w=a"), "--at P_w=a: 'a' is no number"),
    "points are of the law": ((*ALLOCATE, "--flops", "1e20", "--at", "Q=1"), "Chinchilla takes no Q"),
    "laws are known": (("laws", "nope"), "there is no published law 'nope'"),
    "sweeps are known": (("plan", "nope"), "there is no sweep 'nope': the sweeps here are smoke"),
    "names lead to sweeps": (("plan", "../../nope"), "there is no sweep '../../nope'"),
    "names are short": (("plan", "a" * 5000), "there is no sweep 'aaaa"),
    "corpora are known": (("corpus", "nope"), "there is no corpus and no sweep 'nope'"),
    "windows are few": (("corpus", "graph", "--show", "1000000000000"), "which are drawn at once: take 268435456"),
    "contexts are above 0": (("corpus", "graph", "--context", "0"), "0 is not in the range x>=1"),
    "columns are chosen by value": (("claims", "smoke", "--where", "x"), "--where x: it must read COLUMN=VALUE"),
    "columns are known": (("claims", "smoke", "--where", "nope=1"), "the table has no column 'nope'"),
    "cells are of their kind": (("claims", "smoke", "--where", "tokens=x"), "tokens=x: tokens holds a whole number"),
    "rows are there": (("claims", "smoke", "--where", "tokens=3"), "no row has tokens=3"),
    "claims are known": (("claims", "smoke", "--claim", "A99"), "there is no claim 'A99'"),
    "runs are known": (("show", "zzzz"), "'zzzz' is no run here"),
    "runs are no paths": (("show", "../../x"), "'../../x' is no run here"),
    "lengths are above 0": (("show", "zzzz", "--length", "-1"), "-1 is not in the range x>=0"),
    "tokens are numbers": ((*TEACH, "--tokens", "lots"), "'lots' is no number of tokens"),
    "tokens are finite": ((*TEACH, "--tokens", "1e999"), "'1e999' is no number of tokens"),
    "laws of a draw are known": (("simulate", "smoke", "--law", "x", "--out", "o.csv"), "'x' is neither a law file"),
    "noise is not below 0": ((*SIMULATE, "--row-noise", "-1"), "the noise row is -1.0: a standard deviation is 0 or"),
    "noise leaves numbers": ((*SIMULATE, "--row-noise", "1e300"), "the noise row is 1e+300: beyond 10"),
    "seeds are not below 0": ((*SIMULATE, "--seed", "-1"), "-1 is not in the range x>=0"),
    "tables have suffixes": (("table", "smoke", "--out", "o.xls"), "o.xls ends in '.xls'"),
    "outputs are no folders": (("table", "smoke", "--out", "."), "'.' is a directory"),
    "nothing is left to fit": (("table", "smoke", "--own"), "no run of smoke is done: `simlaw run smoke` first"),
    "mirrors have a place": (("mirror", "smoke"), "nothing to write: give --tensorboard FOLDER"),
}
#: The same from a shell, where Python's own words could come in between.
SHELL: dict[str, tuple[Sequence[str], str]] = {
    "commands are known": (("fti",), "simlaw: no such command 'fti': `simlaw --help` shows what there is\n"),
    "sweeps are known": (("plan", "nope"), "simlaw: there is no sweep 'nope': the sweeps here are smoke\n"),
    "names are text": (
        ("plan", os.fsdecode(b"\xff")),
        "simlaw: there is no sweep '\\udcff': the sweeps here are smoke\n",
    ),
}


@pytest.mark.parametrize("rule", LINES)
def test_a_wrong_line_is_refused(rule: str, project: Path, refused: Refused) -> None:
    line, words = LINES[rule]
    before = contents(project)
    refused(words, *line)
    assert contents(project) == before


@pytest.mark.parametrize("rule", SHELL)
def test_a_shell_sees_one_line(rule: str, project: Path) -> None:
    line, words = SHELL[rule]
    said = subprocess.run([sys.executable, "-m", "simlaw", *line], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", words)


@pytest.mark.parametrize("store", ["own.csv", "own.csv/inner", "a" * 5000])
def test_a_store_must_be_a_folder(store: str, project: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "own.csv").write_text("x")
    monkeypatch.setenv("SIMLAW_STORE", store)
    refused(store[:9], "plan", "smoke", "--own", "--manifest")
    assert (project / "own.csv").read_text() == "x"
