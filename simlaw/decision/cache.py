"""The key and value cache of a served model: what memory holds beside the weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simlaw.decision.amounts import require_amount
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How width and layers follow from N = factor · layers · width^2, which is all that a law knows.

    Either the width of a layer stack is `aspect` times its layers, or `layers` is fixed. `factor` counts the block
    parameters of a layer in units of width^2: 12 for attention with a feed-forward of 4 times the width. `kv_share` is
    the share of heads that have keys and values of their own (grouped queries). Published models scatter by a factor of
    two around such rules: declare your own.
    """

    factor: float = 12.0
    aspect: float | None = 128.0
    layers: float | None = None
    kv_share: float = 1.0

    def __post_init__(self) -> None:
        if (self.aspect is None) == (self.layers is None):
            raise SimlawError("Shape: give the aspect (width over layers) or the layers, and None for the other")
        for name in ("factor", "aspect", "layers", "kv_share"):
            if getattr(self, name) is not None or name not in ("aspect", "layers"):
                require_amount(f"Shape: {name}", getattr(self, name))
        if self.kv_share > 1:
            raise SimlawError(f"Shape: kv_share={self.kv_share:g}: it is a share of the heads, so at most 1")

    def layers_times_width(self, n: Any) -> Any:
        """Layers · width of models of `n` parameters: the keys of one token, and the values, with no heads shared."""
        if self.layers is not None:
            return self.layers * np.sqrt(n / (self.factor * self.layers))
        assert self.aspect is not None
        return np.cbrt(n * self.aspect / self.factor) ** 2 / self.aspect


#: simlaw's own two-layer family: 26·width^2 block parameters.
TWO_LAYERS = Shape(factor=13.0, aspect=None, layers=2.0)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The cache of `batch` sequences of `context` tokens, each key and value stored in `bits` bits.

    A law counts no loss for a cache of fewer than 16 bits, unless the model was trained with one.
    """

    batch: float
    context: float
    bits: float = 16.0
    shape: Shape = Shape()

    def __post_init__(self) -> None:
        for name in ("batch", "context", "bits"):
            require_amount(f"Cache: {name}", getattr(self, name))

    def bytes(self, n: Any, bits: float | None = None) -> Any:
        """Bytes of the full cache of models of `n` parameters; `bits` takes the place of the cache's own."""
        each = 2 * self.shape.kv_share * self.shape.layers_times_width(n) * self.batch * self.context
        return each * (self.bits if bits is None else bits) / 8
