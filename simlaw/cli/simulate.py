"""`simlaw simulate`: the table that a sweep would give if a known law were true."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from simlaw.cli.options import json_option, print_json, sweep_argument
from simlaw.declared import digest
from simlaw.errors import SimlawError
from simlaw.evaluate import Measurement
from simlaw.files import write_file
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import fits_of
from simlaw.law import AbstractLossLaw, AbstractPenalty, QuantizedLaw
from simlaw.lawfile import load_law
from simlaw.plan import Cell, expand
from simlaw.published import PUBLISHED, Published
from simlaw.report import count
from simlaw.rows import done_rows
from simlaw.simulation import TYPICAL, Noise, noise_of, simulate, simulate_delta
from simlaw.sweep import SweepFile, load_sweep
from simlaw.table import Row, Table, make_table, read_table

#: Stands where a measurement's corpus and device stand: no fit joins such rows with measured ones.
SIMULATED = "simulated"
#: A design this many times outside a law's range is remarked on.
_FAR = 10


@click.command()
@sweep_argument
@click.option(
    "--law",
    "laws",
    multiple=True,
    metavar="NAME|FILE",
    help="A published law or a law file; twice for a loss and a penalty. Default: the sweep's own law.json.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The CSV file to write the table to."
)
@click.option("--trunk-noise", type=float, help="Of the log loss, shared by the branches of a trunk.")
@click.option("--row-noise", type=float, help="Of the log loss, of each checkpoint alone.")
@click.option("--penalty-noise", type=float, help="Of the penalty, relative to it, shared by the branches of a trunk.")
@click.option("--step-noise", type=float, help="Of the penalty, in nats per unit of the grid's relative step.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, another table.")
@json_option
def command(
    sweep: str,
    laws: tuple[str, ...],
    out: Path,
    trunk_noise: float | None,
    row_noise: float | None,
    penalty_noise: float | None,
    step_noise: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw a sweep's table from a known law with noise; `simlaw fit` and `simlaw decide` then take it as any table.

    Noises are standard deviations; by default they are those of the sweep's committed table, or of the quickstart
    sweep. The rows say `simulated` for their corpus and device, and their ids are those of no run.

    \b
    Example:
      simlaw simulate quickstart --out planned.csv
    """
    file = load_sweep(sweep)
    sources = _sources(laws, file)
    law = _joined(sources)
    basis, noise = _noise(file)
    given = {"trunk": trunk_noise, "row": row_noise, "relative": penalty_noise, "per_step": step_noise}
    noise = dataclasses.replace(noise, **{name: value for name, value in given.items() if value is not None})
    # a corpus of its own for each law, noise and seed: fits refuse to join what differs in it
    parts = (law.base, law.penalty) if isinstance(law, QuantizedLaw) else (law,)
    said = [repr((type(part).__name__, {k: float(v) for k, v in part.values.items()})) for part in parts]
    fingerprint = f"{SIMULATED}-{digest(*said, repr(noise), seed)}"
    cells = expand(file.sweep, fingerprint, dict.fromkeys(file.sweep.corpora, fingerprint)).cells
    table, left_out = draw(law, cells, fingerprint, noise=noise, seed=seed)
    write_file(out, table.to_csv().encode())
    notes = [f"{n} runs are left out: {why}" for why, n in left_out.items() if n] + _far(sources, table)
    if as_json:
        print_json(
            {
                "rows": len(table),
                "out": str(out),
                "noise": dataclasses.asdict(noise),
                "noise_basis": basis,
                "corpus_fingerprint": fingerprint,
                "notes": notes,
            }
        )
        return
    click.echo(
        f"{len(table)} rows in {out}, drawn from {' + '.join(type(part).__name__ for part in parts)}; noise of the log "
        f"loss {noise.trunk:.3g} by trunk and {noise.row:.3g} by row, of penalties {noise.relative:.3g} relative and "
        f"{noise.per_step:.3g} nats per step ({basis})"
    )
    for note in notes:
        click.echo(f"note: {note}", err=True)


def draw(
    law: AbstractLossLaw | QuantizedLaw, cells: Sequence[Cell], fingerprint: str, *, noise: Noise, seed: int
) -> tuple[Table, dict[str, int]]:
    """The table of a plan's cells drawn from a law, and how many cells it does not know, by the reason.

    Penalties need a law that knows P_post; without, the rows are those of the checkpoints as trained.
    """
    base = law.base if isinstance(law, QuantizedLaw) else law
    trains = "P_w" in base.takes
    rates = [cell for cell in cells if cell.spec.optimizer.rate_multiple != 1]
    others = [cell for cell in cells if not cell.spec.precision.weights_alone and cell not in rates]
    known = [cell for cell in cells if cell not in rates and cell not in others]
    rounded = [cell for cell in known if cell.spec.precision.weights and not trains]
    kept = [cell for cell in known if cell not in rounded]
    left_out = {
        "no law knows the learning rate": len(rates),
        "more than the weights is trained in low precision": len(others),
        f"{type(base).__name__} takes no P_w": len(rounded),
    }
    if not kept:
        raise SimlawError("the law knows none of the sweep's runs: take another law, or another sweep")
    trunks = [repr(cell.spec.trunk) for cell in kept]
    x = {
        "N": np.array([cell.counts.blocks for cell in kept], np.float64),
        "D": np.array([cell.spec.tokens for cell in kept], np.float64),
    }
    if trains:
        weights = [cell.spec.precision.weights for cell in kept]
        x["P_w"] = np.array([w.format.bits if w else np.inf for w in weights], np.float64)
    losses = simulate(base, x, trunks, noise=noise, seed=seed).y
    penalties = isinstance(law, QuantizedLaw) or "P_post" in law.takes
    evals = [e for e in kept[0].evals if penalties or e.ptq is None]
    ptq = [i for i, e in enumerate(evals) if e.ptq]
    delta, error = np.zeros((2, len(kept), len(evals)))
    if ptq:
        bits = np.array([e.ptq.quantizer.format.bits for e in evals if e.ptq], np.float64)
        every = {name: np.repeat(values, len(ptq)) for name, values in x.items()} | {"P_post": np.tile(bits, len(kept))}
        seen = simulate_delta(law, every, list(np.repeat(trunks, len(ptq))), noise=noise, seed=seed)
        delta[:, ptq] = seen.y.reshape(len(kept), -1)
        error[:, ptq] = noise.alone(every["P_post"]).reshape(len(kept), -1)
    rows: list[Row] = []
    for cell, loss, added, alone in zip(kept, losses, delta, error, strict=True):
        numbers = [
            Measurement(loss=float(loss + a), loss_se=0.0, delta=float(a), delta_se=float(e), floor=None)
            for a, e in zip(added, alone, strict=True)
        ]
        found = done_rows(cell.spec, fingerprint, None, evals, numbers)
        rows += [{**row, **_MARKS} for row in found]
    return make_table(rows), left_out


#: What a measurement would say and a simulation cannot.
_MARKS = {
    "corpus": SIMULATED,
    "device": SIMULATED,
    "loss_se": None,
    "dtype": None,
    "numerics": None,
    "jax_version": None,
}


def _sources(laws: Sequence[str], file: SweepFile) -> list[Published | Fit]:
    if not laws and not file.law.is_file():
        raise SimlawError(f"{file.name} has no law.json: give --law, a published law or a law file")
    found: list[Published | Fit] = []
    for law in laws or (str(file.law),):
        if law not in PUBLISHED and not Path(law).exists():
            raise SimlawError(f"{law!r} is neither a law file nor a published law: there are {', '.join(PUBLISHED)}")
        found += [PUBLISHED[law]] if law in PUBLISHED else fits_of(load_law(law))
    return found


def _joined(sources: Sequence[Published | Fit]) -> AbstractLossLaw | QuantizedLaw:
    """One law of the loss, with the penalty where one is given."""
    laws = [source.law for source in sources]
    if len(laws) == 1 and isinstance(laws[0], AbstractLossLaw | QuantizedLaw):
        return laws[0]
    losses = [law for law in laws if isinstance(law, AbstractLossLaw)]
    penalties = [law for law in laws if isinstance(law, AbstractPenalty)]
    if (len(losses), len(penalties), len(laws)) != (1, 1, 2):
        names = " and ".join(type(law).__name__ for law in laws)
        raise SimlawError(f"--law gives {names}: give one law of the loss, and at most one of the penalty with it")
    return QuantizedLaw(base=losses[0], penalty=penalties[0])


def _noise(file: SweepFile) -> tuple[str, Noise]:
    """The noise by default, and where it is from."""
    if file.table.is_file():
        try:
            return f"of {file.name}'s committed table where not given", noise_of(read_table(file.table))
        except SimlawError:  # no replicates in it
            pass
    return "typical of the quickstart sweep where not given", TYPICAL


def _far(sources: Sequence[Published | Fit], table: Table) -> list[str]:
    """A remark where the design is far outside what a law was measured on."""
    n = table.column("params_blocks")
    for source in sources:
        low, high = source.ranges.get("N", (n.min(), n.max()))
        if n.min() < low / _FAR or n.max() > high * _FAR:
            return [
                f"the law was measured from {count(low)} to {count(high)} parameters, the design has {count(n.min())} "
                f"to {count(n.max())}: its constants do not transfer, so take the answer as one of a planted truth"
            ]
    return []
