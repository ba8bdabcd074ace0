"""ZRHM: strings of a random hierarchy of rules, with exact losses by inference on the tree (2307.02129, 2406.00048)."""

import functools
import hashlib
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from simlaw.config import ZRHM
from simlaw.corpora.abstract import Data
from simlaw.corpora.fresh import AbstractFresh, impossible, known
from simlaw.corpora.order import order
from simlaw.declared import digest

#: Strings that are worked through at once, so that what is known of each node stays in a cache, and the most numbers.
_STRINGS, _NUMBERS = 512, 2**23


@dataclass(frozen=True, kw_only=True)
class Level:
    """The rules of one level: the children of a symbol by rule, and every string of children by its number.

    `symbol` is -1, and `weight` 0, where no rule gives the string; `first` is the probability of each first child.
    """

    rules: Int[np.ndarray, "v m s"]
    symbol: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    first: Float[np.ndarray, "v v"]


@dataclass(frozen=True, kw_only=True)
class ZRHMCorpus(AbstractFresh):
    """Strings that a root drawn uniformly becomes, level by level; a window is one string behind the other.

    The probabilities of rules are what 32-bit thresholds make them, so floors are exact; those of roots, the rest of a
    division of 32 bits, to one in 2^32 / symbols.
    """

    spec: ZRHM
    levels: tuple[Level, ...]
    thresholds: UInt32[np.ndarray, " r"]
    fingerprint: str

    @classmethod
    def build(cls, spec: ZRHM) -> "ZRHMCorpus":
        """The corpus of the declared grammar, the same on every machine."""
        exponent = 0.0 if spec.skew is None else 1 + spec.skew
        weight = np.arange(1, spec.rules + 1, dtype=np.float64) ** -exponent
        thresholds = np.rint(np.cumsum(weight)[:-1] / weight.sum() * 2.0**32).astype(np.uint32)
        p = _probabilities(thresholds)
        return cls(
            spec=spec,
            levels=tuple(_level(spec, level, p) for level in range(spec.levels)),
            thresholds=thresholds,
            fingerprint=digest(spec, "strings", hashlib.sha256(thresholds.tobytes()).hexdigest()[:16]),
        )

    @property
    def apart(self) -> int:
        """What keeps the draws of strings apart."""
        return 0x7A72686D

    @property
    def shortest(self) -> int:
        """The tokens of one string."""
        return self.spec.item

    @property
    def rule_entropy(self) -> float:
        """The entropy of the choice of one rule, in nats."""
        p = _probabilities(self.thresholds)
        return float(-np.sum(p * np.log(p)))

    @property
    def entropy(self) -> float:
        """Nats per symbol: the root's, and the rule's at every node that is no leaf, since derivations are unique."""
        spec = self.spec
        nodes = (spec.length - 1) // (spec.branching - 1)
        return (float(np.log(spec.symbols)) + nodes * self.rule_entropy) / spec.length

    def describe(self) -> str:
        """One clause for people: what it holds and its floor."""
        spec = self.spec
        how = "equally likely" if spec.skew is None else f"skewed by {spec.skew:g}"
        return (
            f"strings of {spec.length} out of {spec.symbols} symbols, {spec.levels} levels of {spec.rules} rules for "
            f"each symbol, {how}: entropy {self.entropy:.4f} nats per token, fresh tokens without end, fingerprint "
            f"{self.fingerprint}"
        )

    def shared_data(self) -> Data:
        """The rules of every level, and the thresholds between them."""
        rules = np.stack([level.rules for level in self.levels])
        return {"rules": jnp.asarray(rules), "thresholds": jnp.asarray(self.thresholds)}

    def draw(self, shared: Data, key: Key[Array, ""], windows: int, length: int) -> Int[Array, "b w"]:
        """Fresh strings, one behind the other from the start of each window; the last is cut off."""
        spec = self.spec
        strings = -(-length // spec.item)
        nodes = (spec.length - 1) // (spec.branching - 1)
        bits = jax.random.bits(key, (windows, strings, 1 + nodes), jnp.uint32)
        symbols, used = (bits[:, :, :1] % spec.symbols).astype(jnp.int32), 1
        for level in range(spec.levels):
            count = spec.branching**level
            drawn = bits[:, :, used : used + count, None]
            rule = (drawn >= shared["thresholds"][None, None, None]).sum(axis=3, dtype=jnp.int32)
            symbols = shared["rules"][level, symbols, rule].reshape(windows, strings, -1)
            used += count
        marked = jnp.pad(symbols + 1, ((0, 0), (0, 0), (1, 0)))
        return marked.reshape(windows, -1)[:, :length]

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The exact Bayes loss of each symbol given those of its string before it; 0 of a marker."""
        spec = self.spec
        known(windows, spec.vocab)
        m, w = windows.shape
        strings = -(-w // spec.item)
        padded = np.pad(windows, ((0, 0), (0, strings * spec.item - w)), constant_values=1)
        there = np.broadcast_to(np.arange(strings * spec.item) < w, padded.shape)
        marker = np.arange(strings * spec.item) % spec.item == 0
        wrong = there & ((padded == 0) != marker)
        if wrong.any():
            raise impossible(windows, np.argwhere(wrong), f"a <bos> begins every {spec.item} tokens, and no others")
        each = padded.reshape(-1, spec.item)[:, 1:] - 1
        seen = there.reshape(-1, spec.item)[:, 1:]
        nll = np.zeros((m * strings, spec.item))
        # a node of the last level is looked at by every string of children that begins as it does
        v, s = spec.symbols, spec.branching
        numbers = spec.length // s * max(v ** (s - 1), s * v)
        together = min(_STRINGS, max(1, _NUMBERS // numbers))
        for at in range(0, len(each), together):
            part = slice(at, at + together)
            derived = self._derived(each[part], seen[part])
            if not isinstance(derived, tuple):
                nll[part, 1:] = found = self._nll(derived, seen[part])
                without = np.argwhere(np.isinf(found))
                if not without.size:
                    continue
                derived = int(without[0, 0]), int(without[0, 1])
            string, place = derived[0] + at, derived[1]
            position = string % strings * spec.item + 1 + place
            raise impossible(windows, np.array([[string // strings, position]]), "no rule gives the symbols there")
        return nll.reshape(m, -1)[:, 1:w]

    def _derived(
        self, leaves: Int[np.ndarray, "n t"], seen: Bool[np.ndarray, "n t"]
    ) -> list[Int[np.ndarray, "n _"]] | tuple[int, int]:
        """The symbols of every level from the root down to the leaves, or the first (string, symbol) without a rule.

        Nodes that are not wholly seen are any symbol: nothing that is seen depends on them.
        """
        spec, found = self.spec, [leaves]
        for level in reversed(self.levels):
            above = level.symbol[_numbers(found[0], spec.branching, spec.symbols)]
            whole = seen.reshape(len(leaves), above.shape[1], -1)
            wrong = (above < 0) & whole.all(axis=2)
            if wrong.any():
                string, node = map(int, np.argwhere(wrong)[0])
                return string, (node + 1) * whole.shape[2] - 1
            found.insert(0, np.maximum(above, 0))
        return found

    def _nll(self, derived: list[Int[np.ndarray, "n _"]], seen: Bool[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
        """The loss of every leaf: from the root down, what is known of each node from all that lies left of it."""
        spec = self.spec
        s, v = spec.branching, spec.symbols
        n = len(derived[0])
        prior = np.full((n, 1, v), 1 / v)
        for level, below in zip(self.levels, derived[1:], strict=True):
            children = below.reshape(n, -1, s)
            told = np.empty((n, children.shape[1], s, v))
            told[:, :, 0] = prior @ level.first
            number = np.zeros(children.shape[:2], np.int64)
            for j in range(1, s):
                number = number * v + children[:, :, j - 1]
                # every string of children that begins so, by its child j and what follows it
                rest = number[..., None] * v ** (s - j) + np.arange(v ** (s - j))
                p = level.weight[rest] * np.take_along_axis(prior, np.maximum(level.symbol[rest], 0), axis=2)
                told[:, :, j] = p.reshape(*number.shape, v, -1).sum(axis=3)
            prior = told.reshape(n, -1, v)
            total = prior.sum(axis=2, keepdims=True)
            prior /= np.where(total > 0, total, 1)  # 0 behind what was cut off
        p = np.take_along_axis(prior, derived[-1][..., None], axis=2)[..., 0]
        with np.errstate(divide="ignore"):  # of a string that is cut off behind what no rule begins with
            return np.abs(np.log(np.where(seen, p, 1)))


def _level(spec: ZRHM, level: int, p: Float[np.ndarray, " m"]) -> Level:
    """The rules of one level: of all strings of symbols so many in a pseudo-random order, dealt to the symbols."""
    v, m, s = spec.symbols, spec.rules, spec.branching
    chosen = order(spec.seed * spec.levels + level, v**s)[: v * m].reshape(v, m)
    symbol, weight = np.full(v**s, -1, np.int32), np.zeros(v**s)
    symbol[chosen] = np.arange(v, dtype=np.int32)[:, None]
    weight[chosen] = p
    rules = np.stack([chosen // v ** (s - 1 - j) % v for j in range(s)], axis=2)
    first = np.zeros((v, v))
    np.add.at(first, (np.arange(v)[:, None], rules[:, :, 0]), p)
    return Level(rules=rules, symbol=symbol, weight=weight, first=first)


def _numbers(symbols: Int[np.ndarray, "n c"], s: int, v: int) -> Int[np.ndarray, "n d"]:
    """The number of each string of `s` neighbours."""
    groups = symbols.reshape(len(symbols), -1, s).astype(np.int64)
    return functools.reduce(
        lambda number, j: number * v + groups[:, :, j], range(s), np.zeros(groups.shape[:2], np.int64)
    )


def _probabilities(thresholds: UInt32[np.ndarray, " r"]) -> Float[np.ndarray, " m"]:
    """The probability of each rule, as the thresholds between 32-bit draws make it."""
    ends = np.concatenate([[0], thresholds.astype(np.int64), [2**32]])
    return np.diff(ends) / 2.0**32
