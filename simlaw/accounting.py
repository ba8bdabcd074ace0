"""Parameters by group, FLOPs by convention, and the bytes that a deployed model needs. Plain numbers; no JAX."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.config import ModelSpec
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


def bytes_blocks(shapes: Mapping[str, Any], quantizer: Quantizer | None) -> float:
    """Bytes of the block matrices, with their scales and zero points."""
    return sum(stored_bits(tuple(leaf.shape), quantizer) for leaf in leaves(shapes["blocks"])) / 8


def bytes_total(shapes: Mapping[str, Any], quantizer: Quantizer | None) -> float:
    """Bytes of everything a deployed model needs: the blocks; embedding, norms and head at 16 bits."""
    counts = parameters(shapes)
    rest = counts.total - counts.blocks
    return bytes_blocks(shapes, quantizer) + rest * UNQUANTIZED_BITS / 8
