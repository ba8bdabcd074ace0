"""Parameters by group, FLOPs by convention, and the bytes that a deployed model needs. Plain numbers; no JAX."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.config import AWQ, PTQ, SMOOTHED, ModelSpec, RateDistortion, SmoothQuant, Tender
from simlaw.formats import UNQUANTIZED_BITS, Quantizer, scale_count

#: The groups of parameters; a law chooses which of them its N counts.
GROUPS = ("embedding", "blocks", "norms", "head")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameter counts by group, measured from the live tree; a tied embedding is one matrix and counted once."""

    embedding: int
    blocks: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All groups together."""
        return self.embedding + self.blocks + self.norms + self.head


def parameters(shapes: Mapping[str, Any]) -> Parameters:
    """The parameter counts of a tree of arrays (or of shapes with a `.shape`) whose first level is the group."""
    return Parameters(**{group: sum(int(np.prod(leaf.shape)) for leaf in leaves(shapes[group])) for group in GROUPS})


def leaves(tree: Any) -> Iterable[Any]:
    """The arrays of a nested mapping, in the order of its keys."""
    if isinstance(tree, Mapping):
        for key in tree:
            yield from leaves(tree[key])
    else:
        yield tree


def flops_6nd(n: float, tokens: float) -> float:
    """Training FLOPs by the common rule 6·N·D."""
    return 6.0 * n * tokens


def flops_forward_per_token(model: ModelSpec, counts: Parameters) -> float:
    """Forward FLOPs per token of every matrix product: blocks, head, and attention over the whole context.

    Two per multiply-add; the embedding is a lookup, and where it is tied also the head; norms, softmax and activations
    are left out. Training costs three times as much, without rematerialisation.
    """
    attention = 2 * 2 * model.context * model.heads * model.head_width * model.layers
    return 2.0 * (counts.blocks + model.vocab * model.width) + attention


def stored_bits(shape: tuple[int, int], quantizer: Quantizer | None) -> int:
    """Bits of one stored matrix (inputs, outputs) with scales and zero points; 16 per value where not quantised."""
    inputs, outputs = shape
    if quantizer is None:
        return inputs * outputs * UNQUANTIZED_BITS
    form, scale = quantizer.format, quantizer.scale
    groups = scale_count(shape, quantizer.granularity)
    return inputs * outputs * form.bits + groups * (scale.bits + form.zero_bits) + scale.tensor_bits


def site_bits(matrix: str, shape: tuple[int, int], ptq: PTQ) -> int:
    """Bits of one stored matrix, named as its model does, and of what its inputs go through under a method.

    AWQ's and SmoothQuant's scales of inputs are float16, though some could go into the norm or matrix before. Tender
    stores of each input a float16 and its group, and of each output a float32. One scale of inputs for all tokens, and
    Tender's least scale, are a float32. An ideal code has its bits alone.
    """
    (inputs, outputs), method = shape, ptq.method
    if isinstance(method, RateDistortion):
        return inputs * outputs * ptq.quantizer.format.bits
    bits = stored_bits(shape, ptq.quantizer)
    if isinstance(method, Tender):
        return bits + inputs * (16 + group_bits(method)) + outputs * 32 + 32
    if isinstance(method, AWQ) or (isinstance(method, SmoothQuant) and matrix in SMOOTHED):
        bits += inputs * 16
    return bits + 32 * ptq.static_inputs


def group_bits(method: Tender) -> int:
    """Bits of the number of a channel's group."""
    return (method.groups - 1).bit_length()


def bytes_blocks(shapes: Mapping[str, Any], how: PTQ | Quantizer | None) -> float:
    """Bytes of the block matrices with their scales and zero points, and with what a method puts before them."""
    if isinstance(how, PTQ):
        return sum(site_bits(name, tuple(leaf.shape), how) for name, leaf in _named(shapes["blocks"])) / 8
    return sum(stored_bits(tuple(leaf.shape), how) for leaf in leaves(shapes["blocks"])) / 8


def bytes_total(shapes: Mapping[str, Any], how: PTQ | Quantizer | None) -> float:
    """Bytes of everything a deployed model needs: the blocks; embedding, norms and head at 16 bits."""
    counts = parameters(shapes)
    rest = counts.total - counts.blocks
    return bytes_blocks(shapes, how) + rest * UNQUANTIZED_BITS / 8


def _named(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The arrays of a nested mapping, each with the last of its keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _named(value)
        else:
            yield str(key), value
