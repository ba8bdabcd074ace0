"""Teach: windows sampled from a small trained model, whose floor is that model's own loss."""

import functools
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from simlaw.config import Teach
from simlaw.corpora.abstract import AbstractCorpus, Data
from simlaw.corpora.fresh import impossible, known
from simlaw.corpora.lessons import ABOUT, Lessons, read_lessons
from simlaw.corpora.order import order
from simlaw.errors import SimlawError
from simlaw.report import count

#: The most held-out windows that may occur in training, as a share.
_REPEATED = 0.01


@dataclass(frozen=True, kw_only=True)
class TeachCorpus(AbstractCorpus):
    """A teacher's lessons; a student of a shorter context gets their beginnings, whose past is whole."""

    spec: Teach
    lessons: Lessons
    fingerprint: str

    @classmethod
    def read(cls, spec: Teach) -> "TeachCorpus":
        """The corpus of the lessons in the folder.

        Raises `SimlawError` where they are missing or damaged, and where run or vocabulary are not those declared.
        """
        lessons = read_lessons(Path(spec.folder).expanduser())
        there, vocab = lessons.teacher.run_id, lessons.teacher.model.vocab
        if spec.run is not None and spec.run != there:
            raise SimlawError(
                f"Teach.run is {spec.run}, and the teacher in {spec.folder} is run {there}: name that one"
            )
        if spec.vocab != vocab:
            raise SimlawError(f"Teach.vocab is {spec.vocab}, and the teacher in {spec.folder} has {vocab}: give that")
        return cls(spec=spec, lessons=lessons, fingerprint=lessons.fingerprint)

    @classmethod
    def of(cls, lessons: Lessons) -> "TeachCorpus":
        """The corpus of these lessons."""
        spec = Teach(folder=str(lessons.folder), vocab=lessons.teacher.model.vocab, run=lessons.teacher.run_id)
        return cls(spec=spec, lessons=lessons, fingerprint=lessons.fingerprint)

    def describe(self) -> str:
        """One clause for people: the teacher, how much it wrote, and the fingerprint."""
        teacher, about = self.lessons.teacher, self.lessons.about
        context = teacher.model.context
        train, held_out = (count(len(windows) * context) for windows in (self.lessons.train, self.lessons.held_out))
        average = "" if about["average"] is None else f", {about['average']}"
        return (
            f"text of a teacher, run {teacher.run_id}{average} ({type(teacher.spec.corpus).__name__}, width "
            f"{teacher.model.width}, context {context}): {train} tokens to train on and {held_out} held out, "
            f"exact floor, fingerprint {self.fingerprint}"
        )

    def listing(self) -> str:
        """What is in the folder, with hashes."""
        return (self.lessons.folder / ABOUT).read_text()

    def epoch_tokens(self, context: int) -> int:
        """Training tokens before any repeats: every window once, cut to the context."""
        return len(self._cut(self.lessons.train, context)) * context

    @property
    def resident_bytes(self) -> int:
        """The training windows."""
        return self.lessons.train.nbytes

    def shared_data(self) -> Data:
        """The training windows, one array for all programs."""
        return self._resident

    @functools.cached_property
    def _resident(self) -> Integer[Array, "n w"]:
        return jax.device_put(self.lessons.train)

    def seed_data(self, seed: int, context: int) -> Data:
        """The order in which the seed sees the training windows."""
        return order(seed, len(self._cut(self.lessons.train, context)))

    def batch(self, shared: Data, own: Data, step: Int[Array, ""], batch: int, context: int) -> Int[Array, "b w"]:
        """The windows of one step; an epoch is one pass in the seed's order, and the next repeats it."""
        place = (step * batch + jnp.arange(batch)) % own.shape[0]
        return shared[own[place], : context + 1].astype(jnp.int32)

    def held_out(self, tokens: int, context: int) -> Int[np.ndarray, "m w"]:
        """The first held-out windows, which are independent; raises `SimlawError` where many occur in training."""
        there, wanted = self._cut(self.lessons.held_out, context), tokens // context
        if not 0 < wanted <= len(there):
            raise SimlawError(
                f"the evaluation wants {tokens} tokens in windows of {context}, and the teacher wrote {len(there)} "
                "held-out windows: evaluate on fewer tokens, or `simlaw teach` more with --held-out"
            )
        repeated = self.lessons.repeated(context)
        if repeated > _REPEATED:
            raise SimlawError(
                f"{repeated:.1%} of the held-out windows of {context} tokens also occur in training, and at most "
                f"{_REPEATED:.0%} may: take a longer context, or a teacher that repeats itself less"
            )
        return there[:wanted].astype(np.int32)

    @functools.cached_property
    def entropy(self) -> float:
        """The mean entropy of the teacher's predictions over its held-out windows of whole context, nats per token."""
        return float(self.entropies(self.lessons.held_out.astype(np.int32)).mean())

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The exact Bayes loss of each token: the teacher's own."""
        return self.lessons.teacher.losses(self._checked(windows))

    def floor_nll_untold(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The same, since every window begins with the token from which the teacher sets out."""
        told = windows.copy()
        told[:, 0] = self.lessons.teacher.start
        return self.floor_nll(told)

    def entropies(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The entropy of the teacher's prediction at each place in nats: the floor's mean, with less noise."""
        return self.lessons.teacher.entropies(self._checked(windows))

    def _checked(self, windows: Int[np.ndarray, "m w"]) -> Int[np.ndarray, "m w"]:
        """The windows, which the teacher could have written."""
        start = self.lessons.teacher.start
        self._cut(windows, windows.shape[1] - 1)
        known(windows, self.vocab)
        wrong = np.argwhere(windows[:, :1] != start)
        if wrong.size:
            raise impossible(windows, wrong, f"every window of the teacher begins with {start}")
        return windows

    def _cut(self, windows: Integer[np.ndarray, "n w"], context: int) -> Integer[np.ndarray, "n c"]:
        longest = self.lessons.teacher.model.context
        if context > longest:
            raise SimlawError(
                f"windows of {context} tokens are longer than the teacher's context of {longest}, beyond which its "
                f"floor is not known: take a context of at most {longest}"
            )
        return windows[:, : context + 1]
