"""What settings of training in low precision cost beside plain rounding of as many bits."""

import contextlib
import json

from simlaw.claims.training import Place, averaged, place_of
from simlaw.claims.verdict import Answer, decided
from simlaw.errors import SimlawError
from simlaw.observations import precision_name, quantized_training, usable
from simlaw.precisions import plainly_trained
from simlaw.table import Row, Table


def settings_lose_less(table: Table) -> Answer:
    """Whether learned steps and rotation lose less in training than plain rounding of as many bits (claim A14)."""
    kept, _ = usable(table.where(lambda row: row["ptq_bits"] is None), trained=True)
    plain = {
        (_formats(row), place_of(row)): row["loss"]
        for row in kept
        if plainly_trained(row) or not quantized_training(row)
    }
    each: dict[str, list[tuple[Place, float]]] = {}
    judged = set()
    for row in kept.where(lambda row: row["train_begins"] is None):
        words = _settings(row)
        if words and (key := (_formats(row), place_of(row))) in plain:
            what = f"{precision_name(row).removesuffix(' per tensor')} {', '.join(words)}"
            each.setdefault(what, []).append((place_of(row), row["loss"] - plain[key]))
            if {"learned steps", "rotated"} & set(words):
                judged.add(what)
    if not judged:
        raise SimlawError("no run has learned steps, or is rotated, beside a plain one of as many bits: add both")
    findings = []
    for what, values in sorted(each.items(), key=lambda pair: (pair[0] not in judged, pair[0])):
        if what in judged:
            findings.append(averaged(values, what, among=len(judged)))
            continue
        with contextlib.suppress(SimlawError):  # one seed alone may be left
            findings.append(averaged(values, what, judged=False))
    mine = [finding for finding in findings if finding.judged]
    less, more = sum(f.below < 0 for f in mine), sum(f.above > 0 for f in mine)
    sentence = f"less is lost in {less} of {len(mine)} cases, more in {more}"
    return decided(less == len(mine), more > 0), sentence, findings


def _formats(row: Row) -> tuple[object, ...]:
    """The formats of weights, inputs, keys and values: what a plain run shares with one of other settings."""
    return tuple(
        row[f"train_{role}_{what}"] for role in ("weights", "activations", "kv") for what in ("bits", "format")
    )


def _settings(row: Row) -> list[str]:
    """In words, how a run was trained in its formats where that is not plain rounding; quantized gradients too."""
    words = ["one scale for a batch"] if row["train_activations_granularity"] == "tensor" else []
    if row["train_gradients_bits"] is not None:
        words.append("gradients")
    if row["train_settings"] is None:
        return words
    estimator, rotate, learned, *roles = json.loads(row["train_settings"])
    words += ["learned steps"] * learned + ["rotated"] * rotate
    for _, how in roles:
        calibration = how["calibration"]
        words += [f"clipped at {calibration['share']:.0%}"] if calibration["type"] == "Percentile" else []
        words += ["stochastic"] if how["rounding"] == "stochastic" else []
        words += ["float32 scales"] if how["scale"]["type"] == "Float32" else []
    return words + ([f"gradient {estimator}"] if estimator != "straight_through" else [])
