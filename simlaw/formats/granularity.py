"""Granularity: which values share a scale."""

from dataclasses import dataclass
from math import ceil

from simlaw.declared import Count, Declared


@dataclass(frozen=True, kw_only=True)
class PerTensor(Declared):
    """One scale for the whole matrix."""


@dataclass(frozen=True, kw_only=True)
class PerChannel(Declared):
    """One scale for each output channel of a weight matrix."""


@dataclass(frozen=True, kw_only=True)
class PerToken(Declared):
    """One scale for each token's activations; of keys and values, for each head of each token."""


@dataclass(frozen=True, kw_only=True)
class PerGroup(Declared):
    """One scale for each run of `size` values along the inputs, of each output channel or token.

    Where `size` does not divide them the last group is shorter; where it is not less than them, the group is a whole
    channel, and the table calls it so.
    """

    size: Count


@dataclass(frozen=True, kw_only=True)
class PerBlock(Declared):
    """One scale for each block of inputs × outputs, the last ones smaller where the block does not divide."""

    inputs: Count
    outputs: Count


Granularity = PerTensor | PerChannel | PerToken | PerGroup | PerBlock


def block_of(shape: tuple[int, int], granularity: Granularity) -> tuple[int, int]:
    """How many inputs and outputs share a scale in a matrix of (inputs, outputs); tokens are outputs here."""
    inputs, outputs = shape
    if isinstance(granularity, PerTensor):
        return inputs, outputs
    if isinstance(granularity, PerBlock):
        return min(granularity.inputs, inputs), min(granularity.outputs, outputs)
    return (min(granularity.size, inputs) if isinstance(granularity, PerGroup) else inputs), 1


def scale_count(shape: tuple[int, int], granularity: Granularity) -> int:
    """The number of scales of a matrix (inputs, outputs)."""
    rows, columns = block_of(shape, granularity)
    return ceil(shape[0] / rows) * ceil(shape[1] / columns)


def effective(shape: tuple[int, int], granularity: Granularity) -> Granularity:
    """What a granularity is in a matrix of this shape: a group or block as wide as the matrix has another name."""
    if isinstance(granularity, PerGroup) and granularity.size >= shape[0]:
        return PerChannel()
    if isinstance(granularity, PerBlock):
        rows, columns = block_of(shape, granularity)
        if (rows, columns) == shape:
            return PerTensor()
        if columns == 1:
            return PerChannel() if rows == shape[0] else PerGroup(size=rows)
    return granularity
