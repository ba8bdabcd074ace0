"""Resources: what a plan may use of bytes and FLOPs, and the sizes and tokens that they buy in each format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.decision.cache import Cache
from simlaw.decision.cost import FLOPS, CostTable
from simlaw.decision.shipped import Shipped
from simlaw.errors import SimlawError
from simlaw.report import count, power_of_ten, size

#: Sizes tried below the largest that is allowed: within bytes, and where compute alone is the limit.
_WITHIN = np.geomspace(1e-6, 1.0, 1201)
_BELOW = np.geomspace(1e-14, 1.0, 3201)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training in a format means: the precisions that it sets, and whether products are computed in it.

    With weights alone in the format, products are those of 16 bits: nothing is cheaper. A law whose P_w stands for
    weights and activations together takes `Training(name="both", roles=("P_w",), computed=True)`.
    """

    name: str
    roles: tuple[str, ...]
    computed: bool


#: Weights in the format, activations in 16 bits: quantization-aware training.
WEIGHTS = Training(name="weights", roles=("P_w",), computed=False)
#: Weights, activations, keys and values in the format; products are computed in it.
TIED = Training(name="all", roles=("P_w", "P_a", "P_kv"), computed=True)


@dataclass(frozen=True, kw_only=True)
class Option:
    """A format and how a model gets into it: quantized after training at 16 bits, or trained in it."""

    format: Shipped
    training: Training | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is quantized."""
        return bool(np.isinf(self.format.bits))

    @property
    def how(self) -> str:
        """When the model is quantized, in words."""
        if self.plain:
            return "no"
        return "after training" if self.training is None else f"in training: {self.training.name}"

    @property
    def precisions(self) -> Mapping[str, float]:
        """The variables of a law that the option sets; what it leaves out is infinite."""
        if self.plain:
            return {}
        return dict.fromkeys(("P_post",) if self.training is None else self.training.roles, self.format.bits)

    @property
    def computed(self) -> bool:
        """Whether the products of training and serving have both operands in the format."""
        return self.training is not None and self.training.computed


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The limits of a decision, and what they buy.

    `bytes` bounds the stored weights, and the cache with them where there is one. `flops` bounds training together with
    serving: 6·N·D times the cost of a training FLOP, and for each token served the larger of 2·N times the cost of a
    serving FLOP and of the bytes that a step of decoding reads (weights and cache, shared by the batch; counted where
    there is a cache). With `serve_flops`, that bounds serving by itself, and `flops` training. `tokens` gives every
    size the same D in the place of `flops`. All FLOPs are 16-bit FLOPs of the cost table.
    """

    bytes: float | None = None
    flops: float | None = None
    tokens: float | None = None
    serve_tokens: float = 0.0
    serve_flops: float | None = None
    cache: Cache | None = None
    cost: CostTable = FLOPS

    def __post_init__(self) -> None:
        for name in ("bytes", "flops", "tokens", "serve_flops"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise SimlawError(f"{name}={value:g}: it must be a number above 0")
        if not (self.serve_tokens >= 0 and np.isfinite(self.serve_tokens)):
            raise SimlawError(f"serve_tokens={self.serve_tokens:g}: it must be a number of tokens, or 0")
        if (self.flops is None) == (self.tokens is None):
            raise SimlawError("give the training budget once: flops=… (equal compute) or tokens=… (equal data)")
        if self.tokens is not None and self.bytes is None:
            raise SimlawError("tokens=… bound no size: give bytes=… too, or flops=… instead")
        if self.serve_flops is not None and not self.serve_tokens:
            raise SimlawError("serve_flops=… bound nothing without serve_tokens=…: say how many tokens are served")
        if self.serve_tokens and self.flops is None and self.serve_flops is None:
            raise SimlawError("serve_tokens=… need a budget to be paid from: flops=… or serve_flops=…")

    def memory(self, n: Any, option: Option) -> Any:
        """Bytes of the weights of `n` parameters, and of the cache where there is one."""
        weights = n * option.format.stored / 8
        return weights if self.cache is None else weights + self._cache(n, option)

    def serving(self, n: Any, option: Option) -> Any:
        """What one served token costs, in 16-bit FLOPs."""
        rate = self.cost.training(option.format) if option.computed else self.cost.serving(option.format)
        computed = 2 * n * rate
        if self.cache is None:
            return computed
        return np.maximum(computed, self.memory(n, option) / self.cache.batch * self.cost.byte)

    def training(self, option: Option) -> float:
        """What one FLOP of training costs, in 16-bit FLOPs."""
        return self.cost.training(option.format) if option.computed else self.cost.training(_PLAIN)

    def tokens_for(self, n: Float[np.ndarray, "..."], option: Option) -> Any:
        """The training tokens of models of `n` parameters; below 1, or negative, where the budget does not do."""
        if self.tokens is not None:
            return np.full(np.shape(n), self.tokens)
        assert self.flops is not None
        served = self.serve_tokens * self.serving(n, option) if self.serve_flops is None else 0.0
        return (self.flops - served) / (6 * n * self.training(option))

    def sizes(self, option: Option) -> Float[np.ndarray, " n"]:
        """The sizes to try for an option, ascending, the largest that is allowed among them; none where none is."""
        if self.bytes is not None:
            most = self.bytes * 8 / option.format.stored  # without a cache, and a bound with one
            if self.cache is not None:
                most = _largest(lambda x: self.memory(x, option), self.bytes, most)
            n = most * _WITHIN
        else:
            assert self.flops is not None
            n = self.flops / (6 * self.training(option)) * _BELOW
        if self.serve_flops is not None:
            fits = _largest(lambda x: self.serve_tokens * self.serving(x, option), self.serve_flops, float(n[-1]))
            n = np.append(n[n < fits], fits) if fits < n[-1] else n
        n = n[n >= 1]
        return n[self.tokens_for(n, option) >= 1]

    def __str__(self) -> str:
        parts = []
        if self.bytes is not None:
            what = ""
            if self.cache is not None:
                what = f" of weights and cache (batch {count(self.cache.batch)}, context {count(self.cache.context)})"
            parts.append(f"{size(self.bytes)}{what}")
        if self.tokens is not None:
            parts.append(f"{power_of_ten(self.tokens)} training tokens")
        elif self.flops is not None:
            together = self.serve_tokens and self.serve_flops is None
            what = f"FLOPs of training and serving {count(self.serve_tokens)} tokens" if together else "training FLOPs"
            parts.append(f"{power_of_ten(self.flops)} {what}")
        if self.serve_flops is not None:
            parts.append(f"{power_of_ten(self.serve_flops)} FLOPs of serving {count(self.serve_tokens)} tokens")
        text = "within " + " and ".join(parts)
        return text if self.cost.name == FLOPS.name else f"{text} by the cost table {self.cost.name}"

    def _cache(self, n: Any, option: Option) -> Any:
        assert self.cache is not None
        trained = option.training is not None and "P_kv" in option.training.roles and not option.plain
        return self.cache.bytes(n, min(option.format.stored, self.cache.bits) if trained else None)


_PLAIN = Shipped(name="bf16", bits=np.inf, stored=16.0)


def _largest(use: Callable[[float], Any], bound: float, most: float) -> float:
    """The largest size up to `most` whose use, which rises with it, is within the bound; 0 where none is."""
    if use(most) <= bound:
        return most
    low, high = 0.0, float(np.log(max(most, 1.0)))
    if use(1.0) > bound:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if use(float(np.exp(middle))) <= bound else (low, middle)
    return float(np.exp(low))
