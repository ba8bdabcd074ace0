"""A sweep at the gate: its planned rows as arrays, the noise and laws that they are judged by, and the verdict."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.cli.progress import progress
from simlaw.config import PTQ
from simlaw.designs import Design, Power, design, power
from simlaw.designs.power import power_table
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import fits_of
from simlaw.formats import PerChannel
from simlaw.law import AbstractLaw
from simlaw.lawfile import load_law
from simlaw.laws import Chinchilla, ExponentialPenalty, PrecisionWeights, StepPenalty
from simlaw.plan import Cell
from simlaw.run.session import Session
from simlaw.simulation import TYPICAL, Noise, noise_of
from simlaw.table import read_table

#: Bits below this enter no fit of the penalty.
_LOWEST_BITS = 3


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The verdict on a sweep: its design where it has rows that a fit takes, and the sentences that refuse it.

    `basis` says what noise and laws it was judged by, `left_out` counts runs that fits leave out, `excuse` is the
    reason that the sweep itself gives for being unidentified.
    """

    name: str
    design: Design | None
    refusals: tuple[str, ...]
    basis: str
    left_out: Counter[str]
    excuse: str | None

    @property
    def closed(self) -> bool:
        """Whether the sweep is refused, and gives no reason why it should not be."""
        return bool(self.refusals) and not self.excuse

    @property
    def sentence(self) -> str:
        """Why the sweep is refused, in one line, with what to do."""
        more = f" (and {len(self.refusals) - 1} more)" if len(self.refusals) > 1 else ""
        return (
            f"{self.name} is refused, {self.refusals[0]}{more}; to plan it all the same: --force, or "
            'Sweep(unidentified="why")'
        )

    def __str__(self) -> str:
        lines = [f"what the fits could tell (with {self.basis}):"]
        if self.left_out:
            lines.append("runs left out: " + ", ".join(f"{n} {why}" for why, n in self.left_out.items()))
        lines += [str(self.design)] if self.design else [f"refused: {sentence}" for sentence in self.refusals]
        if self.excuse and self.refusals:
            lines.append(f"not refused, since the sweep says why: {self.excuse}")
        return "\n".join(lines)

    @property
    def plain(self) -> dict[str, Any]:
        """The verdict for a program."""
        found = self.design
        return {
            "refused": list(self.refusals),
            "excuse": self.excuse,
            "basis": self.basis,
            "left_out": dict(self.left_out),
            "forms": [
                {
                    "form": one.form.__name__,
                    "rows": one.rows,
                    "kinds": one.kinds,
                    "trunks": one.trunks,
                    "parameters": len(one.error),
                    "rank": one.rank,
                    "condition": one.condition,
                    "value": dict(one.value),
                    "error": dict(one.error),
                    "forecast_at": dict(one.at),
                    "forecast_error": one.forecast,
                    "notes": list(one.notes),
                }
                for one in (found.prospects if found else ())
            ],
            "extra_cells": [
                {
                    "what": extra.what,
                    "runs": extra.runs,
                    "flops_train_6nd": extra.flops,
                    "form": extra.form.__name__,
                    "parameter": extra.parameter,
                    "error_before": extra.before,
                    "error_after": extra.after,
                }
                for extra in (found.extras if found else ())
            ],
        }


def gate(session: Session, own: bool) -> Gate:
    """The verdict on a sweep; with `own`, its committed table and law do not count."""
    own_corpus = session.file.sweep.corpus
    epoch = session.corpora[own_corpus].epoch_tokens(session.file.sweep.family.context)
    mine = [cell for cell in session.plan.cells if cell.spec.corpus == own_corpus]
    cells, left_out = _taken(mine, epoch)
    if apart := len(session.plan.cells) - len(mine):
        left_out["on other corpora than the sweep's own"] = apart
    x, trunk = _rows(cells)
    forms = _forms(x)
    noise, fits, basis = _judges(session, own, forms)
    found: Design | None = None
    refusals: tuple[str, ...] = (
        "no run is one that the fits take: plan runs at the recipe's rate, unquantized, new data",
    )
    if forms:
        try:
            found = design(forms, x, trunk, law=fits, noise=noise)
            refusals = found.refusals
        except SimlawError as error:
            refusals = (str(error),)
    return Gate(
        name=session.file.name,
        design=found,
        refusals=refusals,
        basis=basis,
        left_out=left_out,
        excuse=session.file.sweep.unidentified,
    )


def simulated(found: Design, draws: int) -> tuple[list[dict[str, Any]], str]:
    """The power of a design by simulated fits, with a bar: for a program, and as text."""
    each: list[Power] = []
    with progress("simulated fits", float(draws * len(found.laws))) as tell:
        for laws in found.laws:
            each.append(power(laws, found.rows.of(type(laws)), found.noise, draws=draws, tell=tell))
    lines = [f"of {draws} simulated sweeps, each fitted:", power_table(each)]
    lines += [f"  {one.form.__name__}: those not valid mostly since {one.why}" for one in each if one.valid < 1]
    return [{**dataclasses.asdict(one), "form": one.form.__name__} for one in each], "\n".join(lines)


def _taken(cells: Sequence[Cell], epoch: int | None) -> tuple[list[Cell], Counter[str]]:
    """The cells that one fit could take together, and why others are left out."""
    schedules = Counter(cell.spec.schedule for cell in cells)
    kept, left_out = [], Counter[str]()
    for cell in cells:
        if cell.spec.optimizer.rate_multiple != 1:
            left_out["at other learning rates than the recipe's"] += 1
        elif epoch is not None and cell.spec.tokens > epoch:
            left_out["over more than one epoch"] += 1
        elif not cell.spec.precision.weights_alone:
            left_out["with more in low precision than weights, or later, of which no form is asked"] += 1
        elif cell.spec.schedule != schedules.most_common(1)[0][0]:
            left_out["of another schedule"] += 1
        else:
            kept.append(cell)
    return kept, left_out


def _rows(cells: Sequence[Cell]) -> tuple[dict[str, np.ndarray], list[int]]:
    """The variables of every evaluation that a fit takes, and its trunk."""
    trunks: dict[object, int] = {}
    rows, trunk = [], []
    for cell in cells:
        place = trunks.setdefault(cell.spec.trunk, len(trunks))
        weights = cell.spec.precision.weights
        trained = float(weights.format.bits) if weights else np.inf
        for bits in _bits([e.ptq for e in cell.evals]):
            rows.append((float(cell.counts.blocks), float(cell.spec.tokens), trained, bits))
            trunk.append(place)
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    named = dict(zip(("N", "D", "P_w", "P_post"), columns, strict=True))
    # a precision that no run has is no axis
    return {name: values for name, values in named.items() if name in ("N", "D") or np.isfinite(values).any()}, trunk


def _bits(evaluations: Sequence[PTQ | None]) -> list[float]:
    """The bits of a checkpoint's evaluations: as trained, and those of the granularity that fits take first."""
    quantizers = [e.quantizer for e in evaluations if e]
    shared = sorted({q.granularity for q in quantizers}, key=lambda g: (not isinstance(g, PerChannel), repr(g)))
    quantized = {q.format.bits for q in quantizers if q.granularity == shared[0]}
    return [np.inf, *(float(bits) for bits in sorted(quantized) if bits >= _LOWEST_BITS)]


def _forms(x: dict[str, np.ndarray]) -> list[type[AbstractLaw]]:
    """What a sweep of these rows would be fitted with."""
    forms: list[type[AbstractLaw]] = []
    trained = x.get("P_w", np.full(len(x["N"]), np.inf))
    if np.isinf(trained).any():
        forms.append(Chinchilla)
    if len(np.unique(trained)) > 1:
        forms.append(PrecisionWeights)
    post = x.get("P_post", np.full(len(x["N"]), np.inf))[np.isinf(trained)]
    widths = len(np.unique(post[np.isfinite(post)]))
    return [*forms, *(StepPenalty,) * (widths > 0), *(ExponentialPenalty,) * (widths > 1)]


def _judges(session: Session, own: bool, forms: Sequence[type[AbstractLaw]]) -> tuple[Noise, list[Fit], str]:
    """The noise, the fits whose draws stand for plausible laws, and both in words."""
    noise, said = TYPICAL, "typical noise of small models"
    fits: list[Fit] = []
    if not own and session.file.table.is_file():
        with contextlib.suppress(SimlawError):  # without replicates it says nothing of noise
            noise, said = noise_of(read_table(session.file.table)), "the noise of the committed table"
    if not own and session.file.law.is_file():
        fits = [one for one in fits_of(load_law(session.file.law)) if one.health == "VALID" and type(one.law) in forms]
    known = [type(one.law).__name__ for one in fits]
    judged = [f"at the committed {' and '.join(known)}"] if known else []
    if len(known) < len(forms):
        judged.append(f"{'else ' * bool(known)}at laws drawn from the ranges that fits start from")
    return noise, fits, ", ".join([said, *judged] if forms else [said])
