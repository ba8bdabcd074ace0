"""Fits as JSON files: form, numbers, draws, health, range and provenance; nothing in them is ever executed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from simlaw.analysis import Analysis
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.fitting.fit import Fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.law import AbstractLaw
from simlaw.laws import FORMS
from simlaw.version import __version__

#: Raised when the fields of the file change.
SCHEMA = 3


def save_fit(fit: Fit, path: str | Path, *, counts: str | None = None) -> None:
    """Nothing; writes the fit to a file. `counts` says what its N counts; without it the fit does."""
    body = {**_fit(fit), "N": fit.counts if counts is None else counts}
    write_file(Path(path), _sealed(body).encode())


def load_law(path: str | Path, *, forms: Sequence[type[AbstractLaw]] = ()) -> Fit | QuantizedFit:
    """The fit in a file, with its law, draws and health; NumPy alone is needed.

    The file of a sweep (`sweeps/<name>/law.json`) gives its fits of the loss and of the penalty together, as a
    `QuantizedFit`; without a penalty, the fit of the loss. `forms` are forms of one's own that the file may name.
    Raises `SimlawError` where the file is missing, was altered, lacks a field, names a form that is not known, holds a
    number that is none, or was written by a newer simlaw.
    """
    path = Path(path)
    body, known = _open(path), {**FORMS, **{form.__name__: form for form in forms}}
    if "loss" not in body:
        return _read(body, path, known)
    parts = [body["loss"], body.get("penalty")]
    if not isinstance(parts[0], Mapping) or not isinstance(parts[1], Mapping | None):
        _refuse(path, "its loss or its penalty is no fit")
    base, *penalty = (_read({"N": body.get("N"), **part}, path, known) for part in parts if part is not None)
    return QuantizedFit(base=base, penalty=penalty[0]) if penalty else base


def _open(path: Path) -> dict[str, Any]:
    """The contents of a law file whose schema and checksum are right."""
    try:
        body = json.loads(path.read_text(), parse_constant=lambda name: _refuse(path, f"it holds {name}, no number"))
    except OSError as error:
        raise SimlawError(
            f"there is no law file at {path} ({error.strerror}): `fit.save({str(path)!r})` writes one"
        ) from error
    except json.JSONDecodeError as error:
        _refuse(path, f"line {error.lineno} is no JSON")
    if not isinstance(body, dict) or "schema" not in body:
        _refuse(path, "it lacks the field 'schema'")
    if body["schema"] > SCHEMA:
        _refuse(
            path,
            f"it has the schema {body['schema']} of a newer simlaw, and this one reads {SCHEMA}: upgrade simlaw",
            "",
        )
    if body["schema"] < SCHEMA:
        _refuse(path, f"it has the schema {body['schema']} of an older simlaw, and this one reads {SCHEMA}")
    seal = body.pop("checksum", None)
    if seal != _checksum(body):
        _refuse(path, "its checksum does not fit its contents")
    return body


def analysis_json(analysis: Analysis, table_sha256: str) -> str:
    """The file of an analysis: the loss fit and the penalty fits, with the hash of the table they were made from."""
    return _sealed(
        {
            "table_sha256": table_sha256,
            "N": "params_blocks",
            "loss": _fit(analysis.base),
            "granularity": analysis.granularity,
            "penalty": None if analysis.penalty is None else _fit(analysis.penalty),
            "penalty_rivals": [
                {
                    "form": type(rival.fit.law).__name__,
                    "held_out_lowest_bits": _number(rival.held_out),
                    "chi2": rival.fit.chi2,
                }
                for rival in analysis.rivals
            ],
        }
    )


def _fit(fit: Fit) -> dict[str, Any]:
    draws = fit.draws.values if fit.draws is not None else {}
    return {
        "form": type(fit.law).__name__,
        "health": fit.health,
        "sentence": fit.sentence,
        "unit": "nats per token",
        "parameters": {name: _number(float(value)) for name, value in fit.law.values.items()},
        "error": dict(fit.error),
        "covariance": {name: dict(row) for name, row in fit.covariance.items()},
        "fixed": list(fit.fixed),
        "unknown": list(fit.unknown),
        "misfit": _number(fit.misfit),
        "correlated": [list(pair) for pair in fit.correlated],
        "residual": fit.residual,
        "kind": fit.kind,
        "threshold": fit.threshold,
        "objective": fit.objective,
        "agreeing": fit.agreeing,
        "engines": fit.engines,
        "gradient": fit.gradient,
        "condition": _number(fit.condition),
        "chi2": _number(fit.chi2),
        "rows": fit.rows,
        "trunks": fit.trunks,
        "left_out": dict(fit.left_out),
        "settings": dict(fit.settings),
        "table": fit.table,
        "ranges": {name: [_number(end) for end in ends] for name, ends in fit.ranges.items()},
        # six digits: a draw is uncertain in its second
        "draws": {
            name: [float(f"{x:.6g}") for x in np.asarray(value)]
            for name, value in draws.items()
            if np.ndim(value) and name not in fit.unknown
        },
    }


def _read(body: Mapping[str, Any], path: Path, forms: Mapping[str, type[AbstractLaw]]) -> Fit:
    try:
        if body["form"] not in forms:
            known = ", ".join(sorted(forms))
            _refuse(path, f"it names the form {body['form']!r}, and the forms are {known}: load_law(…, forms=[…])", "")
        form = forms[body["form"]]
        numbers = {name: _value(body["parameters"][name]) for name in form.parameters()}
        drawn = {name: np.array(values, np.float64) for name, values in body["draws"].items()}
        return Fit(
            law=form(**numbers),
            draws=form(**{**numbers, **drawn}) if drawn else None,
            misfit=float("inf") if body["misfit"] is None else body["misfit"],
            condition=float("inf") if body["condition"] is None else body["condition"],
            ranges={name: (_end(ends[0]), _end(ends[1])) for name, ends in body["ranges"].items()},
            correlated=tuple((a, b, r) for a, b, r in body["correlated"]),
            fixed=tuple(body["fixed"]),
            unknown=tuple(body["unknown"]),
            counts=body["N"],
            **{name: body[name] for name in _PLAIN},
        )
    except KeyError as error:
        _refuse(path, f"it lacks the field {error}")
    except (TypeError, ValueError, AttributeError) as error:
        _refuse(path, f"a field has the wrong kind ({error})")


_PLAIN = (
    "health",
    "sentence",
    "error",
    "covariance",
    "residual",
    "kind",
    "threshold",
    "objective",
    "agreeing",
    "engines",
    "gradient",
    "chi2",
    "rows",
    "trunks",
    "left_out",
    "settings",
    "table",
)


def _sealed(body: Mapping[str, Any]) -> str:
    whole = {"schema": SCHEMA, "code_version": __version__, **body}
    return json.dumps({**whole, "checksum": _checksum(whole)}, indent=1, allow_nan=False) + "\n"


def _checksum(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _number(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: both are null, and the reader knows which is meant."""
    return None if value is None or not np.isfinite(value) else value


def _value(number: float | None) -> float:
    return float("nan") if number is None else float(number)


def _end(number: float | None) -> float:
    return float("inf") if number is None else float(number)


def _refuse(path: Path, why: str, advice: str = "; save the fit again") -> NoReturn:
    raise SimlawError(f"{path} is no law file to rely on: {why}{advice}")
