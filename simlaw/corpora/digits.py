"""Digits: sums and differences of two numbers in base ten, whose answers have no entropy.

A problem is drawn so: the number of digits k, uniform; 2 k digits, uniform; an operator, uniform. So the loss of a
digit of a question is ln 10, but ln 9 of the last one, since a hash of all before it says which digit is held out
(`items`); and what tells k, the operator behind j digits and not another digit, has probability 1 / (most - j + 1). A
difference is worked out as the smaller from the larger, and has a sign.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt64

from simlaw.config import Digits
from simlaw.config.problems import MARKERS
from simlaw.corpora.abstract import Data
from simlaw.corpora.fresh import known
from simlaw.corpora.items import AbstractProblems, hashes, items, mixed, parts, refuse, spread
from simlaw.declared import digest
from simlaw.errors import SimlawError

_Q, _STEP, _ANS, _EOS = (MARKERS.index(name) for name in ("<q>", "<step>", "<ans>", "<eos>"))
_EQUALS, _PLUS, _MINUS, _ZERO = range(len(MARKERS), len(MARKERS) + 4)
#: Raised by hand when the same declaration comes to mean other windows.
_FORM = 2
#: `<step> x o y o c = c' s`: two digits, what was carried, what is carried on, and the digit of the result.
_LINE = 9


@dataclass(frozen=True, kw_only=True)
class DigitsCorpus(AbstractProblems):
    """Problems of a declared source; those of `examples` are in no training window."""

    spec: Digits
    fingerprint: str

    @classmethod
    def build(cls, spec: Digits) -> "DigitsCorpus":
        """The corpus of the declared problems, the same on every machine."""
        return cls(spec=spec, fingerprint=digest(spec, "problems", _FORM))

    @property
    def apart(self) -> int:
        """What keeps the draws of problems apart, those of another seed of the source too."""
        return (0x64696769 + self.spec.seed) % 2**32

    @property
    def shortest(self) -> int:
        """The tokens of the longest problem: a window holds one whole problem at least."""
        return self.length(self.spec.most_digits)

    @property
    def axis(self) -> tuple[str, int]:
        """Digits."""
        return "digits", 8

    @property
    def answered(self) -> int:
        """The sign of equality, behind which the first digit, or the first carry, follows."""
        return self.spec.names.index("=")

    @property
    def mean_length(self) -> float:
        """The mean number of tokens of a problem."""
        return self.length(self.spec.least_digits + self.spec.most_digits) / 2 + self.length(0) / 2

    @property
    def entropy(self) -> float:
        """Nats per token that counts, of problems without an end: of their digits, and of what tells how many."""
        spec = self.spec
        nats = math.log(spec.most_digits - spec.least_digits + 1) + math.log(len(spec.operators))
        nats += (spec.least_digits + spec.most_digits - 1) * math.log(10) + math.log(9)
        return nats / (self.mean_length - 1)

    def length(self, digits: int) -> int:
        """The tokens of a problem of numbers with so many digits."""
        return 3 * digits + 5 + self.spec.scratchpad * (_LINE * digits + 1)

    def describe(self) -> str:
        """One clause for people: what it holds and its floor."""
        spec = self.spec
        return (
            f"{' '.join(spec.operators)} of numbers of {spec.least_digits} to {spec.most_digits} digits, answers "
            f"{spec.order}{', carries written out' if spec.scratchpad else ''}, {self.mean_length:.1f} tokens a "
            f"problem: entropy {self.entropy:.4f} nats per token, none of it in answers, fresh problems without end, "
            f"fingerprint {self.fingerprint}"
        )

    def split(self, held_out: bool) -> Int[np.ndarray, " 2"]:
        """All residues but one are of training; of the last digit of the second number."""
        return np.array([9, 1] if held_out else [0, 9], np.int32)

    def shared_data(self) -> Data:
        """The residues of training."""
        return {"split": jnp.asarray(self.split(False))}

    def at(self, amount: int) -> "DigitsCorpus":
        """The source of problems of exactly so many digits, with the same tokens and the same split."""
        if not 1 <= amount <= 8:
            raise SimlawError(f"problems of {amount} digits are not drawn: ask for 1 to 8")
        return DigitsCorpus.build(replace(self.spec, least_digits=amount, most_digits=amount))

    def examples(self, amount: int, count: int, seed: int, context: int | None = None) -> Int[np.ndarray, "m w"]:
        """So many held-out problems of exactly so many digits, one in each window, filled up.

        Their floor is that of `at(amount)`, which knows how many digits there are. 1 to 8, whatever training has.
        """
        return self.at(amount).alone(count, seed, context)

    def problems(self, shared: Data, key: Key[Array, ""], count: int) -> tuple[Int[Array, "l n"], Int[Array, " n"]]:
        """So many problems, one in each column, and their lengths."""
        spec, most = self.spec, self.spec.most_digits
        bits = jax.random.bits(key, (3 + 2 * most, count), jnp.uint32)
        k = spec.least_digits + parts(bits[0], most - spec.least_digits + 1)
        operator = parts(bits[1], len(spec.operators))
        # by place, the last digit first; places that a number has not are 0
        there = jnp.arange(most, dtype=jnp.int32)[:, None] < k[None]
        a, b = (jnp.where(there, parts(each, 10), 0) for each in (bits[3 : 3 + most], bits[3 + most :]))
        start, residues = shared["split"]
        minus = operator == spec.operators.index("-") if "-" in spec.operators else jnp.zeros_like(there[0])
        # of the numbers' values: zeros in front do not matter, 07 + 05 is 7 + 5
        numbers = [sum(number[place] * 10**place for place in range(one, most)) for one, number in ((0, a), (1, b))]
        rest = mixed(minus.astype(jnp.int32) + 2 * (spec.seed % 2**29))
        for number in numbers:
            rest = mixed(rest ^ mixed(number + jnp.zeros_like(k)))
        last = (rest % jnp.uint32(10)).astype(jnp.int32) + start + parts(bits[2], residues)
        b = jnp.concatenate([(last % 10)[None], b[1:]])
        return self._tokens(k, minus, a, b, jnp), self.length(0) + k * (self.length(1) - self.length(0))

    def _tokens(self, k: Any, minus: Any, a: Any, b: Any, xp: Any) -> Any:
        """The tokens of problems in columns, of digits by place; arbitrary behind their ends."""
        most, count = len(a), len(k)
        k, minus = k[None], minus[None]
        place = xp.arange(most, dtype=k.dtype)[:, None]
        powers = 10**place
        negative = minus & (xp.sum(a * powers, axis=0) < xp.sum(b * powers, axis=0))[None]
        x, y = xp.where(negative, b, a), xp.where(negative, a, b)
        # what is carried to a place is told by the numbers below it
        below, other = (xp.cumsum(number * powers, axis=0) - number * powers for number in (x, y))
        carried = xp.where(minus, below < other, below + other >= powers).astype(k.dtype)
        total = xp.where(minus, x - y - carried, x + y + carried)
        on = xp.where(total < 0, 1, total // 10)
        operator, sign = xp.where(minus, _MINUS, _PLUS), xp.where(negative, _MINUS, _PLUS)
        # before the digits of a result stands what was carried of a sum, the sign of a difference
        top = xp.where(minus, sign, _ZERO + xp.concatenate([carried, on[-1:]]))
        result = xp.where(xp.arange(most + 1)[:, None] == k, top, xp.concatenate([_ZERO + total % 10, top[-1:]]))
        said = (
            _STEP,
            _ZERO + x,
            operator,
            _ZERO + y,
            operator,
            _ZERO + carried,
            _EQUALS,
            _ZERO + on,
            _ZERO + total % 10,
        )
        lines = xp.stack([xp.broadcast_to(xp.asarray(each, k.dtype), x.shape) for each in said], axis=1)
        fixed = [xp.full_like(k, token) for token in (_Q, _EQUALS, _ANS, _EOS)]
        numbers = [_ZERO + a, _ZERO + b, result, operator]
        table = xp.concatenate([each.astype(k.dtype) for each in (*numbers, *fixed, lines.reshape(-1, count))])
        second, first = most, 2 * most
        between, q, equals, ans, eos, line = range(3 * most + 1, 3 * most + 7)

        t = xp.broadcast_to(xp.arange(self.shortest)[:, None], (self.shortest, count)).astype(k.dtype)
        worked = t - (2 * k + 3)
        answer = worked - (_LINE * k + 1) if self.spec.scratchpad else worked
        row = xp.where(answer <= k, first + (k - answer if self.spec.order == "plain" else answer), eos)
        if self.spec.scratchpad:
            row = xp.where(answer < 0, xp.where(answer == -1, ans, line + worked), row)
        for end, token in (
            (2 * k + 2, xp.full_like(t, equals)),
            (2 * k + 1, second + (2 * k + 1 - t)),
            (k + 1, xp.full_like(t, between)),
            (k, k - t),
            (0 * k, xp.full_like(t, q)),
        ):
            row = xp.where(t <= end, token, row)
        return xp.take_along_axis(table, xp.clip(row, 0, len(table) - 1), axis=0)

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The exact Bayes loss of each token in training; carries and answers have 0 exactly.

        Each choice is as likely as another to one in 2^32 / 10. An example costs what a problem of training does.
        """
        spec = self.spec
        known(windows, spec.vocab)
        tokens, at, cut = items(windows, self.shortest)
        k, minus, a, b = self._read(tokens)
        place = np.arange(tokens.shape[1])
        digit, there = tokens >= _ZERO, tokens >= 0
        # behind j digits of the first number it is over with that probability
        j = np.minimum(place - 1, spec.most_digits)
        over = np.where(j >= spec.least_digits, 1 / (spec.most_digits - j + 1.0), 0.0)
        first = there & (place >= 1) & (place <= k[:, None] + 1)
        second = there & (place > k[:, None] + 1) & (place <= 2 * k[:, None] + 1)
        with np.errstate(divide="ignore"):
            nll = np.where(digit, np.log(10) - np.log(1 - over), np.log(len(spec.operators)) - np.log(over))
        # the last digit has one residue less: which, the hash of all before it says
        residues = np.where(place == 2 * k[:, None] + 1, 9.0, 10.0)
        nll = np.where(first, nll, np.where(second, np.log(residues), 0.0))
        allowed = np.array([_PLUS if name == "+" else _MINUS for name in spec.operators])
        wrong = (first & ((~digit & ~np.isin(tokens, allowed)) | ~np.isfinite(nll))) | (second & ~digit)
        behind = there & (place > 2 * k[:, None] + 1)
        wrong |= behind & (tokens != self._tokens(k, minus, a, b, np).T)
        length = np.where(
            first.any(axis=1) & (k < _NONE), self.length(0) + k * (self.length(1) - self.length(0)), _NONE
        )
        wrong |= there & (place >= length[:, None])
        wrong = np.pad(wrong, ((0, 0), (0, 1)))
        count = there.sum(axis=1)
        # what follows a problem that is over too early is the token that cannot be there
        early = np.nonzero(~cut & (count < length) & ~wrong.any(axis=1))[0]
        wrong[early, count[early]] = True
        refuse(wrong, at, windows)
        return spread(nll, at, windows.shape)

    def canonical(self, windows: Int[np.ndarray, "m w"]) -> UInt64[np.ndarray, " n"]:
        """A hash of each whole problem of the windows, in order; zeros in front do not matter to it."""
        known(windows, self.spec.vocab)
        longest = DigitsCorpus.build(Digits(most_digits=8, scratchpad=self.spec.scratchpad)).shortest
        tokens = items(windows, longest)[0]
        _, minus, a, b = self._read(tokens[(tokens == _EOS).any(axis=1)])
        powers = 10 ** np.arange(len(a))
        return hashes(np.stack([minus.astype(np.int64), powers @ a, powers @ b], axis=1))

    def _read(self, tokens: Int[np.ndarray, "n l"]) -> tuple[Any, Any, Any, Any]:
        """How many digits, whether it is a difference, and the digits by place of both numbers, 0 where there is none.

        Where the first number is cut off, more digits than any has.
        """
        begun = np.isin(tokens, (_PLUS, _MINUS))
        k = np.where(begun.any(axis=1), np.argmax(begun, axis=1) - 1, _NONE)
        rows = np.arange(len(tokens))
        minus = tokens[rows, np.minimum(k + 1, tokens.shape[1] - 1)] == _MINUS
        numbers = []
        for end in (k, 2 * k + 1):
            place = end - np.arange(8)[:, None]
            good = (np.arange(8)[:, None] < k) & (place < tokens.shape[1])
            token = tokens[rows[None], np.clip(place, 0, tokens.shape[1] - 1)]
            numbers.append(np.where(good & (token >= _ZERO), token - _ZERO, 0))
        return k, minus, *numbers


#: The number of digits of a number that is cut off.
_NONE = 10_000
