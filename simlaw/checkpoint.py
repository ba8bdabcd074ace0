"""Checkpoints: a tree of arrays as one safetensors file, and back into a tree of the same structure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from safetensors import SafetensorError
from safetensors.numpy import load, save

from simlaw.declared import parsed
from simlaw.errors import SimlawError

#: Raised by hand when the same names come to mean something else; what was stored before is then refused.
FORM = 1


def to_bytes(tree: Any, of: str = "") -> bytes:
    """The tree's arrays under their key paths, in safetensors format; exact. `of` is the key of what they are.

    Arrays that several processes hold together are gathered, for which all of them must call this.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    # one text: the library writes several in an order that changes from process to process
    about = json.dumps({"form": FORM, "of": of})
    return save({jax.tree_util.keystr(path): _whole(leaf) for path, leaf in flat}, metadata={"about": about})


def names(data: bytes) -> set[str]:
    """The key paths of the arrays in a file of `to_bytes`."""
    return set(read(data)[0])


def from_bytes(data: bytes, like: Any, of: str = "") -> Any:
    """The tree of `to_bytes`, with the structure of `like` (arrays or their shapes).

    Raises `SimlawError` where a leaf is missing, not wanted, or of another shape or dtype than in `like`, and where the
    file says that it has another form or is of something else. Version 0.1 said neither.
    """
    stored, about = read(data)
    check_about(about, FORM, of)
    flat, structure = jax.tree_util.tree_flatten_with_path(like)
    out = []
    for path, leaf in flat:
        name = jax.tree_util.keystr(path)
        found = stored.pop(name, None)
        check_leaf(name, None if found is None else (str(found.dtype), found.shape), leaf)
        out.append(jnp.asarray(found))
    check_spare(stored)
    return jax.tree_util.tree_unflatten(structure, out)


def check_about(about: Mapping[str, Any], form: int, of: str) -> None:
    """Raise `SimlawError` where a checkpoint says that it has another form, or is of something else than `of`."""
    if about.get("form", form) != form:
        raise SimlawError(
            f"the checkpoint has form {about['form']}, and this version reads {form}: remove it, it is made again, or "
            "read it with the version that wrote it"
        )
    if of and about.get("of") not in (None, "", of):
        raise SimlawError(
            f"the checkpoint is of {about['of']}, wanted {of}: it was made from another spec; remove it, or read it "
            "with the spec that it was written with"
        )


def check_leaf(name: str, found: tuple[str, Sequence[int]] | None, leaf: Any) -> None:
    """Raise `SimlawError` where the dtype and shape of a stored leaf are others than those of `leaf`."""
    if found is None or found[0] != str(leaf.dtype) or tuple(found[1]) != leaf.shape:
        what = "missing" if found is None else f"{found[0]}{list(found[1])}"
        raise SimlawError(
            f"the checkpoint's {name} is {what}, wanted {leaf.dtype}{list(leaf.shape)}: it is of another model; "
            "remove it, or read it with the spec that it was written with"
        )


def check_spare(names: Iterable[str]) -> None:
    """Raise `SimlawError` where a checkpoint holds leaves of these names, which nobody wants."""
    for name in names:
        raise SimlawError(
            f"the checkpoint holds {name}, which is not wanted: it is of another model; remove it, or read it with the "
            "spec that it was written with"
        )


def read(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file by name, and what its header says of them under "about".

    Raises `SimlawError` where it is no safetensors file.
    """
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise SimlawError(f"the checkpoint is not a safetensors file ({error}): remove it, it is made again") from error
    except KeyError as error:  # of the library, where NumPy has no such numbers
        raise SimlawError(
            f"the checkpoint holds numbers of the kind {error}, which none of simlaw has: remove it, it is made again"
        ) from error
    # the library's reader leaves the header's texts out: eight bytes of length, JSON
    length = int.from_bytes(data[:8], "little")
    texts = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    try:
        about = parsed(texts.get("about", "{}"))
    except SimlawError as error:
        raise SimlawError(f"the checkpoint's header is {error}; remove the file, it is made again") from error
    if not isinstance(about, dict):
        raise SimlawError(f"the checkpoint's header says {about!r:.60}, no object: remove the file, it is made again")
    return arrays, about


def _whole(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
