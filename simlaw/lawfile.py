"""Fits as JSON files: form, numbers, draws, health, range and provenance; nothing in them is ever executed."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from simlaw.analysis import Analysis
from simlaw.fit import Fit
from simlaw.version import __version__

#: Raised when the fields of the file change.
SCHEMA = 1


def analysis_json(analysis: Analysis, table_sha256: str) -> str:
    """The file of an analysis: the loss fit and the penalty fits, with the hash of the table they were made from."""
    form = {
        "schema": SCHEMA,
        "code_version": __version__,
        "table_sha256": table_sha256,
        "loss": _fit(analysis.base),
        "granularity": analysis.granularity,
        "penalty": None if analysis.penalty is None else _fit(analysis.penalty),
        "penalty_rivals": [
            {
                "form": type(rival.fit.law).__name__,
                "held_out_lowest_bits": rival.held_out if np.isfinite(rival.held_out) else None,
                "chi2": rival.fit.chi2,
            }
            for rival in analysis.rivals
        ],
    }
    return json.dumps(form, indent=1, allow_nan=False) + "\n"


def _fit(fit: Fit) -> Mapping[str, Any]:
    draws = fit.draws.values if fit.draws is not None else {}
    return {
        "form": type(fit.law).__name__,
        "health": fit.health,
        "sentence": fit.sentence,
        "N": "params_blocks",
        "unit": "nats per token",
        "parameters": {name: float(value) for name, value in fit.law.values.items()},
        "error": dict(fit.error),
        "misfit": fit.misfit if np.isfinite(fit.misfit) else None,
        "correlated": [list(pair) for pair in fit.correlated],
        "residual": fit.residual,
        "objective": fit.objective,
        "chi2": fit.chi2,
        "rows": fit.rows,
        "trunks": fit.trunks,
        "left_out": dict(fit.left_out),
        "ranges": {name: list(bounds) for name, bounds in fit.ranges.items()},
        # six digits: a draw is uncertain in its second
        "draws": {name: [float(f"{x:.6g}") for x in np.asarray(value)] for name, value in draws.items()},
    }
