"""`simlaw health`: whether the loss curves of a sweep's sizes collapse on one, and which size stands off."""

from typing import Any

import click
import numpy as np
from jaxtyping import Float

from simlaw.analysis import loss_fit
from simlaw.cli.options import json_option, own_option, print_json, source_argument, where_option
from simlaw.cli.source import open_curves, open_source
from simlaw.errors import SimlawError
from simlaw.fitting.fit import Fit
from simlaw.health.collapse import Collapse, Irreducible, collapse, floor_of, gamma_of, irreducible_of
from simlaw.table import Table


@click.command()
@source_argument
@click.option(
    "--gamma",
    type=float,
    help="The power of N that tokens are in proportion to; by default that of the fitted optimum.",
)
@click.option(
    "--irreducible", type=float, help="E of held-out tokens in nats; by default the exact floor, or the fit's E."
)
@click.option(
    "--tolerance", default=1.25, show_default=True, help="The factor by which a token count may miss the ladder."
)
@json_option
@own_option
@where_option
def command(
    source: str,
    gamma: float | None,
    irreducible: float | None,
    tolerance: float,
    as_json: bool,
    own: bool,
    chosen: tuple[str, ...],
) -> None:
    """Say of each size of a ladder whether its normalised loss curve falls on the others', and which one stands off.

    A wrong learning rate, schedule or proportion of tokens to parameters bends the curve of a size. Curves come from
    curves.csv beside the table, and from the histories in this store; `simlaw figure collapse` draws them.

    \b
    Example:
      simlaw health quickstart
    """
    found = open_source(source, own, chosen)
    curves = open_curves(source, found, own)
    e = floor_of(found.rows)
    if irreducible is not None:
        e = Irreducible(value=irreducible, draws=None, source="as given")
    if e is None or gamma is None:
        base = _fit(found.rows)
        e = e or irreducible_of(base)
        gamma = gamma_of(base) if gamma is None else gamma
    health = collapse(curves, found.rows, irreducible=e, gamma=gamma, tolerance=tolerance)
    if as_json:
        print_json(_json(health))
    else:
        click.echo(str(health))


def _fit(rows: Table) -> Fit:
    """The fit of the loss; raises `SimlawError` where the rows allow none."""
    try:
        return loss_fit(rows)[2]
    except SimlawError as error:
        raise SimlawError(f"gamma=… and irreducible=… are needed, for no law can be fitted: {error}") from error


def _json(health: Collapse) -> dict[str, Any]:
    return {
        "verdict": health.sentence,
        "worst": health.worst.params,
        "gamma": health.gamma,
        "irreducible": health.irreducible.value,
        "irreducible_source": health.irreducible.source,
        "shift": health.shift,
        "ratio": health.ratio,
        "ratio_interval": health.ratio_interval,
        "noise_reach": health.noise_reach,
        "bound": health.bound,
        "super_ratio": health.super_ratio,
        "left_out": health.left_out,
        "x": _numbers(health.x),
        "ratio_at": _numbers(health.ratio_at),
        "sizes": [
            {
                "params": size.params,
                "tokens": size.tokens,
                "of_ladder": size.of_ladder,
                "seeds": size.seeds,
                "standing": size.standing,
                "verdict": size.verdict,
                "largest": size.largest,
                "at": size.at,
                "deviation": _numbers(size.deviation),
                "normalised": _numbers(size.normalised),
            }
            for size in health.sizes
        ],
    }


def _numbers(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
