"""The best precision to train in, and what other formats lose, against the training budget."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from simlaw.decision.bestbits import BestBits
from simlaw.decision.choice import Candidate, Choice
from simlaw.plot.palette import BEYOND, colour, marker
from simlaw.report import precision


def plot_best_bits(found: BestBits, ax: Axes, *, label: str, ink: str = "#0072b2") -> list[Artist]:
    """The artists of the best bits along an axis with their 90 % band; dashed, without a band, outside the rows.

    Dashed too where a bound of the bits is the best.
    """
    artists: list[Artist] = []
    beyond = found.edge | [any(factor > 1.05 for factor in far.values()) for far in found.outside]
    if found.low is not None and found.high is not None:
        band = ax.fill_between(found.at, found.low, found.high, where=~beyond, color=ink, alpha=0.2, linewidth=0)
        artists.append(band)
    artists += _within(found.at, found.bits, beyond, ax, ink, label)
    ax.set(xscale="log", xlabel="training cost, 16-bit FLOPs", ylabel="best bits in training")
    return artists


def plot_gaps(choices: Sequence[Choice], flops: Float[np.ndarray, " c"], ax: Axes) -> list[Artist]:
    """The artists of what each precision loses to the best of its budget, at its own best size, with 90 % intervals.

    One format stands for its bits; dashed, without a band, where the best of the budget lies outside the rows.
    """
    artists: list[Artist] = []
    beyond = np.array([any(factor > 1.05 for factor in choice.outside.values()) for choice in choices])
    bits = sorted({one.format.bits for choice in choices for one in choice.candidates}, reverse=True)
    for i, b in enumerate(bits):
        least = [_of_bits(choice, b) for choice in choices]
        there = np.array([one is not None for one in least])
        kept = [(one, choice) for one, choice in zip(least, choices, strict=True) if one is not None]
        gaps = np.array([one.loss - choice.candidates[0].loss for one, choice in kept])
        ends = [one.gap_interval or (gap, gap) for (one, _), gap in zip(kept, gaps, strict=True)]
        low, high = np.array(ends).T
        at, ink = flops[there], colour(b)
        artists.append(ax.fill_between(at, low, high, where=~beyond[there], color=ink, alpha=0.2, linewidth=0))
        artists += _within(at, gaps, beyond[there], ax, ink, precision(b), marker(i))
    ax.set(xscale="log", xlabel="training cost, 16-bit FLOPs", ylabel="loss above the best (nats per token)")
    return artists


def _of_bits(choice: Choice, bits: float) -> Candidate | None:
    """The best candidate of these bits."""
    return min((one for one in choice.candidates if one.format.bits == bits), key=lambda one: one.loss, default=None)


def _within(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    beyond: np.ndarray,
    ax: Axes,
    ink: str,
    label: str,
    mark: str | None = None,
) -> list[Artist]:
    """The artists of a line, which is dashed from the last place within the rows on."""
    near = ~beyond
    first = ax.plot(x, np.where(near, y, np.nan), color=ink, label=label, marker=mark, markersize=3)
    return [*first, *ax.plot(x, np.where(beyond | _rim(near), y, np.nan), color=ink, linestyle=BEYOND)]


def _rim(near: np.ndarray) -> np.ndarray:
    """The places within the rows that have one outside beside them."""
    padded = np.concatenate([near[:1], near, near[-1:]])
    return near & ~(padded[:-2] & padded[2:])
