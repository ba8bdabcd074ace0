"""Checkpoints: a tree of arrays as one safetensors file, and back into a tree of the same structure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from simlaw.errors import SimlawError


def to_bytes(tree: Any) -> bytes:
    """The tree's arrays under their key paths, in safetensors format; exact."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return save({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat})


def names(data: bytes) -> set[str]:
    """The key paths of the arrays in a file of `to_bytes`."""
    return set(_read(data))


def from_bytes(data: bytes, like: Any) -> Any:
    """The tree of `to_bytes`, with the structure of `like` (arrays or their shapes).

    Raises `SimlawError` where a leaf is missing, or its shape or dtype is another than in `like`.
    """
    stored = _read(data)
    flat, structure = jax.tree_util.tree_flatten_with_path(like)
    out = []
    for path, leaf in flat:
        name = jax.tree_util.keystr(path)
        found = stored.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            what = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise SimlawError(
                f"the checkpoint's {name} is {what}, wanted {leaf.dtype}{list(leaf.shape)}: it is of another model; "
                "remove it, or read it with the spec that it was written with"
            )
        out.append(jnp.asarray(found))
    return jax.tree_util.tree_unflatten(structure, out)


def _read(data: bytes) -> dict[str, np.ndarray]:
    try:
        return load(data)
    except SafetensorError as error:
        raise SimlawError(f"the checkpoint is not a safetensors file ({error}): remove it, it is made again") from error
