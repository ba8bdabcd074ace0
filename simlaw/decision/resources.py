"""Resources: what a plan may use of bytes and FLOPs, and the largest size and the tokens that they buy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from simlaw.decision.amounts import require_amount
from simlaw.decision.cache import Cache
from simlaw.decision.cost import FLOPS, CostTable
from simlaw.decision.shipped import Shipped
from simlaw.errors import SimlawError
from simlaw.report import count, power_of_ten, size


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training in a format means: the precisions that it sets, and whether products are computed in it.

    With weights alone in the format, products are those of 16 bits: nothing is cheaper. A law whose P_w stands for
    weights and activations together takes `Training(name="both", roles=("P_w",), computed=True)`.
    """

    name: str
    roles: tuple[str, ...]
    computed: bool

    def __str__(self) -> str:
        what = ", ".join(_ROLES.get(role, role) for role in self.roles)
        products = "computed in it too" if self.computed else "computed in 16 bits"
        return f"in training: {self.name} means {what} in the format while training, products {products}"


_ROLES = {"P_w": "weights", "P_a": "activations", "P_kv": "keys, values"}
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
            if getattr(self, name) is not None:
                require_amount(name, getattr(self, name))
        require_amount("serve_tokens", self.serve_tokens, zero=True)
        if not isinstance(self.cache, Cache | None):
            raise SimlawError(f"cache={self.cache!r}: give a Cache(batch=…, context=…)")
        if not isinstance(self.cost, CostTable):
            raise SimlawError(f"cost={self.cost!r}: give a CostTable, or the name of one of sl.COSTS")
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

    def reach(self, option: Option) -> float:
        """The size that compute alone can train, on one token, and serve; infinite where the tokens are given."""
        if self.flops is None:
            return np.inf
        each = 6 * self.training(option)
        if not self.serve_tokens or self.serve_flops is not None:
            return self.flops / each
        return _largest(lambda n: n * each + self.serve_tokens * self.serving(n, option), self.flops, self.flops / each)

    def largest(self, option: Option) -> float:
        """The largest size within all bounds; 0 where not even one parameter is."""
        most = self.reach(option)
        if self.bytes is not None:
            weights = self.bytes * 8 / option.format.stored
            if self.cache is not None:
                weights = _largest(lambda n: self.memory(n, option), self.bytes, weights)
            most = min(most, weights)
        if self.serve_flops is not None:
            most = _largest(lambda n: self.serve_tokens * self.serving(n, option), self.serve_flops, most)
        return most if most >= 1 else 0.0

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
    if most < 1 or use(1.0) > bound:
        return 0.0
    if use(most) <= bound:
        return most
    low, high = 0.0, float(np.log(most))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if use(float(np.exp(middle))) <= bound else (low, middle)
    return float(np.exp(low))
