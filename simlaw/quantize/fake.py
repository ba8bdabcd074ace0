"""Fake quantization: the values on a format's grid, in float32, inside compiled code.

A non-finite input makes its whole scale group non-finite and so reaches the loss; the host function `quantize` refuses
it.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Num

from simlaw.errors import SimlawError
from simlaw.formats import Granularity, Levels, Scaling, block_of
from simlaw.quantize.scales import Scales, on_groups, scales_of


@dataclass(frozen=True)
class Cut:
    """A matrix (inputs, outputs) as the blocks (g, r, h, c) that share scales, zeros filling the last ones up."""

    shape: tuple[int, int]
    granularity: Granularity
    of_tokens: bool = False
    """Whether it is (tokens, inputs) instead; a token is then what an output channel is to weights."""

    @property
    def block(self) -> tuple[int, int]:
        """Inputs and outputs of one block."""
        first, second = self.shape
        if not self.of_tokens:
            return block_of((first, second), self.granularity)
        inputs, tokens = block_of((second, first), self.granularity)
        return tokens, inputs

    @property
    def groups(self) -> tuple[int, int]:
        """How many blocks lie along inputs and outputs."""
        (rows, columns), (inputs, outputs) = self.block, self.shape
        return -(-inputs // rows), -(-outputs // columns)

    @property
    def held(self) -> Bool[np.ndarray, "#g #r #h #c"]:
        """Which values of the blocks are the matrix's."""
        if self._fill == ((0, 0), (0, 0)):
            return np.ones((1, 1, 1, 1), bool)
        (rows, columns), (g, h) = self.block, self.groups
        return np.pad(np.ones(self.shape, bool), self._fill).reshape(g, rows, h, columns)

    def blocks(self, x: Float[Array, "i o"]) -> Float[Array, "g r h c"]:
        """The matrix in blocks."""
        (rows, columns), (g, h) = self.block, self.groups
        filled = jnp.pad(x, self._fill) if self._fill != ((0, 0), (0, 0)) else x
        return filled.reshape(g, rows, h, columns)

    def matrix(self, blocks: Float[Array, "g r h c"]) -> Float[Array, "i o"]:
        """The blocks put together again."""
        (g, r, h, c), (inputs, outputs) = blocks.shape, self.shape
        return blocks.reshape(g * r, h * c)[:inputs, :outputs]

    @property
    def _fill(self) -> tuple[tuple[int, int], tuple[int, int]]:
        (rows, columns), (g, h), (inputs, outputs) = self.block, self.groups, self.shape
        return (0, g * rows - inputs), (0, h * columns - outputs)

    def spread(self, each: Num[np.ndarray, "g h"]) -> Num[np.ndarray, "i o"]:
        """What belongs to each block, at each value of the matrix."""
        rows, columns = self.block
        return np.repeat(np.repeat(each, rows, 0), columns, 1)[: self.shape[0], : self.shape[1]]


def fake_quantize(
    x: Float[Array, "i o"],
    levels: Levels,
    scaling: Scaling,
    key: Key[Array, ""] | None = None,
    of_tokens: bool = False,
) -> Float[Array, "i o"]:
    """The values of a matrix (inputs × outputs) on the levels of a format, under the scales of its own groups.

    `levels` may be traced, `scaling` is static; stochastic rounding needs a `key`, and nearest takes none.
    With `of_tokens` the matrix is (tokens × inputs), and what weights have for an output channel it has for a token.
    """
    return with_scales(x, levels, scaling, key, of_tokens)[0]


def with_scales(
    x: Float[Array, "i o"],
    levels: Levels,
    scaling: Scaling,
    key: Key[Array, ""] | None = None,
    of_tokens: bool = False,
) -> tuple[Float[Array, "i o"], Scales]:
    """What `fake_quantize` gives, and the scales of the groups."""
    inputs, outputs = x.shape
    cut = Cut((inputs, outputs), scaling.granularity, of_tokens)
    blocks = cut.blocks(x)
    scales = scales_of(blocks, levels, scaling, cut.held)
    random = scaling.rounding == "stochastic"
    if random and key is None:
        raise SimlawError("the rounding is stochastic and there is no key: give one, or take rounding='nearest'")
    return cut.matrix(on_groups(blocks, scales, levels, key if random else None) * scales.scale), scales
