"""Sharded checkpoints: a tree of arrays as a folder that Orbax writes, each process its share, and back onto any mesh.

For states that live on several processes or are large. Small ones are a single file, a hundred times faster.
"""

import json
from pathlib import Path
from typing import Any

import jax

from simlaw.checkpoint import check_about, check_leaf, check_spare
from simlaw.files import write

#: Raised by hand when the folder's form changes.
FORM = 1
_ABOUT, _ARRAYS = "about.json", "arrays"


def sprawls(tree: Any, most_bytes: int) -> bool:
    """Whether a tree is to be a folder: some leaf lies on several processes, or all take more than so many bytes."""
    leaves = jax.tree.leaves(tree)
    spread = any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves)
    return spread or sum(leaf.nbytes for leaf in leaves) > most_bytes


def write_folder(folder: Path, tree: Any, of: str = "") -> None:
    """Write the tree's arrays below a folder that is there, exactly. `of` is the key of what they are.

    Every process that holds a part must call this.
    """
    # here, and below: a worker whose states are files starts a tenth faster without Orbax
    import orbax.checkpoint as ocp

    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        arrays = {f"{i:05d}": leaf for i, (_, leaf) in enumerate(flat)}
        checkpointer.save(folder.resolve() / _ARRAYS, args=ocp.args.StandardSave(arrays))
    if jax.process_index() == 0:
        leaves = [(jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)) for path, leaf in flat]
        write(folder / _ABOUT, json.dumps({"form": FORM, "of": of, "leaves": leaves}, indent=1).encode())


def is_folder(folder: Path) -> bool:
    """Whether a folder was written by `write_folder`."""
    return (folder / _ABOUT).is_file()


def read_folder(folder: Path, like: Any, where: Any, of: str = "") -> Any:
    """The tree of `write_folder` with the structure of `like`, its leaves on the shardings of `where`.

    Raises `SimlawError` where it is of another form or of something else, or a leaf is missing, not wanted, or of
    another shape or dtype than in `like`.
    """
    import orbax.checkpoint as ocp

    about = json.loads((folder / _ABOUT).read_text())
    check_about(about, FORM, of)
    stored = {name: (i, dtype, shape) for i, (name, dtype, shape) in enumerate(about["leaves"])}
    flat, structure = jax.tree_util.tree_flatten_with_path(like)
    targets = jax.tree.leaves(where)
    wanted, order = {}, []
    for (path, leaf), sharding in zip(flat, targets, strict=True):
        name = jax.tree_util.keystr(path)
        at, *found = stored.pop(name, (None,))
        check_leaf(name, None if at is None else (found[0], found[1]), leaf)
        order.append(f"{at:05d}")
        shape = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]
        wanted[order[-1]] = shape
    check_spare(stored)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        read = checkpointer.restore(folder.resolve() / _ARRAYS, args=ocp.args.StandardRestore(wanted))
    return jax.tree_util.tree_unflatten(structure, [read[name] for name in order])
