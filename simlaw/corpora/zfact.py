"""ZFact: facts that are asked about by Zipf's law, with exponents in size and data by construction (2102.04074)."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from simlaw.config import ZFact
from simlaw.corpora.abstract import Data, Stratum
from simlaw.corpora.fresh import AbstractFresh, impossible, known
from simlaw.corpora.order import hashed, order
from simlaw.declared import digest
from simlaw.errors import SimlawError

#: The most facts of an octave of ranks that are looked at.
_FACTS = 128
#: What an entity's weight is counted in, so that every later step is arithmetic of whole numbers.
_UNIT = 2.0**50


@dataclass(frozen=True, kw_only=True)
class ZFactCorpus(AbstractFresh):
    """Facts drawn by Walker's alias method: a bucket uniformly, then its own entity or its alias.

    The probabilities are what the 32-bit thresholds of the buckets make them, so floors are exact; those of relations,
    the rest of a division of 32 bits, to one in 2^32 / relations.
    """

    spec: ZFact
    keep: UInt32[np.ndarray, " k"]
    alias: Int[np.ndarray, " k"]
    values: Int[np.ndarray, "k r"]
    fingerprint: str

    @classmethod
    def build(cls, spec: ZFact) -> "ZFactCorpus":
        """The corpus of the declared facts, the same on every machine."""
        keep, alias = _aliases(_weights(spec.entities, spec.exponent))
        facts = spec.entities * spec.relations
        values = (hashed(spec.seed, facts) % np.uint64(spec.values)).astype(np.int32)
        tables = hashlib.sha256(keep.tobytes() + alias.tobytes()).hexdigest()[:16]
        return cls(
            spec=spec,
            keep=keep,
            alias=alias,
            values=values.reshape(spec.entities, spec.relations),
            fingerprint=digest(spec, "facts", tables),
        )

    @property
    def apart(self) -> int:
        """What keeps the draws of facts apart."""
        return 0x66616374

    @property
    def shortest(self) -> int:
        """The tokens of one fact."""
        return self.spec.item

    @functools.cached_property
    def probabilities(self) -> Float[np.ndarray, " k"]:
        """The probability of each entity, the commonest first: close to k^-(1 + a), and exactly what is drawn."""
        own = self.keep.astype(np.int64)
        rest = np.zeros(self.spec.entities, np.int64)
        np.add.at(rest, self.alias, 2**32 - own)
        return (own + rest) / (2.0**32 * self.spec.entities)

    @property
    def entropy(self) -> float:
        """Nats per token that counts: of the entity and the relation, since the value follows from them."""
        p = self.probabilities
        name = float(-np.sum(p[p > 0] * np.log(p[p > 0])))
        return (name + np.log(self.spec.relations)) / (self.spec.name_tokens + 2)

    def describe(self) -> str:
        """One clause for people: what it holds and its floor."""
        spec = self.spec
        return (
            f"facts: {spec.entities} entities by Zipf's law of exponent {1 + spec.exponent:g}, {spec.relations} "
            f"relations, {spec.values} values, {spec.item} tokens each: entropy {self.entropy:.4f} nats per token, "
            f"fresh tokens without end, fingerprint {self.fingerprint}"
        )

    def shared_data(self) -> Data:
        """Thresholds, aliases and values."""
        return {"keep": jnp.asarray(self.keep), "alias": jnp.asarray(self.alias), "values": jnp.asarray(self.values)}

    def draw(self, shared: Data, key: Key[Array, ""], windows: int, length: int) -> Int[Array, "b w"]:
        """Fresh facts, one behind the other from the start of each window; the last is cut off."""
        spec = self.spec
        items = -(-length // spec.item)
        bits = jax.random.bits(key, (3, windows, items), jnp.uint32)
        bucket = bits[0] >> (33 - spec.entities.bit_length())
        entity = jnp.where(bits[1] < shared["keep"][bucket], bucket.astype(jnp.int32), shared["alias"][bucket])
        relation = (bits[2] % spec.relations).astype(jnp.int32)
        return self._tokens(entity, relation, shared["values"][entity, relation]).reshape(windows, -1)[:, :length]

    def facts(self, entity: Int[np.ndarray, " n"], relation: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n i"]:
        """The tokens of these facts."""
        return np.asarray(self._tokens(entity, relation, self.values[entity, relation], np))

    def _tokens(self, entity: Any, relation: Any, value: Any, xp: Any = jnp) -> Any:
        """Marker, digits of the name with the highest first, relation and value, on a new last axis."""
        spec = self.spec
        powers = [spec.base**place for place in reversed(range(spec.name_tokens))]
        name = [1 + entity // power % spec.base for power in powers]
        first = 1 + spec.base
        parts = (xp.zeros_like(entity), *name, first + relation, first + spec.relations + value)
        return xp.stack(parts, axis=-1)

    def strata(self, context: int) -> tuple[Stratum, ...]:
        """The values of facts by octaves of their entities' ranks, from 1: which facts a model knows."""
        self._whole(context)
        spec, last = self.spec, self.spec.entities.bit_length() - 1
        found = []
        for octave in range(last):
            low, high = 2**octave, 2 ** (octave + 1) - 1 if octave < last - 1 else spec.entities
            each = (high - low + 1) * spec.relations
            drawn = order(spec.seed * last + octave, each)[:_FACTS]
            entity, relation = low - 1 + drawn // spec.relations, drawn % spec.relations
            windows, place = self._in_windows(self.facts(entity, relation), context)
            found.append(
                Stratum(axis="rank", low=low, high=high, items=each, windows=windows, looked_at=place, floor=0.0)
            )
        return tuple(found)

    def _in_windows(
        self, facts: Int[np.ndarray, "n i"], context: int
    ) -> tuple[Int[np.ndarray, "m w"], Bool[np.ndarray, "m t"]]:
        """Facts one behind the other in windows, and where their values are predicted; the rest are markers."""
        item = self.spec.item
        held = context // item
        windows = np.zeros((-(-len(facts) // held), context + 1), np.int32)
        value = np.zeros((len(windows), context), bool)
        for place in range(held):
            some = facts[place::held]
            windows[: len(some), place * item : (place + 1) * item] = some
            value[: len(some), (place + 1) * item - 2] = True
        return windows, value

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The exact Bayes loss of each token: of digits by sums over the names that begin so, of values 0."""
        spec = self.spec
        known(windows, spec.vocab)
        m, w = windows.shape
        items = -(-w // spec.item)
        # what is cut off counts as the commonest fact: it is not looked at
        there = np.arange(items * spec.item) < w
        padded = np.pad(windows, ((0, 0), (0, items * spec.item - w))).reshape(m, items, spec.item)
        there = np.broadcast_to(there.reshape(items, spec.item), padded.shape)
        names = slice(1, 1 + spec.name_tokens)
        ranges = [(0, 1), *((1, spec.base),) * spec.name_tokens, (1 + spec.base, spec.relations)]
        ranges.append((1 + spec.base + spec.relations, spec.values))
        for place, (low, count) in enumerate(ranges):
            wrong = there[..., place] & ((padded[..., place] < low) | (padded[..., place] >= low + count))
            if wrong.any():
                raise self._refused(windows, wrong, place, f"a fact's token {place} is from {low} to {low + count - 1}")
        nll = np.zeros(padded.shape)
        digits = np.where(there[..., names], padded[..., names] - 1, 0)
        prefix = np.zeros((m, items), np.int64)
        for place, sums in enumerate(self._sums):
            before, prefix = prefix, prefix * spec.base + digits[..., place]
            with np.errstate(divide="ignore"):
                nll[..., 1 + place] = np.log(self._sums_before(place)[before]) - np.log(sums[prefix])
            wrong = there[..., 1 + place] & ~np.isfinite(nll[..., 1 + place])
            if wrong.any():
                raise self._refused(windows, wrong, 1 + place, "no entity has a name that begins so")
        relation = np.where(there[..., -2], padded[..., -2] - ranges[-2][0], 0)
        nll[..., -2] = np.log(spec.relations)
        wrong = there[..., -1] & (padded[..., -1] - ranges[-1][0] != self.values[prefix, relation])
        if wrong.any():
            raise self._refused(windows, wrong, spec.item - 1, "the fact has another value")
        return nll.reshape(m, -1)[:, 1:w]

    @functools.cached_property
    def _sums(self) -> list[Float[np.ndarray, " n"]]:
        """For every number of digits the probability of each beginning of a name."""
        spec = self.spec
        whole = np.zeros(spec.base**spec.name_tokens)
        whole[: spec.entities] = self.probabilities
        return [whole.reshape(spec.base**place, -1).sum(axis=1) for place in range(1, spec.name_tokens + 1)]

    def _sums_before(self, place: int) -> Float[np.ndarray, " n"]:
        return self._sums[place - 1] if place else np.ones(1)

    def _refused(
        self, windows: Int[np.ndarray, "m w"], wrong: Bool[np.ndarray, "m n"], place: int, why: str
    ) -> SimlawError:
        at = np.argwhere(wrong)
        at[:, 1] = at[:, 1] * self.spec.item + place
        return impossible(windows, at, why)


def _weights(entities: int, exponent: float) -> Int[np.ndarray, " k"]:
    """k^-(1 + a) in whole units, at least one; halves of exponents by operations that every machine rounds alike."""
    k = np.arange(1, entities + 1, dtype=np.float64)
    halves = 2 * (1 + exponent)
    power = functools.reduce(np.multiply, [np.sqrt(k)] * (int(halves) % 2) + [k] * (int(halves) // 2), np.ones_like(k))
    if halves != int(halves):
        power = k ** (1 + exponent)
    return np.maximum(1, np.rint(_UNIT / power)).astype(np.int64)


def _aliases(weights: Int[np.ndarray, " k"]) -> tuple[UInt32[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Thresholds and aliases of buckets (Vose 1991), in whole numbers; a bucket that is full is its own alias."""
    total, count = sum(weights.tolist()), len(weights)
    room = [int(w) * count for w in weights]  # every bucket holds `total`
    alias = list(range(count))
    small = [k for k in range(count) if room[k] < total]
    large = [k for k in range(count) if room[k] >= total]
    while small and large:
        less, more = small.pop(), large[-1]
        alias[less] = more
        room[more] -= total - room[less]
        if room[more] < total:
            small.append(large.pop())
    keep = [min(2**32 - 1, (min(own, total) << 32) // total) for own in room]
    return np.array(keep, np.uint32), np.array(alias, np.int32)
