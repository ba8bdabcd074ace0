"""What is committed belongs together: figures and fits were made from the committed tables."""

import dataclasses
import hashlib
import json

import pytest

from figures.best_precision import FORM
from simlaw.claims import judge
from simlaw.cli.claims import verdicts_file
from simlaw.cli.source import Source, open_beside
from simlaw.compare import compare
from simlaw.config import GPTQ, RTN, WSD, Precision
from simlaw.corpora import open_corpus
from simlaw.declared import digest
from simlaw.formats import Int, PerToken, Quantizer
from simlaw.plan import expand, packs
from simlaw.rates.study import rate_study
from simlaw.run.found import stored_rows
from simlaw.run.work import Desk, work
from simlaw.store import Store
from simlaw.sweep import Grid, PTQGrid, load_sweep
from simlaw.table import make_table, read_table
from tests.conftest import ROOT

QUICKSTART = ROOT / "sweeps" / "quickstart"
SHA256 = hashlib.sha256((QUICKSTART / "table.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_headline_shows_the_committed_table_of_the_sweep_as_it_is(kind):
    facts = f"sweep {digest(load_sweep(str(QUICKSTART)).sweep)}; table {SHA256}"
    assert facts.encode() in (ROOT / "figures" / "out" / f"headline.{kind}").read_bytes()


def test_the_fits_are_those_of_the_committed_table():
    assert json.loads((QUICKSTART / "law.json").read_text())["table_sha256"] == SHA256


def test_the_study_and_the_figure_of_learning_rates_are_those_of_the_committed_table():
    folder = ROOT / "sweeps" / "learning_rate"
    sha256 = hashlib.sha256((folder / "table.csv").read_bytes()).hexdigest()
    written = json.loads((folder / "rates.json").read_text())
    assert written["table_sha256"] == sha256
    facts = f"sweep {digest(load_sweep(str(folder)).sweep)}; table {sha256}"
    for kind in ("png", "svg"):
        assert facts.encode() in (ROOT / "figures" / "out" / f"learning_rate.{kind}").read_bytes()
    found = rate_study(read_table(folder / "table.csv"))
    assert found.rule == written["rule"]
    assert found.sentence == written["sentence"]
    assert found.line.exponent == pytest.approx(written["line"]["exponent"], rel=1e-9)


SWEEPS = ROOT / "sweeps"
TOKENS4 = Quantizer(format=Int(bits=4), granularity=PerToken())
LOW = Precision(weights=Quantizer(format=Int(bits=4)), activations=TOKENS4, kv=TOKENS4)


@pytest.mark.parametrize(
    "name",
    [
        "ptq_grid",
        "schedule",
        "train_precision",
        "train_then_ptq",
        "qat_fraction",
        "int_or_float",
        "stable_architecture",
        "zfact",
        "zrhm",
    ],
)
def test_fits_verdicts_and_figure_of_a_sweep_with_claims_are_those_of_the_committed_table(name):
    sha256 = hashlib.sha256((SWEEPS / name / "table.csv").read_bytes()).hexdigest()
    file = load_sweep(str(SWEEPS / name))
    if file.sweep.analysis != "claims":
        assert json.loads(file.law.read_text())["table_sha256"] == sha256
    table = read_table(file.table)
    beside = open_beside(Source(name=name, rows=table, file=file), file.sweep.claims, own=False)
    assert file.verdicts.read_bytes() == verdicts_file(judge(table, file.sweep.claims, beside), table, beside)
    facts = f"sweep {digest(file.sweep)}; table {sha256}"
    for kind in ("png", "svg"):
        assert facts.encode() in (ROOT / "figures" / "out" / f"{name}.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("name", "width", "tokens", "axes", "methods", "shared"),
    [
        ("ptq_grid", 16, 327_680, {}, (RTN(), GPTQ()), 3),
        ("schedule", 16, 327_680, {"schedules": (WSD(warmup_tokens=65_536, cooldown=0.0),)}, (RTN(),), 4),
        ("train_precision", 16, 327_680, {"precisions": (LOW,)}, (), 1),
        ("zfact", 8, 286_720, {}, (RTN(),), 2),
        ("zrhm", 32, 87_040, {}, (RTN(),), 2),
    ],
)
def test_rows_of_a_sweep_with_claims_reproduce(tmp_path, name, width, tokens, axes, methods, shared):
    """The cheapest run is trained again, and quantized; of schedules its average too, and one in low precision."""
    file = load_sweep(str(SWEEPS / name))
    committed = read_table(file.table)
    corpus = open_corpus(file.sweep.corpus)
    if corpus.fingerprint not in set(committed.column("corpus_fingerprint")):
        pytest.skip("the text is the library of this Python, and the table was made with another's")
    small = dataclasses.replace(
        file.sweep,
        grids=(Grid(widths=(width,), tokens=(tokens,), **axes),),
        ptq=tuple(PTQGrid(methods=(method,), bits=(3,)) for method in methods),
    )
    store = Store(root=tmp_path)
    (pack,) = packs(expand(small, corpus.fingerprint).cells, 1)
    work(pack, Desk(store=store, corpus=corpus, tell=lambda _: None, stop=lambda: False), {})
    (cell,) = expand(small, corpus.fingerprint).cells
    rows = stored_rows(store, cell.run_id)
    assert rows is not None
    found = compare(make_table(rows.values()), committed, file.sweep.tolerance)
    assert (found.shared, found.agrees) == (shared, True), found.sentence


def test_the_best_precision_is_by_the_law_of_the_committed_table():
    folder = SWEEPS / "train_precision"
    assert json.loads((folder / "law.json").read_text())["form"] == FORM.__name__
    sha256 = hashlib.sha256((folder / "table.csv").read_bytes()).hexdigest()
    for kind in ("png", "svg"):
        assert f"table {sha256}".encode() in (ROOT / "figures" / "out" / f"best_precision.{kind}").read_bytes()
