"""Mix: windows of several corpora in exact shares, each behind the tag of its part."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from simlaw.config import Graph, Mix, Teach
from simlaw.corpora.abstract import AbstractCorpus, Data, Stratum
from simlaw.corpora.fresh import HELD_OUT, Impossible, impossible, known, whole_windows
from simlaw.corpora.order import order
from simlaw.declared import digest
from simlaw.errors import SimlawError

#: Shares of windows less than this are the rounding of a float.
_NOTHING = 1e-7


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Which part every window of a batch is of.

    Of each batch `fixed` windows are of each part. The `left` others are dealt out one by one over all batches: the
    first part takes of n of them the whole part of n times its share, the second the same of what is then left, and so
    on: after any number of them each part has had its share but for a few windows, a number known in closed form.
    """

    fixed: tuple[int, ...]
    left: int
    shares: tuple[float, ...]
    """Of those that are left, by part."""

    @classmethod
    def of(cls, shares: tuple[float, ...], batch: int) -> "Quota":
        """The quota of a batch of so many windows."""
        fixed = tuple(int(share * batch + _NOTHING) for share in shares)
        left = batch - sum(fixed)
        over = [max(0.0, share * batch - n) for share, n in zip(shares, fixed, strict=True)]
        clean = [part if part > _NOTHING else 0.0 for part in over]
        return cls(fixed=fixed, left=left, shares=tuple(part / max(sum(clean), _NOTHING) for part in clean))

    def dealt(self, count: Any, xp: Any = jnp) -> Any:
        """How many of the first `count` windows that are left each part has had, on a new first axis.

        `count` is an array of uint32, and so is what comes out; whole numbers throughout, so that every machine agrees.
        """
        rest, found = count, [xp.zeros_like(count) for _ in self.shares]
        takers = [i for i, share in enumerate(self.shares) if share > 0]
        open_ = 1.0
        for i in takers[:-1]:
            found[i] = _times(rest, round(2**32 * self.shares[i] / open_))
            rest, open_ = rest - found[i], open_ - self.shares[i]
        if takers:
            found[takers[-1]] = rest
        return xp.stack(found)

    def counts(self) -> tuple[int, ...]:
        """How many windows of each part the first batch has."""
        dealt = self.dealt(np.full(1, self.left, np.uint32), np)[:, 0]
        return tuple(n + int(more) for n, more in zip(self.fixed, dealt, strict=True))


@dataclass(frozen=True, kw_only=True)
class MixCorpus(AbstractCorpus):
    """The corpora of the parts; the windows of each come in its own order, none left out."""

    spec: Mix
    corpora: tuple[AbstractCorpus, ...]
    fingerprint: str

    @classmethod
    def build(cls, spec: Mix, opened: Callable[[Any], AbstractCorpus]) -> "MixCorpus":
        """The corpus of a mixture whose parts `opened` gives.

        Raises `SimlawError` where a part cannot be opened, or is too large to lie on a device.
        """
        corpora = []
        for tag, part in zip(spec.tags, spec.parts, strict=True):
            with of_part(tag):
                corpora.append(opened(part.source))
                if corpora[-1].streamed:
                    raise SimlawError(
                        f"{corpora[-1].resident_bytes / 1e9:.2f} GB to train on are streamed from the host, and a "
                        "mixture lies on the device: take less of it, or train on it alone"
                    )
        prints = [corpus.fingerprint for corpus in corpora]
        return cls(spec=spec, corpora=tuple(corpora), fingerprint=digest(spec, "mix", prints))

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each part."""
        return tuple(part.share for part in self.spec.parts)

    def describe(self) -> str:
        """One clause for people: the parts with their shares and tags, and whether the floor is known."""
        parts = zip(self.spec.tags, self.shares, self.corpora, strict=True)
        each = "; ".join(f"{100 * share:g} % {tag} {corpus.describe()}" for tag, share, corpus in parts)
        unknown = [tag for tag, floor in zip(self.spec.tags, self._floors, strict=True) if not floor]
        floor = f"no floor, since that of {' and '.join(unknown)} is not known" if unknown else "exact floor"
        return f"mixture, {floor}, fingerprint {self.fingerprint}: {each}"

    def listing(self) -> str:
        """What each part is made of, under its tag."""
        return "".join(f"{tag}\n{corpus.listing()}" for tag, corpus in zip(self.spec.tags, self.corpora, strict=True))

    def epoch_tokens(self, context: int) -> int | None:
        """Training tokens before any part repeats; None where no part ends."""
        found = []
        for tag, share, corpus in zip(self.spec.tags, self.shares, self.corpora, strict=True):
            with of_part(tag):
                epoch = corpus.epoch_tokens(context)
            if epoch is not None:
                found.append(int(epoch / context / share) * context)
        return min(found, default=None)

    def check_apart(self) -> None:
        """Raise `SimlawError` where the held-out part of any is in its training part too."""
        for tag, corpus in zip(self.spec.tags, self.corpora, strict=True):
            with of_part(tag):
                corpus.check_apart()

    @property
    def kept(self) -> tuple[str, ...]:
        """Those of all parts."""
        return tuple(key for corpus in self.corpora for key in corpus.kept)

    @property
    def resident_bytes(self) -> int:
        """Those of all parts."""
        return sum(corpus.resident_bytes for corpus in self.corpora)

    @property
    def host_bytes(self) -> int:
        """Those of all parts."""
        return sum(corpus.host_bytes for corpus in self.corpora)

    @property
    def entropy(self) -> float | None:
        """The mean of the parts' by their shares of windows; None where one is not known, or hangs on the context.

        A graph's first step is from an untold node, and a teacher's entropy is that of its own context.
        """
        each = [corpus.entropy for corpus in self.corpora]
        if any(
            entropy is None or isinstance(corpus.spec, Graph | Teach)
            for entropy, corpus in zip(each, self.corpora, strict=True)
        ):
            return None
        return sum(share * (entropy or 0.0) for share, entropy in zip(self.shares, each, strict=True))

    def shared_data(self) -> Data:
        """Those of each part."""
        return tuple(corpus.shared_data() for corpus in self.corpora)

    def seed_data(self, seed: int, context: int) -> Data:
        """Those of each part, under seeds that differ from part to part and from mixture to mixture."""
        found = []
        for i, (tag, corpus) in enumerate(zip(self.spec.tags, self.corpora, strict=True)):
            with of_part(tag):
                own = int(digest([self.spec.seed, i, seed]), 16) % HELD_OUT
                found.append(corpus.seed_data(own, context))
        return tuple(found)

    def batch(self, shared: Data, own: Data, step: Int[Array, ""], batch: int, context: int) -> Int[Array, "b w"]:
        """The windows of one step: those of each part in turn, and behind them what is left over."""
        quota = Quota.of(self.shares, batch)
        before = step.astype(jnp.uint32) * np.uint32(quota.left)
        dealt = quota.dealt(before + jnp.arange(quota.left + 1, dtype=jnp.uint32)).astype(jnp.int32)
        found, rest = [], jnp.zeros((quota.left, context + 1), jnp.int32)
        for i, corpus in enumerate(self.corpora):
            # the numbers of the part's windows go on without a gap, so none is left out of an epoch
            first, spare = step * quota.fixed[i] + dealt[i, 0], quota.left if quota.shares[i] else 0
            numbers = first + jnp.arange(quota.fixed[i] + spare)
            windows = self._moved(i, self._windows(corpus, shared[i], own[i], numbers, context), jnp)
            found.append(windows[: quota.fixed[i]])
            if spare:
                mine = (dealt[i, 1:] > dealt[i, :-1])[:, None]
                rest = jnp.where(mine, windows[quota.fixed[i] + dealt[i, :-1] - dealt[i, 0]], rest)
        return jnp.concatenate([*found, rest])

    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """The parts' own held-out windows by the same shares, in a fixed order without a pattern."""
        windows, found = whole_windows(tokens, context), []
        for i, count in enumerate(Quota.of(self.shares, windows).counts()):
            if count:
                with of_part(self.spec.tags[i]):
                    found.append(self._moved(i, self.corpora[i].held_out(count * context, context), np))
        return np.concatenate(found)[order(0, windows)]

    def strata(self, context: int) -> tuple[Stratum, ...]:
        """Those of the parts; where several have some, the axis says of which part."""
        each = [corpus.strata(context) for corpus in self.corpora]
        several = sum(map(bool, each)) > 1
        return tuple(
            replace(
                one,
                axis=f"{one.axis} of {self.spec.kinds[i].lower()}" if several else one.axis,
                windows=self._moved(i, one.windows, np),
            )
            for i, strata in enumerate(each)
            for one in strata
        )

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"] | None:
        """The exact Bayes loss of each token: that of its part, which the tag tells, without the token under the tag.

        None where that of any part is not known.
        """
        if not self.floor_known:
            return None
        known(windows, self.vocab)
        parts = len(self.corpora)
        wrong = np.argwhere(windows[:, :1] >= parts)
        if wrong.size:
            raise impossible(windows, wrong, f"a window begins with a tag, from 0 to {parts - 1}")
        found = np.empty((len(windows), windows.shape[1] - 1))
        for i, (tag, corpus) in enumerate(zip(self.spec.tags, self.corpora, strict=True)):
            rows = np.flatnonzero(windows[:, 0] == i)
            if not rows.size:
                continue
            at, own = self.spec.offsets[i], windows[rows] - self.spec.offsets[i]
            own[:, 0] = 0
            wrong = np.argwhere((own < 0) | (own >= corpus.vocab))
            if wrong.size:
                wrong[:, 0] = rows[wrong[:, 0]]
                raise impossible(windows, wrong, f"tokens of {tag} are from {at} to {at + corpus.vocab - 1}")
            try:
                each = corpus.floor_nll_untold(own)
            except Impossible as error:
                window, position = error.at
                why = f"{error.why} (of {tag}, whose tokens begin at {at})"
                raise impossible(windows, np.array([[rows[window], position]]), why) from error
            assert each is not None
            found[rows] = each
        return found

    @property
    def floor_known(self) -> bool:
        """Whether those of all parts are."""
        return all(self._floors)

    @property
    def _floors(self) -> list[bool]:
        """Whether each part's floor is known."""
        return [corpus.floor_known for corpus in self.corpora]

    def _windows(
        self, corpus: AbstractCorpus, shared: Data, own: Data, numbers: Int[Array, " n"], context: int
    ) -> Int[Array, "n w"]:
        """A part's windows of these numbers: a batch of one has the number of its step."""
        if not numbers.shape[0]:
            return jnp.zeros((0, context + 1), jnp.int32)
        return jax.vmap(lambda number: corpus.batch(shared, own, number, 1, context)[0])(numbers)

    def _moved(self, part: int, windows: Any, xp: Any) -> Any:
        """A part's windows in the tokens of the mixture, behind its tag."""
        tags = xp.full((windows.shape[0], 1), part, xp.int32)
        return xp.concatenate([tags, windows[:, 1:] + xp.int32(self.spec.offsets[part])], axis=1)


@contextlib.contextmanager
def of_part(tag: str) -> Iterator[None]:
    """Errors say of which part they are."""
    try:
        yield
    except SimlawError as error:
        raise SimlawError(f"the part {tag} of the mixture: {error}") from error


def _times(count: Any, share: int) -> Any:
    """The whole part of count · share / 2^32, in 32-bit numbers: products of halves, which hold."""
    half = np.uint32(0xFFFF)
    low, high = np.uint32(share & 0xFFFF), np.uint32(share >> 16)
    mine, more = count & half, count >> np.uint32(16)
    middle = more * low + ((mine * low) >> np.uint32(16))
    return more * high + (middle >> np.uint32(16)) + ((mine * high + (middle & half)) >> np.uint32(16))
