"""delta_PTQ against tokens per parameter, by precision and size."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from simlaw.decide import COVERAGE
from simlaw.fit import Fit
from simlaw.law import AbstractPenalty
from simlaw.observations import PenaltyCell
from simlaw.plot.palette import GREY, SIZE_LINES, SIZE_MARKERS, colour


def plot_penalty(
    cells: Sequence[PenaltyCell], fit: Fit, ax: Axes, *, bits: Sequence[int]
) -> list[Artist | ErrorbarContainer]:
    """The artists of the measured penalties with error bars and the law with its band, at the given bits.

    Points under the noise floor are grey; where the error bar reaches 0 it runs out of the logarithmic axis.
    """
    assert isinstance(fit.law, AbstractPenalty)
    assert isinstance(fit.draws, AbstractPenalty)
    artists: list[Artist | ErrorbarContainer] = []
    sizes = sorted({cell.params for cell in cells})
    for i, n in enumerate(sizes):
        for b in bits:
            here = [cell for cell in cells if cell.params == n and cell.bits == b]
            if not here:
                continue
            tokens = np.geomspace(min(c.tokens for c in here), max(c.tokens for c in here), 40)
            drawn = fit.draws.penalty(N=np.full_like(tokens, n), D=tokens, P_post=np.full_like(tokens, b))
            low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
            x = tokens / n
            artists.append(ax.fill_between(x, low, high, color=colour(b), alpha=0.15, linewidth=0))
            law = fit.law.penalty(N=n, D=tokens, P_post=b)
            artists += ax.plot(x, law, color=colour(b), linestyle=SIZE_LINES[i], linewidth=1.0)
            for seen, shade in ((True, colour(b)), (False, GREY)):
                these = [cell for cell in here if cell.visible == seen and cell.delta > 0]
                if these:
                    artists.append(
                        ax.errorbar(
                            [c.tokens / n for c in these],
                            [c.delta for c in these],
                            [c.error for c in these],
                            color=shade,
                            marker=SIZE_MARKERS[i],
                            linestyle="none",
                            markersize=3.5,
                            elinewidth=0.8,
                        )
                    )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="tokens per block parameter, D / N",
        ylabel=r"$\delta_{PTQ}$ (nats per token)",
    )
    return artists
