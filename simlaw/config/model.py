"""What a model is: its sizes, and the architecture that they fill."""

from dataclasses import dataclass
from typing import Annotated, Literal

from simlaw.declared import Between, Count, Declared, Positive, option
from simlaw.errors import SimlawError


@dataclass(frozen=True, kw_only=True)
class Architecture(Declared):
    """The parts of a block, whatever its sizes; the default is RMSNorm, RoPE, SwiGLU and untied embeddings.

    `qk_norm` normalises queries and keys of each head; `output_norms` puts a norm before each projection back into the
    residual stream; `bound` keeps every input of a block matrix within ± bound by bound·tanh(x / bound).
    """

    positions: Literal["rope", "learned"] = option("rope")
    norm: Literal["rms", "layer"] = option("rms")
    feed: Literal["swiglu", "gelu"] = option("swiglu")
    tied: bool = option(False)
    qk_norm: bool = option(False)
    output_norms: bool = option(False)
    bound: Positive | None = option(None)


@dataclass(frozen=True, kw_only=True)
class MuP(Declared):
    """The maximal-update parametrization (2203.03466, table 8): rates transfer from the width `base_width`.

    Block matrices train at base_width / width times the rate (Muon's at its square root), logits are scaled by the same
    ratio, and the head starts as wide as at `base_width`. Heads keep their dimension, so attention needs no change.
    """

    base_width: Count


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Declared):
    """A decoder-only Transformer. A head has `head_dim` dimensions, or, without it, width / heads.

    `kv_heads` heads of keys and values serve `heads` heads of queries (2305.13245); without it, as many as heads.
    """

    vocab: Annotated[int, Between(2)]
    context: Annotated[int, Between(2)]
    width: Count
    layers: Annotated[int, Between(1, 4096)]
    heads: Count
    hidden: Count
    head_dim: Count | None = option(None)
    kv_heads: Count | None = option(None)
    architecture: Architecture = option(Architecture())
    mup: MuP | None = option(None)

    @property
    def head_width(self) -> int:
        """Dimensions of one head."""
        return self.head_dim or self.width // self.heads

    @property
    def kv(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    def check(self) -> None:
        if self.head_dim is None and self.width % (2 * self.heads):
            raise SimlawError(
                f"ModelSpec.width {self.width} with {self.heads} heads: heads need an even width each; "
                f"take a multiple of {2 * self.heads}, or set head_dim"
            )
        if self.head_dim is not None and self.head_dim % 2:
            raise SimlawError(f"ModelSpec.head_dim is {self.head_dim}: rotary positions turn pairs; take an even one")
        if self.heads % self.kv:
            raise SimlawError(
                f"ModelSpec.kv_heads is {self.kv_heads}: it must divide the {self.heads} heads of queries; take one of "
                + ", ".join(str(n) for n in range(1, self.heads + 1) if self.heads % n == 0)
            )
