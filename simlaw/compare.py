"""Comparing rows made here with the committed ones, within a stated tolerance."""

from dataclasses import dataclass

import numpy as np

from simlaw.seednoise import seed_noise
from simlaw.sweep import Tolerance
from simlaw.table import Table


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many rows two tables share, how far they are apart at most, and whether that is within the tolerance.

    `loss` is that before quantization, in nats per token; `delta` is in standard deviations of a difference of seeds.
    """

    shared: int
    loss: float
    delta: float
    agrees: bool
    sentence: str


def compare(rows: Table, committed: Table, tolerance: Tolerance) -> Agreement:
    """The agreement of the rows of two tables that have the same identity."""
    theirs = {row["eval_id"]: row for row in committed}
    pairs = [(row, theirs[row["eval_id"]]) for row in rows if row["eval_id"] in theirs]
    if not pairs:
        here = sorted({str(row["corpus_fingerprint"]) for row in rows})
        there = sorted({str(row["corpus_fingerprint"]) for row in committed})
        why = (
            f"the corpus here is {', '.join(here)}, theirs {', '.join(there)}" if here != there else "the sweep changed"
        )
        sentence = f"no row has the identity of a committed one ({why}), so there is nothing to compare"
        return Agreement(shared=0, loss=0.0, delta=0.0, agrees=False, sentence=sentence)
    changed = sum(a["status"] != b["status"] for a, b in pairs)
    both = [(a, b) for a, b in pairs if a["loss"] is not None and b["loss"] is not None]
    # a quantized loss is the loss before plus the penalty, whose scatter grows with it: each is held to its own measure
    loss = float(max((abs(a["loss"] - b["loss"]) for a, b in both if a["ptq_bits"] is None), default=0.0))
    quantised = [(a, b) for a, b in both if a["ptq_bits"] is not None]
    delta = 0.0
    if quantised:
        mine, other = (np.array([pair[i]["delta"] for pair in quantised]) for i in (0, 1))
        bits = np.array([a["ptq_bits"] for a, _ in quantised], float)
        noise = seed_noise(committed.where(lambda row: row["status"] == "done"))
        spread = np.sqrt(2) * noise.delta((mine + other) / 2, bits)
        delta = float(np.max(np.abs(mine - other) / spread))
    agrees = not changed and loss <= tolerance.loss and delta <= tolerance.delta
    verdict = "agree" if agrees else "do NOT agree"
    sentence = (
        f"{len(pairs)} of {len(rows)} rows made here have committed twins, and {verdict} with them: losses within "
        f"{loss:.2g} nats (tolerance {tolerance.loss:g}), penalties within {delta:.2g} seed spreads (tolerance "
        f"{tolerance.delta:g})" + (f", {changed} with another status" if changed else "")
    )
    return Agreement(shared=len(pairs), loss=loss, delta=delta, agrees=agrees, sentence=sentence)
