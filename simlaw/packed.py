"""A quantized checkpoint as one safetensors file: packed codes, scales as they are stored, the other groups as float16.

Arrays are named layer.matrix.part: `codes` and `zeros` are bits without gaps, `scales` are float16, exponent bytes or
e4m3 bytes (with one float32, the `factor`). `rows` is what multiplies a matrix's rows in use (AWQ), `smooth` what
divides the inputs, `reach` the largest input, `middle`, `group`, `unit` and `added` are Tender's. The header holds, as
one JSON text, the run's spec, the quantization, the versions that made it, and a checksum of the arrays.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer
from safetensors.numpy import save

from simlaw.accounting import group_bits
from simlaw.arithmetic import Place
from simlaw.checkpoint import check_about, check_leaf, check_spare, read
from simlaw.config import AWQ, NUMERICS, PTQ, SMOOTHED, Average, RunSpec, SmoothQuant, Tender
from simlaw.declared import decode, encode, mismatch
from simlaw.errors import SimlawError
from simlaw.formats import Float8, Quantizer
from simlaw.formats import Int as IntFormat
from simlaw.model import Params, matrices, shapes, with_matrices
from simlaw.ptq import Site
from simlaw.ptq.rotation import turned_back
from simlaw.ptq.site import Channels
from simlaw.ptq.tender import channel_scales
from simlaw.quantize.fake import Cut
from simlaw.quantize.packing import STORED, pack, packed_size, scale_arrays, scales_from, unpack
from simlaw.quantize.scales import Scales
from simlaw.quantize.stored import Quantized, coded, dequantize
from simlaw.version import __version__

_TURNED = jax.jit(turned_back)

#: Raised by hand when the same names come to mean something else.
FORM = 1

#: What the header must say besides.
_ABOUT: Mapping[str, Any] = {"run_id": str, "spec": dict, "ptq": dict, "average": dict | None}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A quantized checkpoint: of which run, how, its parameters (without what was lost to float16) and its sites.

    With the JSON of a tokenizer that was trained for it.
    """

    run_id: str
    spec: RunSpec
    ptq: PTQ
    average: Average | None
    params: Params
    sites: dict[Place, Site]
    tokenizer: str | None = None


def to_bytes(packed: Packed) -> bytes:
    """The file; the same for the same checkpoint.

    Raises `SimlawError` for a method that leaves no codes, and where a value has no stored form.
    """
    arrays: Arrays = {}
    for place, site in packed.sites.items():
        parts = _site_arrays(site, packed.ptq)
        arrays |= {f"{place.layer}.{place.matrix}.{name}": array for name, array in parts.items()}
    for name, leaf in _others(packed.params).items():
        with np.errstate(over="ignore"):
            arrays[name] = np.asarray(leaf).astype(np.float16)
        if not np.isfinite(arrays[name]).all():
            raise SimlawError(f"{name} holds a number that float16 does not: its largest is 65504")
    about = {
        "form": FORM,
        "run_id": packed.run_id,
        "spec": encode(packed.spec, identity=True),
        "ptq": encode(packed.ptq),
        "average": encode(packed.average),
        "numerics": NUMERICS,
        "simlaw": __version__,
        "jax": jax.__version__,
        "sha256": _checksum(arrays),
    }
    if packed.tokenizer is not None:
        about["tokenizer"] = packed.tokenizer
    return save(arrays, metadata={"about": json.dumps(about, sort_keys=True)})


def from_bytes(data: bytes) -> Packed:
    """The quantized checkpoint of a file, its matrices equal to those that were packed.

    Raises `SimlawError` where the file is damaged, of another form, or does not hold what its header declares.
    """
    arrays, about = read(data)
    if "ptq" not in about:
        raise SimlawError(
            "the file holds no quantized checkpoint: write one with sl.load_model(run).quantized(ptq).save(path)"
        )
    check_about(about, FORM, "")
    if _checksum(arrays) != about.get("sha256"):
        raise SimlawError("the file is damaged: its arrays have another checksum than its header says; pack it again")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise SimlawError(f"the file's {name} holds a number that is not finite: pack a run that did not diverge")
    for name, hint in _ABOUT.items():
        if name not in about or (wrong := mismatch(about[name], hint)):
            what = f"has {name}={about[name]!r:.60}, and {wrong}" if name in about else f"lacks {name!r}"
            raise SimlawError(f"the file's header {what}: pack it again")
    spec: RunSpec = decode(RunSpec, about["spec"])
    ptq: PTQ = decode(PTQ, about["ptq"])
    # before as many shapes are made as the header declares
    layers = len({name.partition(".")[0] for name in arrays if name.count(".") > 1})
    if layers != spec.model.layers:
        raise SimlawError(f"the file holds {layers} layers, and its header declares {spec.model.layers}: pack it again")
    blank = shapes(spec.model)
    params = _with_others(blank, arrays)
    sites = {place: _site(ptq, place, (w.shape[0], w.shape[1]), arrays) for place, w in matrices(blank).items()}
    check_spare(arrays)
    return Packed(
        run_id=about["run_id"],
        spec=spec,
        ptq=ptq,
        average=decode(Average | None, about["average"]),
        params=with_matrices(params, {place: site.w for place, site in sites.items()}),
        sites=sites,
        tokenizer=about.get("tokenizer"),
    )


def _site_arrays(site: Site, ptq: PTQ) -> Arrays:
    """The stored arrays of a matrix and of what its inputs go through."""
    if site.scales is None:
        raise SimlawError(
            f"{type(ptq.method).__name__} is a control, and leaves no codes: take a method such as RTN() or GPTQ()"
        )
    rows = None if site.rows is None else np.asarray(site.rows)
    w = np.asarray(_turned(site.w, ptq))
    stored = coded(w if rows is None else w / rows[:, None], site.scales, ptq.quantizer)
    if not np.array_equal(_effective(stored, rows, ptq), site.w):
        raise SimlawError(
            f"a matrix of {stored.shape} is not on {ptq.quantizer.format.name} under its scales: only what is "
            "quantized has codes, and only finite values"
        )
    arrays = {"codes": pack(_unsigned(stored), ptq.quantizer.format.bits)}
    arrays |= scale_arrays(stored.scales, ptq.quantizer.scale)
    if stored.low is not None:
        arrays["zeros"] = pack(-stored.low, ptq.quantizer.format.bits)
    if rows is not None:
        arrays["rows"] = rows.astype(np.float16)
    if site.smooth is not None:
        arrays["smooth"] = np.asarray(site.smooth).astype(np.float16)
    if site.reach is not None and ptq.static_inputs:
        arrays["reach"] = np.asarray(site.reach)
    if site.channels is not None:
        assert isinstance(ptq.method, Tender)
        bias, _, added, group, unit = (np.asarray(part) for part in site.channels)
        arrays |= {"middle": bias.astype(np.float16), "added": added, "unit": unit}
        arrays["group"] = pack(group.astype(np.int32), group_bits(ptq.method))
    return arrays


def _site(ptq: PTQ, place: Place, shape: tuple[int, int], arrays: Arrays) -> Site:
    """A matrix and what its inputs go through, out of the stored arrays, which are taken away."""
    (inputs, outputs), quantizer, method = shape, ptq.quantizer, ptq.method
    form, cut = quantizer.format, Cut(shape, quantizer.granularity)

    def take(part: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        return _taken(arrays, f"{place.layer}.{place.matrix}.{part}", dtype, shape)

    def bits(part: str, each: int, shape: tuple[int, ...]) -> np.ndarray:
        return unpack(take(part, np.uint8, (packed_size(int(np.prod(shape)), each),)), each, shape)

    def halves(part: str) -> np.ndarray:
        return take(part, np.float16, (inputs,)).astype(np.float32)

    parts = {"scales": take("scales", STORED[type(quantizer.scale)], cut.groups)}
    if isinstance(quantizer.scale, Float8):
        parts["factor"] = take("factor", np.float32, ())
    stored = Quantized(
        quantizer=quantizer,
        shape=shape,
        codes=_signed(bits("codes", form.bits, shape), quantizer),
        scales=scales_from(parts, quantizer.scale),
        low=-bits("zeros", form.bits, cut.groups) if form.zero_bits else None,
    )
    rows = halves("rows") if isinstance(method, AWQ) else None
    smooth = halves("smooth") if isinstance(method, SmoothQuant) and place.matrix in SMOOTHED else None
    low = None if stored.low is None else _on_blocks(stored.low.astype(np.float32))
    channels = None
    if isinstance(method, Tender):
        group = jnp.asarray(bits("group", group_bits(method), (inputs,)), jnp.float32)
        unit = jnp.asarray(take("unit", np.float32, ()))
        channels = Channels(
            bias=jnp.asarray(halves("middle")),
            scale=channel_scales(group, unit),
            added=jnp.asarray(take("added", np.float32, (outputs,))),
            group=group,
            unit=unit,
        )
    static = ptq.static_inputs and channels is None
    return Site(
        jnp.asarray(_effective(stored, rows, ptq)),
        smooth=None if smooth is None else jnp.asarray(smooth),
        reach=jnp.asarray(take("reach", np.float32, ())) if static else None,
        channels=channels,
        scales=Scales(_on_blocks(stored.scales), low),
        rows=None if rows is None else jnp.asarray(rows),
    )


def _effective(stored: Quantized, rows: Float[np.ndarray, " i"] | None, ptq: PTQ) -> Float[np.ndarray, "i o"]:
    """The matrix that a model computes with."""
    w = dequantize(stored)
    return np.asarray(_turned(jnp.asarray(w if rows is None else w * rows[:, None]), ptq))


def _turned(w: Float[Array, "i o"], ptq: PTQ) -> Float[Array, "i o"]:
    """A matrix of turned inputs as one of inputs as they are, and back, where these are not turned in use."""
    return _TURNED(w) if ptq.rotate and ptq.activations is None else w


def _unsigned(stored: Quantized) -> Integer[np.ndarray, "i o"]:
    """Codes from 0 on: negative integers as their two's complement."""
    return stored.codes & (2**stored.quantizer.format.bits - 1)


def _signed(codes: Integer[np.ndarray, "i o"], quantizer: Quantizer) -> Integer[np.ndarray, "i o"]:
    form = quantizer.format
    if not isinstance(form, IntFormat) or form.grid in ("sign", "asymmetric"):
        return codes
    return np.where(codes >= 2 ** (form.bits - 1), codes - 2**form.bits, codes)


def _on_blocks(each: Float[np.ndarray, "g h"]) -> Float[Array, "g 1 h 1"]:
    return jnp.asarray(each[:, None, :, None])


def _others(params: Params) -> dict[str, Float[Array, "..."]]:
    """The arrays of every group but the blocks, by key path."""
    rest = {group: tree for group, tree in params.items() if group != "blocks"}
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(rest)[0]}


def _with_others(params: Params, arrays: Arrays) -> Params:
    """The parameters with the stored arrays, which are taken away, in every group but the blocks."""
    rest = {group: tree for group, tree in params.items() if group != "blocks"}
    found = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            _taken(arrays, jax.tree_util.keystr(path), np.float16, leaf.shape).astype(np.float32)
        ),
        rest,
    )
    return {**params, **found}


def _taken(arrays: Arrays, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = arrays.pop(name, None)
    what = None if found is None else (str(found.dtype), found.shape)
    check_leaf(name, what, jax.ShapeDtypeStruct(shape, dtype))  # type: ignore[no-untyped-call]
    assert found is not None
    return found


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of all arrays' bytes, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
