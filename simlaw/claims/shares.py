"""What weights in low precision cost by the share of the tokens that are trained in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simlaw.claims.training import Place, averaged, place_of
from simlaw.claims.verdict import Answer, decided
from simlaw.errors import SimlawError
from simlaw.means import Means, means_at
from simlaw.observations import quantized_training, usable
from simlaw.precisions import weights_alone
from simlaw.quantizations import quantized_as
from simlaw.table import Table

#: ln f = -a / ln S of the best share of tokens f, S tokens for each byte of weights (2509.22935).
_BEST_SHARE = 6.7297


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What weights in low precision cost by the share of the tokens that were trained in it, in nats per token.

    At one size, token count and bit-width; share 0 is rounding afterwards. `best` is the share that the rule of a paper
    calls the best, `each` are the costs of seeds by share.
    """

    params: int
    tokens: int
    bits: int
    best: float
    each: Mapping[float, Sequence[tuple[Place, float]]]

    @property
    def means(self) -> Means:
        """The costs against the share."""
        costs = {share: [cost for _, cost in values] for share, values in self.each.items()}
        return means_at(f"int{self.bits}", costs)

    def difference(self, one: float, other: float) -> list[tuple[Place, float]]:
        """What one share costs more than another, seed by seed."""
        theirs = dict(self.each[other])
        return [(place, cost - theirs[place]) for place, cost in self.each[one] if place in theirs]


def shares_of(table: Table) -> tuple[Shares, ...]:
    """The costs of weights that were trained in low precision for a share of the tokens, wherever some begin later.

    Raises `SimlawError` where none does.
    """
    kept, _ = usable(table, trained=True)
    full = {place_of(row): row["loss"] for row in kept if row["ptq_bits"] is None and not quantized_training(row)}
    costs: dict[tuple[int, int, int], dict[float, list[tuple[Place, float]]]] = {}
    for row in kept.where(lambda row: row["ptq_bits"] is None and weights_alone({**row, "train_begins": None})):
        if place_of(row) in full:
            share = 1.0 if row["train_begins"] is None else round(1 - row["train_begins"], 3)
            key = row["params_blocks"], row["tokens"], row["train_weights_bits"]
            cost = place_of(row), row["loss"] - full[place_of(row)]
            costs.setdefault(key, {}).setdefault(share, []).append(cost)
    for row in quantized_as(kept, ptq_granularity="channel").where(lambda row: not quantized_training(row)):
        if (key := (row["params_blocks"], row["tokens"], row["ptq_bits"])) in costs:
            costs[key].setdefault(0.0, []).append((place_of(row), row["delta"]))
    found = [
        Shares(params=n, tokens=d, bits=bits, best=best_share(n, d, bits), each=each)
        for (n, d, bits), each in sorted(costs.items())
        if any(0 < share < 1 for share in each) and 1.0 in each
    ]
    if not found:
        raise SimlawError("no run has plainly rounded weights from a later step on: add Precision(weights=…, begins=…)")
    return tuple(found)


def best_share(params: float, tokens: float, bits: float) -> float:
    """The share of the tokens that is best in low precision by the rule of 2509.22935: exp(-a / ln S).

    S is tokens over bytes of weights, params · bits / 8; N counts block parameters here. Of a token a byte and fewer
    the rule says nothing, and the share is 0.
    """
    each = tokens / (params * bits / 8)
    return float(np.exp(-_BEST_SHARE / np.log(each))) if each > 1 else 0.0


def best_share_follows_the_tokens(table: Table) -> Answer:
    """Whether the rule's share of the tokens in low precision is the best of those tried (claim A13)."""
    each: dict[tuple[int, float], list[tuple[Place, float]]] = {}
    for one in shares_of(table):
        inside = [share for share in one.each if 0 < share < 1]
        near = min(inside, key=lambda share: abs(share - one.best))
        for share in one.each:
            if share != near:
                each.setdefault((one.bits, share), []).extend(one.difference(near, share))
    judged = [key for key in each if key[1] > 0]
    ends = {(bits, share) for bits, _ in each for share in (1.0, min(s for b, s in judged if b == bits))}
    found = {
        (bits, share): averaged(
            each[bits, share],
            f"int{bits}: cost at the rule's share - {_named(share)}",
            judged=share > 0,
            among=len(judged) if share > 0 else 1,
        )
        for bits, share in sorted(each)
    }
    findings = list(found.values())
    mine = [one for one in findings if one.judged]
    less, more = sum(one.below < 0 for one in mine), sum(one.above > 0 for one in mine)
    outcome = decided(not more and all(found[key].below < 0 for key in ends), more > 0)
    return outcome, f"the rule's share loses less than another in {less} of {len(mine)} cases, more in {more}", findings


def _named(share: float) -> str:
    return {0.0: "that of rounding afterwards", 1.0: "that of all tokens"}.get(share, f"at {share:.2g}")
