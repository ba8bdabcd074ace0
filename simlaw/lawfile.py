"""Fits as JSON files: form, numbers, draws, health, range and provenance; nothing in them is ever executed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import numpy as np

from simlaw.analysis import Analysis, PrecisionAnalysis
from simlaw.declared import Above, Between, Count, Fraction, mismatch
from simlaw.errors import SimlawError
from simlaw.files import write_file
from simlaw.fitting.certificate import Health
from simlaw.fitting.contest import Contest
from simlaw.fitting.fit import Fit
from simlaw.fitting.objective import Objective, objective_of
from simlaw.fitting.quantized import QuantizedFit
from simlaw.law import AbstractLaw
from simlaw.laws import FORMS
from simlaw.version import __version__

#: Raised when the fields of the file change.
SCHEMA = 3
#: Whole numbers of more digits than this are no finite numbers.
_DIGITS = 308

_Size = Annotated[float, Between(0)]
#: What each field of a fit holds; `_holds` says what they must be to each other.
_FIELDS: Mapping[str, Any] = {
    "form": str,
    "health": Health,
    "sentence": str,
    "unit": Literal["nats per token"],
    "parameters": dict[str, float | None],
    "error": dict[str, _Size],
    "covariance": dict[str, dict[str, float]],
    "fixed": list[str],
    "unknown": list[str],
    "misfit": _Size | None,
    "correlated": list[tuple[str, str, Annotated[float, Between(-1, 1)]]],
    "residual": _Size,
    "kind": Objective,
    "threshold": Annotated[float, Above(0)] | None,
    "objective": _Size,
    "agreeing": Fraction,
    "engines": float | None,
    "gradient": _Size,
    "condition": _Size | None,
    "chi2": _Size | None,
    "rows": Count,
    "trunks": Count,
    "left_out": dict[str, Annotated[int, Between(0)]],
    "settings": dict,
    "table": str,
    "ranges": dict[str, tuple[float | None, float | None]],
    "draws": dict[str, list[float]],
    "N": str,
}
#: What the file of a sweep holds beside its fits.
_SWEEP: Mapping[str, Any] = {
    "table_sha256": str,
    "N": str,
    "granularity": str,
    "loss": dict,
    "penalty": dict | None,
    "penalty_rivals": list,
}


def save_fit(fit: Fit, path: str | Path, *, counts: str | None = None) -> None:
    """Nothing; writes the fit to a file. `counts` says what its N counts; without it the fit does."""
    body = {**_fit(fit), "N": fit.counts if counts is None else counts}
    write_file(Path(path), _sealed(body).encode())


def load_law(path: str | Path, *, forms: Sequence[type[AbstractLaw]] = ()) -> Fit | QuantizedFit:
    """The fit in a file, with its law, draws and health; NumPy alone is needed.

    The file of a sweep (`sweeps/<name>/law.json`) gives its fits of the loss and of the penalty together, as a
    `QuantizedFit`; without a penalty, the fit of the loss. `forms` are forms of one's own that the file may name.
    Raises `SimlawError` where the file is missing, was altered, or was written by another schema of simlaw, and for
    every field that is missing, is none that its form can have, or does not fit the others.
    """
    path = Path(path)
    body, known = _open(path), {**FORMS, **{form.__name__: form for form in forms}}
    if "loss" not in body:
        return _read(body, path, known)
    _require(body, _SWEEP, path)
    base = _read({"N": body["N"], **body["loss"]}, path, known)
    if body["penalty"] is None:
        return base
    penalty = _read({"N": body["N"], **body["penalty"]}, path, known)
    drawn = {len(values) for part in ("loss", "penalty") for values in body[part]["draws"].values()}
    if len(drawn) > 1:
        _refuse(path, f"its fits have {' and '.join(map(str, sorted(drawn)))} draws, and draws are paired")
    return QuantizedFit(base=base, penalty=penalty)


def _open(path: Path) -> dict[str, Any]:
    """The contents of a law file whose schema and checksum are right."""
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(
            text,
            parse_constant=lambda name: _refuse(path, f"it holds {name}, no number"),
            parse_int=lambda text: (
                int(text) if len(text) <= _DIGITS else _refuse(path, f"it holds {text[:9]}…, no number")
            ),
        )
        if not isinstance(body, dict) or "schema" not in body:
            _refuse(path, "it lacks the field 'schema'")
        schema, seal = body["schema"], body.pop("checksum", None)
        if wrong := mismatch(schema, int):
            _refuse(path, f"schema is {_short(schema)}, and {wrong}")
        if schema > SCHEMA:
            newer = f"it has the schema {schema} of a newer simlaw, and this one reads {SCHEMA}: upgrade simlaw"
            _refuse(path, newer, "")
        if schema < SCHEMA:
            _refuse(path, f"it has the schema {schema} of an older simlaw, and this one reads {SCHEMA}")
        if seal != _checksum(body):
            _refuse(path, "its checksum does not fit its contents")
    except OSError as error:
        raise SimlawError(
            f"there is no law file at {path} ({error.strerror}): `fit.save({str(path)!r})` writes one"
        ) from error
    except UnicodeDecodeError:
        _refuse(path, "it is no text in UTF-8")
    except json.JSONDecodeError as error:
        _refuse(path, f"line {error.lineno} is no JSON")
    except RecursionError:
        _refuse(path, "its fields are nested too deeply to read")
    _require(body, {"code_version": str}, path)
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
                {"form": rival.name, "held_out_lowest_bits": _number(rival.held_out[0]), "chi2": rival.fit.chi2}
                for rival in ([] if analysis.rivals is None else analysis.rivals.entries)
            ],
        }
    )


def precision_json(analysis: PrecisionAnalysis, table_sha256: str) -> str:
    """The file of an analysis of training precision: the chosen form's fit, and the contests that it comes from."""
    alone = {role if family == "int" else f"{role} {family}": one for (role, family), one in analysis.roles.items()}
    found = {"together": analysis.together, **alone}
    return _sealed(
        {
            **_fit(analysis.chosen),
            "N": "params_blocks",
            "table_sha256": table_sha256,
            "contests": {name: _contest(one) for name, one in found.items()},
        }
    )


def _contest(found: Contest) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "chosen": found.chosen.name,
        "decided": found.decided,
        "holdouts": [str(holdout) for holdout in found.holdouts],
        "entries": [
            {
                "form": entry.name,
                "health": entry.fit.health,
                "refits": list(entry.refits),
                "held_out": [_number(error) for error in entry.held_out],
                "behind": _number(entry.behind),
                "aicc": _number(entry.aicc),
                "parameters": {name: _number(float(value)) for name, value in entry.fit.law.values.items()},
            }
            for entry in found.entries
        ],
    }


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
        "settings": _plain(fit.settings),
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
    _require(body, _FIELDS, path)
    if body["form"] not in forms:
        known = ", ".join(sorted(forms))
        _refuse(path, f"it names the form {body['form']!r}, and the forms are {known}: load_law(…, forms=[…])", "")
    form = forms[body["form"]]
    _holds(body, form, path)
    numbers = {name: float("nan") if value is None else float(value) for name, value in body["parameters"].items()}
    drawn = {name: np.array(values, np.float64) for name, values in body["draws"].items()}
    return Fit(
        law=form(**numbers),
        draws=form(**{**numbers, **drawn}) if drawn else None,
        misfit=_end(body["misfit"]),
        condition=_end(body["condition"]),
        ranges={name: (_end(low), _end(high)) for name, (low, high) in body["ranges"].items()},
        correlated=tuple((a, b, r) for a, b, r in body["correlated"]),
        fixed=tuple(body["fixed"]),
        unknown=tuple(body["unknown"]),
        counts=body["N"],
        **{name: body[name] for name in _PLAIN},
    )


def _require(body: Mapping[str, Any], fields: Mapping[str, Any], path: Path) -> None:
    """Nothing; refuses a file that lacks one of the fields, or holds something else in it."""
    for name, hint in fields.items():
        if name not in body:
            _refuse(path, f"it lacks the field {name!r}")
        if wrong := _wrong(body[name], hint):
            _refuse(path, f"{name} is {_short(body[name])}, and {wrong}")


def _wrong(value: object, hint: Any) -> str | None:
    """What a JSON value must be to be of a type, as half a sentence; None where it is."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is dict:
        if not isinstance(value, dict):
            return "it must be an object"
        items = [(name, item, inner[1]) for name, item in value.items()]
    elif origin is list:
        if not isinstance(value, list):
            return "it must be a list"
        items = [(i, item, inner[0]) for i, item in enumerate(value)]
    elif origin is tuple:
        if not isinstance(value, list) or len(value) != len(inner):
            return f"it must be a list of {len(inner)}"
        items = [(i, item, one) for i, (item, one) in enumerate(zip(value, inner, strict=True))]
    else:
        return mismatch(value, hint)
    found = ((key, item, _wrong(item, one)) for key, item, one in items)
    return next((f"its {key!r} is {_short(item)}: {wrong}" for key, item, wrong in found if wrong), None)


def _holds(body: Mapping[str, Any], form: type[AbstractLaw], path: Path) -> None:
    """Nothing; refuses fields of the right types that no fit of the form has together."""
    parameters, given, draws = form.parameters(), body["parameters"], body["draws"]
    estimated = {name for name in parameters if name not in (*body["fixed"], *body["unknown"])}
    for name in parameters:
        if name not in given:
            _refuse(path, f"it lacks the field {f'parameters.{name}'!r}")
    listed = {"parameters": given, "fixed": body["fixed"], "unknown": body["unknown"]}
    for field, names in listed.items():
        for name in names:
            if name not in parameters:
                _refuse(path, f"{field} names {name!r}, and {form.__name__} has {', '.join(parameters)}")
    for name, value in given.items():
        if (value is None) != (name in body["unknown"]):
            _refuse(path, f"parameters.{name} is {value}, and null is what stands for each of the unknown")
        if parameters[name].scale == "log" and any(
            one <= 0 for one in (1.0 if value is None else value, *draws.get(name, ()))
        ):
            _refuse(path, f"{name} or one of its draws is 0 or below, and {form.__name__} takes numbers above 0")
    for field in ("draws", "error", "covariance"):
        if set(body[field]) != (estimated if draws else set()):
            _refuse(path, f"{field} is of {_names(body[field])}, and what was estimated is {_names(estimated)}")
    if any(set(row) != set(draws) for row in body["covariance"].values()):
        _refuse(path, "covariance is no square of what was estimated")
    lengths = sorted({len(values) for values in draws.values()})
    if len(lengths) > 1 or lengths == [0]:
        _refuse(
            path, f"draws has {' and '.join(map(str, lengths))} numbers, and every parameter has as many, 1 or more"
        )
    for name, (low, high) in body["ranges"].items():
        if name not in (*form.needs, *form.takes, "C") or _end(low) > _end(high):
            _refuse(path, f"ranges.{name} is {[low, high]}: it is a variable of {form.__name__}, the lower end first")
    kind = body["kind"]
    try:
        objective_of(form, kind)
    except SimlawError as error:
        _refuse(path, f"kind is {kind!r}: {error}")
    for field, where in (("threshold", "huber"), ("chi2", "weighted")):
        if (body[field] is None) != (kind != where):
            _refuse(path, f"{field} is {body[field]} of kind {kind!r}, and it is a number of kind {where!r} alone")


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


def _end(number: float | None) -> float:
    return float("inf") if number is None else float(number)


def _plain(value: Any) -> Any:
    """Settings as JSON holds them: NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _short(value: object) -> str:
    return f"{value!r:.60}"


def _refuse(path: Path, why: str, advice: str = "; save the fit again") -> NoReturn:
    raise SimlawError(f"{path} is no law file to rely on: {why}{advice}")
