"""Planted outliers: a positive control for methods that are made for channels of large inputs (2211.10438, 2406.12930).

The function of the checkpoint stays: what a norm's gain is multiplied by, the matrix behind the norm is divided by.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

from simlaw.config import ModelSpec, Outliers
from simlaw.errors import SimlawError
from simlaw.model import Params


def planted(model: ModelSpec, params: Params, outliers: Outliers) -> Params:
    """The parameters with outliers in both norms of every block; of a factor that is a power of two bit for bit the
    same function.

    Raises `SimlawError` where inputs are bounded between norm and matrix, since the function would not stay.
    """
    check_plantable(model)
    norms, blocks = dict(params["norms"]["blocks"]), dict(params["blocks"]["blocks"])
    for layer, parts in params["blocks"]["blocks"].items():
        norms[layer], blocks[layer] = dict(norms[layer]), dict(parts)
        for i, (norm, part) in enumerate((("attention_norm", "attention"), ("feed_norm", "feed"))):
            own: dict[str, Any] = parts[part]
            name = next(name for name in ("qkv", "gate_up", "up") if name in own)
            factor = np.ones(model.width, np.float32)
            factor[channels(outliers, model.width, 2 * layer + i)] = outliers.factor
            norms[layer][norm] = {"gain": norms[layer][norm]["gain"] * factor}
            blocks[layer][part] = {**own, name: own[name] / factor[:, None]}
    return {**params, "norms": {**params["norms"], "blocks": norms}, "blocks": {"blocks": blocks}}


def channels(outliers: Outliers, width: int, norm: int) -> Int[np.ndarray, " k"]:
    """The channels of a norm, counted over the model, that stand out: one at least."""
    count = max(1, round(outliers.share * width))
    return np.sort(np.random.default_rng((outliers.seed, norm)).permutation(width)[:count])


def check_plantable(model: ModelSpec) -> None:
    """Nothing; raises `SimlawError` for a model whose function planted outliers would change."""
    bound = model.architecture.bound
    if bound is not None:
        raise SimlawError(
            f"PTQ.outliers would change what the model computes: its inputs of block matrices are bounded by {bound:g} "
            "behind each norm; take a model without Architecture.bound, or leave outliers out"
        )
