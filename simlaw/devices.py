"""Devices: one mesh of them, with an axis each for the pack, the data and the model, and where every array lies on it.

Axes are automatic: a program says where its state, its members and its batches lie, and XLA adds the communication.
Weights, gradients and optimizer states lie alike. They are not divided over "data": small models have nothing to save.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from simlaw.config import ModelSpec
from simlaw.declared import Count, Declared
from simlaw.errors import SimlawError

AXES = ("pack", "data", "model")
#: The groups of a model's parameters, by which the leaves of any tree that mirrors them are known.
_GROUPS = ("embedding", "blocks", "norms", "head")
#: Block matrices that project back into the residual stream: their inputs are divided, of all others the outputs.
_ROWS = ("out", "down")


@dataclass(frozen=True, kw_only=True)
class DeviceMesh(Declared):
    """How many devices divide the members of a pack, the sequences of a batch, and each model.

    How work is placed is no part of a run's identity; its numbers agree to a tolerance.
    """

    pack: Count = 1
    data: Count = 1
    model: Count = 1

    def __str__(self) -> str:
        return f"{self.pack} × {self.data} × {self.model}"

    @property
    def size(self) -> int:
        """The devices that the mesh takes."""
        return self.pack * self.data * self.model

    def open(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The mesh over all devices (or these); raises `SimlawError` where their number is another than its size."""
        devices = list(jax.devices() if devices is None else devices)
        if len(devices) != self.size:
            hint = ""
            if len(devices) < self.size and devices[0].platform == "cpu":
                hint = f", or simulate them: XLA_FLAGS=--xla_force_host_platform_device_count={self.size}"
            raise SimlawError(
                f"a mesh of {self} (pack, data, model) wants {self.size} devices, and there are {len(devices)}: "
                f"take {_of_size(len(devices), self)}{hint}"
            )
        sizes = (self.pack, self.data, self.model)
        return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)

    def fit(self, model: ModelSpec, batch: int) -> None:
        """Raise `SimlawError` where an axis does not divide what lies along it; packs are filled up (`filled`)."""
        heads = f"{model.heads} heads" + (f", {model.kv} heads of keys and values" if model.kv != model.heads else "")
        for axis, size, number, what in (
            ("data", self.data, batch, f"a batch of {batch} sequences"),
            ("model", self.model, math.gcd(model.heads, model.kv, model.hidden), f"{heads} and {model.hidden} hidden"),
        ):
            if number % size:
                raise SimlawError(
                    f"the mesh's {axis} axis of {size} does not divide {what}: take {_nearest(size, number)}"
                )


def shardings(mesh: Mesh, tree: Any, lead: int = 1) -> Any:
    """Where the leaves of a training state (or of any tree of arrays or shapes that mirrors parameters) lie.

    The first `lead` axes (0 or 1) are members, divided over "pack". Block matrices are divided over "model" by columns,
    or by rows where they project back into the residual stream; embedding and head by the vocabulary, else by the
    width, else not at all; norms, counters and averages' bookkeeping not at all.
    """

    def where(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        dims: list[str | None] = [None] * len(leaf.shape)
        if lead and dims:
            dims[0] = "pack"
        at = _divided(path, leaf.shape[lead:], mesh.shape["model"])
        if at is not None:
            dims[at] = "model"
        return _sharding(mesh, *dims)

    return jax.tree_util.tree_map_with_path(where, tree)


def held(tree: Any, over: int) -> float:
    """How many of a model's numbers one device holds where `over` of them divide it as `shardings` does."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return sum(math.prod(x.shape) / (1 if _divided(path, x.shape, over) is None else over) for path, x in leaves)


def along_pack(mesh: Mesh) -> NamedSharding:
    """Where arrays with a leading axis of members lie."""
    return _sharding(mesh, "pack")


def everywhere(mesh: Mesh) -> NamedSharding:
    """Where an array lies that every device holds whole."""
    return _sharding(mesh)


def filled(mesh: Mesh, tree: Any) -> Any:
    """The tree of arrays with a leading axis of members, the last one again until "pack" divides their number."""

    def fill(leaf: Any) -> Any:
        spare = -leaf.shape[0] % mesh.shape["pack"]
        return jnp.concatenate([leaf, *[leaf[-1:]] * spare]) if spare else leaf

    return jax.tree.map(fill, tree)


def over_data(mesh: Mesh, windows: Int[Array, "b w"]) -> Int[Array, "b w"]:
    """One member's batch, inside a compiled program, with its sequences divided over "data"."""
    divided: Array = jax.lax.with_sharding_constraint(windows, _sharding(mesh, "data"))  # type: ignore[no-untyped-call]
    return divided


def place(tree: Any, where: Any) -> Any:
    """The tree on the devices, from values that every process holds whole; `where` is a sharding or a tree of them."""

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.device_set == sharding.device_set:
            return jax.device_put(leaf, sharding)
        value = np.asarray(leaf)
        piece: Callable[[Any], Any] = value.__getitem__
        return jax.make_array_from_callback(value.shape, sharding, piece)

    if isinstance(where, NamedSharding):
        return jax.tree.map(lambda leaf: put(leaf, where), tree)
    return jax.tree.map(put, tree, where)


def _divided(path: tuple[Any, ...], shape: tuple[int, ...], over: int) -> int | None:
    """The axis, from the end, along which so many devices divide a leaf of one model; None where they hold it whole."""
    names = [getattr(key, "key", None) for key in path]
    group = next((name for name in names if name in _GROUPS), None)
    if len(shape) < 2 or group not in ("embedding", "blocks", "head"):
        return None
    rows = group == "embedding" or (group == "blocks" and names[-1] in _ROWS)
    return next((axis for axis in ((-2, -1) if rows else (-1, -2)) if shape[axis] % over == 0), None)


def _sharding(mesh: Mesh, *dims: str | None) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*dims))  # type: ignore[no-untyped-call]


def _nearest(wanted: int, number: int) -> str:
    """The divisors of a number next to the wanted one."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    below = [n for n in divisors if n < wanted][-1:]
    above = [n for n in divisors if n > wanted][:1]
    return " or ".join(str(n) for n in below + above)


def _of_size(number: int, wanted: DeviceMesh) -> str:
    """The mesh of so many devices that is nearest to the wanted one."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    meshes = [
        DeviceMesh(pack=pack, data=data, model=number // pack // data)
        for pack, data in itertools.product(divisors, divisors)
        if number % (pack * data) == 0
    ]

    def distance(mesh: DeviceMesh) -> float:
        pairs = ((mesh.pack, wanted.pack), (mesh.data, wanted.data), (mesh.model, wanted.model))
        return sum(abs(math.log(a / b)) for a, b in pairs)

    return str(min(meshes, key=distance))
