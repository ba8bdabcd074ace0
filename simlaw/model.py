"""The model: a decoder-only Transformer whose parts are declared (`config.Architecture`).

Flax NNX defines the modules; they are split once, and the rest of simlaw sees pure functions of the parameters: a
nested dictionary whose first level is the group (embedding, blocks, norms, head; the head is empty where embeddings are
tied). Only the block matrices are ever quantised. Products are two-dimensional and layers unrolled: 1.6 to 2 times
faster here than 3-D products under scan.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from simlaw.arithmetic import FLOAT32, MATRICES, AbstractArithmetic, Place
from simlaw.config import ModelSpec

#: Queries that attend together: 1.3 times faster than all at once at context 128, 2 at 256, 3 at 1,024 on a CPU.
ATTENTION_BLOCK = 64

#: The keys and values of a layer, as far as they are known: each (windows, heads of keys, context, head dimension).
Past = tuple[Array, Array]

#: Parameters by group: {"embedding": …, "blocks": …, "norms": …, "head": …}, each a nested dictionary of arrays.
Params = dict[str, Any]


class Embedding(nnx.Param[Any]):
    """Input embeddings."""


class Matrix(nnx.Param[Any]):
    """A matrix of a block, (inputs, outputs): what precision and quantization apply to."""


class Gain(nnx.Param[Any]):
    """The gain of a norm."""


class Head(nnx.Param[Any]):
    """The output matrix."""


_GROUP = {"embedding": Embedding, "blocks": Matrix, "norms": Gain, "head": Head}


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation with a gain (1910.07467)."""

    def __init__(self, width: int) -> None:
        self.gain = Gain(jnp.ones(width, jnp.float32))

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x * scale * self.gain[...][None, :]


class LayerNorm(nnx.Module):
    """Normalisation to mean 0 and variance 1 with a gain (1607.06450) and without a bias, like every part here."""

    def __init__(self, width: int) -> None:
        self.gain = Gain(jnp.ones(width, jnp.float32))

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x * scale * self.gain[...][None, :]


class Attention(nnx.Module):
    """Causal self-attention; `kv` heads of keys and values serve as many groups of query heads (2305.13245).

    Rotary positions are 2104.09864; queries and keys are normalised before they are turned.
    """

    def __init__(self, spec: ModelSpec, layer: int, rngs: nnx.Rngs) -> None:
        d = spec.head_width
        self.spec, self.layer = spec, layer
        self.qkv = Matrix(_normal(rngs, spec.width, (spec.heads + 2 * spec.kv) * d))
        self.out = Matrix(_normal(rngs, spec.heads * d, spec.width, scale=(2 * spec.layers) ** -0.5))
        if spec.architecture.qk_norm:
            self.query_norm, self.key_norm = RMSNorm(d), RMSNorm(d)
        if spec.architecture.output_norms:
            self.output_norm = _norm(spec, spec.heads * d)

    def __call__(self, x: Float[Array, "n d"], arithmetic: AbstractArithmetic) -> Float[Array, "n d"]:
        q, k, v = self._asked(x, None, arithmetic)
        return self._given(_attend(q, k, v, arithmetic), arithmetic)

    def step(
        self, x: Float[Array, "b d"], past: Past, at: Int[Array, ""], arithmetic: AbstractArithmetic
    ) -> tuple[Float[Array, "b d"], Past]:
        """The same for one token of each window, at the place `at`, and the past with its keys and values."""
        q, *new = self._asked(x, at, arithmetic)
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, each, at, 2) for old, each in zip(past, new, strict=True)
        )
        rows = q.reshape(*keys.shape[:2], -1, keys.shape[3])
        scores = arithmetic.product("bhtd,bhsd->bhts", rows, keys)
        scores = jnp.where((jnp.arange(keys.shape[2]) <= at)[None, None, None], scores, -1e9)
        mixed = arithmetic.product("bhts,bhsd->bhtd", jax.nn.softmax(scores, axis=3), values)
        return self._given(mixed.reshape(q.shape), arithmetic), (keys, values)

    def _asked(
        self, x: Float[Array, "n e"], at: Int[Array, ""] | None, arithmetic: AbstractArithmetic
    ) -> tuple[Float[Array, "b h t d"], Float[Array, "b g t d"], Float[Array, "b g t d"]]:
        """Queries, keys and values of whole windows, or of one token of each at the place `at`."""
        h, g, d = self.spec.heads, self.spec.kv, self.spec.head_width
        t, parts = self.spec.context if at is None else 1, self.spec.architecture
        heads = arithmetic.linear(Place(self.layer, "qkv"), _bounded(x, parts.bound), self.qkv[...]).reshape(
            -1, t, h + 2 * g, d
        )
        q, k, v = jnp.split(heads.transpose(0, 2, 1, 3), (h, h + g), axis=1)
        if parts.qk_norm:
            q = self.query_norm(q.reshape(-1, d)).reshape(q.shape)
            k = self.key_norm(k.reshape(-1, d)).reshape(k.shape)
        if parts.positions == "rope":
            cos, sin = (_at(each, at) for each in _rotation(self.spec.context, d))
            q = _rotate(q, cos * d**-0.5, sin * d**-0.5)
            k = _rotate(k, cos, sin)
        else:
            q = q * d**-0.5
        return q, *arithmetic.cache(self.layer, k, v)

    def _given(self, mixed: Float[Array, "b h t d"], arithmetic: AbstractArithmetic) -> Float[Array, "n e"]:
        """What attention gives to the residual stream."""
        parts = self.spec.architecture
        x = mixed.transpose(0, 2, 1, 3).reshape(-1, self.spec.heads * self.spec.head_width)
        if parts.output_norms:
            x = self.output_norm(x)
        return arithmetic.linear(Place(self.layer, "out"), _bounded(x, parts.bound), self.out[...])


class Feed(nnx.Module):
    """The feed-forward layer: SwiGLU (2002.05202), or GELU by the error function (1606.08415)."""

    def __init__(self, spec: ModelSpec, layer: int, rngs: nnx.Rngs) -> None:
        self.parts, self.layer = spec.architecture, layer
        if self.parts.feed == "swiglu":
            self.gate_up = Matrix(_normal(rngs, spec.width, 2 * spec.hidden))
        else:
            self.up = Matrix(_normal(rngs, spec.width, spec.hidden))
        self.down = Matrix(_normal(rngs, spec.hidden, spec.width, scale=(2 * spec.layers) ** -0.5))
        if self.parts.output_norms:
            self.output_norm = _norm(spec, spec.hidden)

    def __call__(self, x: Float[Array, "n d"], arithmetic: AbstractArithmetic) -> Float[Array, "n d"]:
        x = _bounded(x, self.parts.bound)
        if self.parts.feed == "swiglu":
            gate, up = jnp.split(arithmetic.linear(Place(self.layer, "gate_up"), x, self.gate_up[...]), 2, axis=1)
            x = jax.nn.silu(gate) * up
        else:
            x = jax.nn.gelu(arithmetic.linear(Place(self.layer, "up"), x, self.up[...]), approximate=False)
        if self.parts.output_norms:
            x = self.output_norm(x)
        return arithmetic.linear(Place(self.layer, "down"), _bounded(x, self.parts.bound), self.down[...])


class Block(nnx.Module):
    """Attention and feed-forward, each with a norm before and a residual around."""

    def __init__(self, spec: ModelSpec, layer: int, rngs: nnx.Rngs) -> None:
        self.attention_norm = _norm(spec, spec.width)
        self.attention = Attention(spec, layer, rngs)
        self.feed_norm = _norm(spec, spec.width)
        self.feed = Feed(spec, layer, rngs)

    def __call__(self, x: Float[Array, "n d"], arithmetic: AbstractArithmetic) -> Float[Array, "n d"]:
        x = x + self.attention(self.attention_norm(x), arithmetic)
        return x + self.feed(self.feed_norm(x), arithmetic)

    def step(
        self, x: Float[Array, "b d"], past: Past, at: Int[Array, ""], arithmetic: AbstractArithmetic
    ) -> tuple[Float[Array, "b d"], Past]:
        """The same for one token of each window, at the place `at`."""
        mixed, past = self.attention.step(self.attention_norm(x), past, at, arithmetic)
        x = x + mixed
        return x + self.feed(self.feed_norm(x), arithmetic), past


class Transformer(nnx.Module):
    """Tokens of whole windows to logits."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs) -> None:
        self.spec = spec
        parts = spec.architecture
        # muP keeps the head's scale at every width and scales the logits (2203.03466, table 8)
        head = (spec.mup.base_width if spec.mup else spec.width) ** -0.5
        self.scale = head
        embedding = jax.random.normal(rngs.params(), (spec.vocab, spec.width), jnp.float32)
        self.embedding = Embedding(embedding * head if parts.tied else embedding)
        self.blocks = nnx.List([Block(spec, layer, rngs) for layer in range(spec.layers)])
        self.norm = _norm(spec, spec.width)
        if not parts.tied:
            self.head = Head(jax.random.normal(rngs.params(), (spec.width, spec.vocab), jnp.float32) * head)
        if parts.positions == "learned":
            # half the embeddings' scale, as in the code of GPT-2
            self.positions = Embedding(jax.random.normal(rngs.params(), (spec.context, spec.width), jnp.float32) * 0.5)

    def embed(self, tokens: Int[Array, "b t"]) -> Float[Array, "n d"]:
        """The residual stream before the first block; tied embeddings are raised to the scale of untied ones."""
        x = self.embedding[...][tokens.reshape(-1)]
        if self.spec.architecture.tied:
            x = x / self.scale  # 1706.03762, section 3.4
        if self.spec.architecture.positions == "learned":
            x = (x.reshape(-1, *self.positions[...].shape) + self.positions[...][None]).reshape(x.shape)
        return x

    def unembed(self, x: Float[Array, "n d"], arithmetic: AbstractArithmetic) -> Float[Array, "n v"]:
        """Logits, by the head or, where tied, by the embedding's transpose."""
        if self.spec.architecture.tied:
            z = arithmetic.product("nd,vd->nv", x, self.embedding[...])
        else:
            z = arithmetic.product("nd,dv->nv", x, self.head[...])
        return z * (self.spec.mup.base_width / self.spec.width) if self.spec.mup else z

    def __call__(self, tokens: Int[Array, "b t"], arithmetic: AbstractArithmetic, remat: bool) -> Float[Array, "b t v"]:
        x = self.embed(tokens)
        for block in self.blocks:
            step = functools.partial(block, arithmetic=arithmetic)
            x = jax.checkpoint(step)(x) if remat else step(x)
        return self.unembed(self.norm(x), arithmetic).reshape(*tokens.shape, -1)

    def step(
        self, tokens: Int[Array, " b"], past: tuple[Past, ...], at: Int[Array, ""], arithmetic: AbstractArithmetic
    ) -> tuple[Float[Array, "b v"], tuple[Past, ...]]:
        """The same for one token of each window, at the place `at`."""
        x = self.embedding[...][tokens]
        if self.spec.architecture.tied:
            x = x / self.scale
        if self.spec.architecture.positions == "learned":
            x = x + self.positions[...][at][None]
        found = []
        for block, before in zip(self.blocks, past, strict=True):
            x, after = block.step(x, before, at, arithmetic)
            found.append(after)
        return self.unembed(self.norm(x), arithmetic), tuple(found)


def init(spec: ModelSpec, key: Key[Array, ""]) -> Params:
    """Fresh float32 parameters: normal, standard deviation 1/sqrt(inputs), residual outputs scaled by 1/sqrt(2·layers).

    (Radford et al. 2019 for the residual scale.) Embeddings have standard deviation 1, tied ones that of the head. The
    same seed gives the same matrices whatever the other options are.
    """
    _, *groups = nnx.split(Transformer(spec, nnx.Rngs(params=key)), *_GROUP.values())
    return {name: nnx.to_pure_dict(state) for name, state in zip(_GROUP, groups, strict=True)}


def shapes(spec: ModelSpec) -> Params:
    """The tree of `init` with shapes and dtypes in place of arrays; nothing is computed."""
    return jax.eval_shape(functools.partial(init, spec), jax.eval_shape(jax.random.key, 0))


def matrices(params: Params) -> dict[Place, Any]:
    """The block matrices by place, in the order in which a token passes them."""
    blocks = params["blocks"]["blocks"]
    found: dict[Place, Any] = {}
    for layer in sorted(blocks):
        parts = {**blocks[layer]["attention"], **blocks[layer]["feed"]}
        found |= {Place(layer, name): parts[name] for name in MATRICES if name in parts}
    return found


def with_matrices(params: Params, given: dict[Place, Any]) -> Params:
    """The parameters with these block matrices in place of their own."""
    blocks = {
        layer: {part: {name: given[Place(layer, name)] for name in own} for part, own in parts.items()}
        for layer, parts in params["blocks"]["blocks"].items()
    }
    return {**params, "blocks": {"blocks": blocks}}


def logits(
    spec: ModelSpec,
    params: Params,
    tokens: Int[Array, "b t"],
    arithmetic: AbstractArithmetic = FLOAT32,
    remat: bool = False,
) -> Float[Array, "b t v"]:
    """The model's logits for whole windows of `spec.context` tokens, in a declared arithmetic.

    With `remat` each block is computed again in the backward pass: less memory for a third more work.
    """
    model = nnx.merge(_graph(spec), *(params[name] for name in _GROUP))
    return model(tokens, arithmetic, remat)


def following(
    spec: ModelSpec,
    params: Params,
    tokens: Int[Array, " b"],
    past: tuple[Past, ...],
    at: Int[Array, ""],
    arithmetic: AbstractArithmetic = FLOAT32,
) -> tuple[Float[Array, "b v"], tuple[Past, ...]]:
    """The logits behind one token of each window, at the place `at`, and the past with that token in it.

    They are those of `logits` but for rounding; `blank` is the past at place 0.
    """
    model = nnx.merge(_graph(spec), *(params[name] for name in _GROUP))
    return model.step(tokens, past, at, arithmetic)


def blank(spec: ModelSpec, windows: int) -> tuple[Past, ...]:
    """The past of so many windows before their first token, one pair of keys and values a layer."""
    zeros = jnp.zeros((windows, spec.kv, spec.context, spec.head_width), jnp.float32)
    return ((zeros, zeros),) * spec.layers


def losses(
    spec: ModelSpec,
    params: Params,
    windows: Int[Array, "b w"],
    arithmetic: AbstractArithmetic = FLOAT32,
    remat: bool = False,
) -> Float[Array, "b w-1"]:
    """Cross-entropy of each predicted token in nats."""
    return losses_and_normalizers(spec, params, windows, arithmetic, remat)[0]


def losses_and_normalizers(
    spec: ModelSpec,
    params: Params,
    windows: Int[Array, "b w"],
    arithmetic: AbstractArithmetic = FLOAT32,
    remat: bool = False,
) -> tuple[Float[Array, "b w-1"], Float[Array, "b w-1"]]:
    """Cross-entropy of each predicted token in nats, and the logarithm of the softmax's normaliser there."""
    z = logits(spec, params, windows[:, :-1], arithmetic, remat)
    target = jnp.take_along_axis(z, windows[:, 1:, None], axis=2)[:, :, 0]
    normalizer = jax.nn.logsumexp(z, axis=2)
    return normalizer - target, normalizer


@functools.cache
def _graph(spec: ModelSpec) -> Any:
    model = nnx.eval_shape(lambda: Transformer(spec, nnx.Rngs(params=0)))
    return nnx.split(model, *_GROUP.values())[0]


def _normal(rngs: nnx.Rngs, inputs: int, outputs: int, scale: float = 1.0) -> Float[Array, "i o"]:
    return jax.random.normal(rngs.params(), (inputs, outputs), jnp.float32) * (scale * inputs**-0.5)


def _norm(spec: ModelSpec, width: int) -> RMSNorm | LayerNorm:
    return RMSNorm(width) if spec.architecture.norm == "rms" else LayerNorm(width)


def _bounded(x: Float[Array, "n d"], bound: float | None) -> Float[Array, "n d"]:
    return x if bound is None else bound * jnp.tanh(x / bound)


def _attend(
    q: Float[Array, "b h t d"], k: Float[Array, "b g t d"], v: Float[Array, "b g t d"], arithmetic: AbstractArithmetic
) -> Float[Array, "b h t d"]:
    """What each query takes from the values up to its own place; `g` heads of keys serve `h` heads of queries."""
    (_, h, t, d), g = q.shape, k.shape[1]
    # From 128 places on, blocks of queries that see no later key save half of the t x t scores and of the time.
    n = ATTENTION_BLOCK if t % ATTENTION_BLOCK == 0 else t
    mixed = []
    for end in range(n, t + 1, n):
        # Query heads that share keys and values lie behind one another in time: one product of more rows.
        rows = q[:, :, end - n : end].reshape(-1, g, h // g * n, d)
        scores = arithmetic.product("bhtd,bhsd->bhts", rows, k[:, :, :end]).reshape(-1, h, n, end)
        scores = jnp.where(np.tri(n, end, end - n, dtype=bool)[None, None], scores, -1e9)
        # Dividing after the product with v costs d divisions per row and not t.
        weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
        sums = arithmetic.product("bhts,bhsd->bhtd", weights.reshape(-1, g, h // g * n, end), v[:, :, :end])
        mixed.append(sums.reshape(-1, h, n, d) / weights.sum(axis=-1, keepdims=True))
    return mixed[0] if len(mixed) == 1 else jnp.concatenate(mixed, axis=2)


def _rotation(t: int, d: int) -> tuple[Float[np.ndarray, "1 1 {t} {d//2}"], Float[np.ndarray, "1 1 {t} {d//2}"]]:
    angle = np.arange(t)[:, None] * 10_000.0 ** (-np.arange(0, d, 2) / d)[None, :]
    # float32 here: the table is computed once in double precision
    return np.cos(angle).astype(np.float32)[None, None], np.sin(angle).astype(np.float32)[None, None]


def _at(table: Float[np.ndarray, "1 1 t d"], at: Int[Array, ""] | None) -> Any:
    """A table of all places, or its row of one."""
    return table if at is None else jax.lax.dynamic_slice_in_dim(jnp.asarray(table), at, 1, axis=2)


def _rotate(x: Float[Array, "b h t d"], cos: np.ndarray | Array, sin: np.ndarray | Array) -> Float[Array, "b h t d"]:
    first, second = jnp.split(x, 2, axis=3)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=3)
