"""Step: chains of modular arithmetic, with distractors, in shuffled order, with one known solution.

A problem is drawn so that every configuration with n steps and d distractors is as likely as every other:

1. n uniform from `least_steps` to `most_steps`; d, each of `distractors` with probability 0.7; C = n + 1 - n // 2.
2. A binary tree of n operations, uniform among Catalan(n). Its n + 1 leaves, and the 2 d operands of the distractors,
   are constants, each uniform among C. So constants are shared, or used by nobody; a step is used by one other step;
   and what a distractor computes is used by nobody.
3. A value of each constant, an operator of each of the n + d operations, and a template of each statement, uniform.
4. Names of constants and of what is computed, without replacement, from 8 and from 16; which kind a name is of can
   be seen. Statements in an order uniform among all (C + n + d)!.

The query is the root of the tree. The solution has the steps in post-order, the left operand's before the right's.
"""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt64

from simlaw.config import Step
from simlaw.config.problems import COMPUTED, CONSTANTS, MARKERS, MOST_STEPS, constants_of, trained_of
from simlaw.corpora.abstract import Data
from simlaw.corpora.items import AbstractProblems
from simlaw.corpora.stepdraw import Bits, drawn, rows_of_bits, said
from simlaw.corpora.stepfloor import canonical, floor_nll, longest
from simlaw.corpora.templates import Templates, distracted
from simlaw.corpora.trees import trees
from simlaw.declared import digest
from simlaw.errors import SimlawError

#: Raised by hand when the same declaration comes to mean other windows.
_FORM = 2


@dataclass(frozen=True, kw_only=True)
class StepCorpus(AbstractProblems):
    """Problems of a declared source; those of `examples` are in no training window."""

    spec: Step
    templates: Templates
    fingerprint: str

    @classmethod
    def build(cls, spec: Step) -> "StepCorpus":
        """The corpus of the declared problems, the same on every machine."""
        return cls(spec=spec, templates=Templates.of(spec), fingerprint=digest(spec, "problems", _FORM))

    @property
    def apart(self) -> int:
        """What keeps the draws of problems apart, those of another seed of the source too."""
        return (0x73746570 + self.spec.seed) % 2**32

    @property
    def shortest(self) -> int:
        """The tokens of the longest problem: a window holds one whole problem at least."""
        return self.templates.length(self.spec.most_steps, self.spec.distractors)

    @property
    def axis(self) -> tuple[str, int]:
        """Steps, as many as there are names for what is computed."""
        return "steps", longest(self.spec)

    @property
    def answered(self) -> int:
        """The mark before the first step."""
        return MARKERS.index("<sol>")

    @property
    def mean_length(self) -> float:
        """The mean number of tokens of a problem."""
        return sum(p * self.templates.length(n, d) for n, d, p in self._mixture)

    @property
    def entropy(self) -> float:
        """Nats per token that counts, of problems without an end: all of the questions, for solutions follow.

        E[-ln p(problem)] / E[tokens that count]; p = p(n) p(d) / (number of configurations with n and d).
        """
        spec, templates = self.spec, self.templates
        ways = (len(templates.constant), len(templates.computed))
        nats = 0.0
        for n, d, p in self._mixture:
            constants, operations = constants_of(n), n + d
            configurations = (
                math.comb(len(CONSTANTS), constants)
                * math.comb(len(COMPUTED), operations)
                * math.factorial(constants + operations)
                * math.comb(operations, d)
                * math.factorial(2 * n)
                // math.factorial(n + 1)
                * constants ** (n + 1 + 2 * d)
                * spec.modulus ** (constants - 1)
                * trained_of(spec.modulus)
                * len(spec.operators) ** operations
                * ways[0] ** constants
                * ways[1] ** operations
            )
            nats += p * (math.log(configurations) - math.log(p))
        return nats / (self.mean_length - 1)

    @property
    def _mixture(self) -> list[tuple[int, int, float]]:
        """Each number of steps and of distractors, with its probability."""
        spec = self.spec
        steps = range(spec.least_steps, spec.most_steps + 1)
        return [(n, d, float(p) / len(steps)) for n in steps for d, p in enumerate(distracted(spec.distractors)) if p]

    def describe(self) -> str:
        """One clause for people: what it holds and its floor."""
        spec = self.spec
        return (
            f"arithmetic modulo {spec.modulus} in {spec.form}: {spec.least_steps} to {spec.most_steps} steps of "
            f"{' '.join(spec.operators)}, up to {spec.distractors} distractors, {self.mean_length:.1f} tokens a "
            f"problem: entropy {self.entropy:.4f} nats per token, none of it in solutions, fresh problems without end, "
            f"fingerprint {self.fingerprint}"
        )

    def split(self, held_out: bool) -> Int[np.ndarray, " 2"]:
        """All residues but a twelfth are of training; of the first constant that the solution uses."""
        trained = trained_of(self.spec.modulus)
        return np.array([trained, self.spec.modulus - trained] if held_out else [0, trained], np.int32)

    def shared_data(self) -> Data:
        """All trees, where those of each size begin and how many they are, and thresholds of distractors."""
        spec = self.spec
        sizes = range(spec.least_steps, spec.most_steps + 1)
        count = np.array([len(trees(n)) for n in sizes])
        every = np.concatenate([np.pad(trees(n), ((0, 0), (0, spec.most_steps - n), (0, 0))) for n in sizes])
        limits = np.minimum(np.round(np.cumsum(distracted(spec.distractors))[:-1] * 2.0**32), 2**32 - 1)
        return {
            "trees": jnp.asarray(every.reshape(len(every), -1)),
            "first": jnp.asarray(np.cumsum(count) - count, jnp.int32),
            "count": jnp.asarray(count, jnp.int32),
            "limits": jnp.asarray(limits.astype(np.uint32)),
            "split": jnp.asarray(self.split(False)),
        }

    def floor_nll(self, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
        """The Bayes loss of each token, by a sum over all n and d that fit; solutions have 0 exactly.

        Of whole problems it is exact for what training draws; see `stepfloor` for where in a problem it is not.
        """
        return floor_nll(self.spec, self.templates, windows)

    def canonical(self, windows: Int[np.ndarray, "m w"]) -> UInt64[np.ndarray, " n"]:
        """A hash of each whole problem of the windows, in order: names, order and distractors do not matter to it."""
        return canonical(self.spec, self.templates, windows)

    def at(self, amount: int) -> "StepCorpus":
        """The source of problems with exactly so many steps, with the same tokens and the same split."""
        most = self.axis[1]
        if not 1 <= amount <= most:
            beside = f" beside {self.spec.distractors} distractors" if most < MOST_STEPS else ""
            raise SimlawError(f"problems of {amount} steps are not drawn{beside}: ask for 1 to {most}")
        return StepCorpus.build(replace(self.spec, least_steps=amount, most_steps=amount))

    def examples(self, amount: int, count: int, seed: int, context: int | None = None) -> Int[np.ndarray, "m w"]:
        """So many held-out problems of exactly so many steps, one in each window, filled up.

        Their floor is that of `at(amount)`, which knows how many steps there are. As many as the axis has, whatever
        training has.
        """
        return self.at(amount).alone(count, seed, context)

    def problems(self, shared: Data, key: Key[Array, ""], count: int) -> tuple[Int[Array, "l n"], Int[Array, " n"]]:
        """So many problems, one in each column, and their lengths."""
        bits = Bits(key, rows_of_bits(self.spec), count)
        return said(self.templates, self.spec, drawn(self.spec, shared, bits), bits, self.shortest)
