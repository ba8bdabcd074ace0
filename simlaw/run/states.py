"""Stored states: one file each, or a folder where they lie on several processes or are large."""

from typing import Any

import jax
from jax.sharding import Mesh, SingleDeviceSharding

from simlaw.checkpoint import from_bytes, to_bytes
from simlaw.devices import place, shardings
from simlaw.errors import SimlawError
from simlaw.run.team import AnyStore, told
from simlaw.sharded import is_folder, read_folder, sprawls, write_folder

#: A state of more bytes is stored as a folder; a file is read and written whole, through memory.
FILE_BYTES = 2**28
_FILE = "state.safetensors"


def save_state(store: AnyStore, kind: str, key: str, tree: Any) -> None:
    """Store one member's state; every process of a team calls this."""
    if store.foldered and sprawls(tree, FILE_BYTES):
        draft = store.draft()
        write_folder(draft, tree, key)
        store.adopt(kind, key, draft)
    else:
        store.put(kind, key, {_FILE: to_bytes(tree, key)})


def read_state(store: AnyStore, kind: str, key: str, like: Any, mesh: Mesh | None) -> Any:
    """A stored state with the structure of `like`, on this mesh whatever it was stored on; None where none fits.

    One that does not fit, being of another model or version, is set aside: what it held is made again.
    """
    folder = store.locate(kind, key)
    if folder is None:
        return None
    if mesh is None:
        alone = SingleDeviceSharding(jax.local_devices()[0])
        where = jax.tree.map(lambda _: alone, like)
    else:
        where = shardings(mesh, like, lead=0)
    try:
        if told(is_folder(folder)):
            return read_folder(folder, like, where, key)
        files = store.get(kind, key)
        read = files and from_bytes(files[_FILE], like, key)
    except SimlawError as error:
        store.set_aside(kind, key, str(error))
        return None
    return read if read is None or mesh is None else place(read, where)
