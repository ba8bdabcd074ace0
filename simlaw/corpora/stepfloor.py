"""The loss of each token of the problems of `Step`, from the tokens alone, exact for every whole problem.

What a reader cannot see before the end is how many steps n and distractors d there are, and which statements are
distractors. Given n, d and the number i of distractors so far, the next token has a closed form, and which of the B
statements that may be one are (two constants, and nobody has used them) is uniform. So a sum over all (n, d, i) is
carried along. With w variables computed and l constants stated, c constants and s variables seen, o of these yet to
be computed, e operands of steps that are steps, and j = 2 (w - i) operands of steps in all:

- each statement of a name that has been seen has 1 / (C + n + d - l - w), all of a new constant together C - c and
  of a new variable n + d - s times that, of which n - (w - i) - o are steps and d - i distractors;
- an operand of a step is a constant with (n + 1 - j + e) / (2 n - j), uniform among C, and each step that could be
  an operand, the root of another tree, with 1 / (2 n - j);
- new names are uniform among those that have not been seen.

Training has p - k of p residues for one constant of each problem, and which they are only a hash of the whole
computation says (`items`). So -ln P of a whole problem is less by ln(p / (p - k)), about k / p nats. How much of this a
reader who knows the hash gains at which token is a sum over all that may follow; all of it is put where the first
constant has its value, ln(p - k). It is gained later, mostly where the question ends: the floor of a problem that a
window cuts off is too low by up to as much, and that of each other token is what the source without the split has.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, UInt64

from simlaw.config import Step
from simlaw.config.problems import COMPUTED, CONSTANTS, MOST_STEPS, trained_of
from simlaw.corpora.fresh import known
from simlaw.corpora.items import items, refuse, spread
from simlaw.corpora.stepread import CONSTANT, QUERY, VARIABLE, Operand, Questions, Statement
from simlaw.corpora.stepsolve import canonical as computations
from simlaw.corpora.stepsolve import solved
from simlaw.corpora.templates import Templates, distracted

#: Problems worked on at once: their weights fit into a processor's cache.
_CHUNK = 512


def floor_nll(spec: Step, put: Templates, windows: Int[np.ndarray, "m w"]) -> Float[np.ndarray, "m t"]:
    """The loss of each predicted token in nats; that of solutions and markers is 0.

    Raises `SimlawError` for tokens that the source cannot give, named by window and position.
    """
    known(windows, spec.vocab)
    tokens, at, cut = items(windows, put.length(spec.most_steps, spec.distractors))
    nll, wrong = np.zeros(tokens.shape), np.zeros((len(tokens), tokens.shape[1] + 1), bool)
    for begin in range(0, len(tokens), _CHUNK):
        some = slice(begin, begin + _CHUNK)
        questions = Questions(spec, put, tokens[some])
        costs = _Costs(questions)
        solution = solved(questions)
        behind = np.arange(tokens.shape[1]) >= np.where(questions.root >= 0, questions.end, tokens.shape[1])[:, None]
        other = behind & (tokens[some] >= 0) & (tokens[some] != solution.wanted)
        nll[some], wrong[some, :-1] = costs.nll, questions.wrong | other
        # what follows a problem that is over too early is the token that cannot be there
        there = (tokens[some] >= 0).sum(axis=1)
        early = np.nonzero(~cut[some] & (there < solution.length) & ~wrong[some].any(axis=1))[0]
        wrong[begin + early, there[early]] = True
    refuse(wrong, at, windows)
    return spread(nll, at, windows.shape)


def canonical(spec: Step, put: Templates, windows: Int[np.ndarray, "m w"]) -> UInt64[np.ndarray, " n"]:
    """A hash of each whole problem of the windows, in order: names, order and distractors do not matter to it."""
    known(windows, spec.vocab)
    most = longest(spec)
    tokens, _, _ = items(windows, put.length(most, spec.distractors))
    whole = (tokens == spec.names.index("<eos>")).any(axis=1)
    return computations(Questions(replace(spec, least_steps=1, most_steps=most), put, tokens[whole]))


def longest(spec: Step) -> int:
    """The most steps of a problem: with the distractors, as many as there are names for what is computed."""
    return min(MOST_STEPS, len(COMPUTED) - spec.distractors)


class _Costs:
    """What each token of questions costs, by weights of every (n, d, i)."""

    def __init__(self, questions: Questions) -> None:
        spec, put = questions.spec, questions.put
        self.questions = questions
        self.nll = np.zeros(questions.tokens.shape)
        n = np.arange(spec.least_steps, spec.most_steps + 1)
        extra = np.arange(spec.distractors + 1)
        self._n, self._d, self._i = n[:, None] * 1.0, extra * 1.0, extra * 1.0
        self._pool = (n + 1 - n // 2) * 1.0
        self._ways = np.log([len(put.constant), len(put.computed), 1])
        weight = np.zeros((len(self.nll), n.size, extra.size, extra.size))
        weight[..., 0] = distracted(spec.distractors) / n.size
        for statement in questions.statements:
            weight = self._read(weight, statement)

    def _read(self, weight: Float[np.ndarray, "p n d i"], line: Statement) -> Float[np.ndarray, "p n d i"]:
        """The weights behind a statement."""
        kind, size = line.kind, len(line.kind)
        live = (kind >= 0) & ~self.questions.wrong.any(axis=1)
        said, written = _column(line.said), _column(line.written)
        left = (self._pool[:, None] + self._n + self._d)[None] - (said + written)[:, :, None]
        each = np.divide(1.0, left, out=np.zeros_like(left), where=left > 0)
        each = np.where(_wide(kind == QUERY), left == 0, each)
        first = np.zeros(size)
        if self.questions.put.query[0] >= 0:  # a word that tells what the statement is about
            constants = np.maximum(self._pool - said, 0)[:, :, None] * each
            of_kind = np.where(
                _wide(kind == CONSTANT), constants, np.where(_wide(kind == QUERY), each, (left > 0) - constants)
            )
            first = np.log(self._sum(weight.sum(axis=3) * of_kind, line.begin, live))
            self._put(line.begin, self._ways[kind] - first, live)

        # the name: `steps` has n and i, `extra` a share of d - i
        new, open_ = _column(line.new), _column(line.variables) - written
        names_c, names_v = (np.maximum(m - _column(seen), 1) for m, seen in _seen(line))
        constants = np.where(new, (self._pool - _column(line.constants)) / names_c, 1)
        steps = np.where(
            new[..., None], (self._n - written[..., None] + self._i - open_[..., None]) / names_v[..., None], 1
        )
        asked = _not_extra(line.maybe, line.candidates, self._i)[:, None]
        steps = np.where(_wide(kind == CONSTANT), constants[..., None], np.where(_wide(kind == QUERY), asked, steps))
        share = np.where(line.new & (kind == VARIABLE), 1 / names_v[:, 0], 0)
        weight = weight * each[..., None]
        of_extra = weight * (share[:, None, None] * np.maximum(self._d[:, None] - self._i, 0))[:, None]
        of_steps = weight * np.maximum(steps, 0)[:, :, None]
        steps, extra = of_steps.sum(axis=2), of_extra.sum(axis=2)
        before = self._sum(steps + extra, line.at, live & line.named)
        self._put(line.at, first - np.log(before), live & line.named)
        modulus = self.questions.spec.modulus
        values = np.log(np.where(line.said == 0, trained_of(modulus), modulus))
        self._put(line.value, values, live & (line.value >= 0))
        self._put(line.operator, np.full(size, np.log(len(self.questions.put.asked))), live & (line.operator >= 0))

        start = steps, extra
        for side, operand in enumerate(line.operands):
            there = live & (operand.leaf | operand.inner)
            of_step, of_other = self._operand(operand, 2 * (written[..., None] - self._i) + side, written)
            steps = np.where(_wide(there), steps * of_step, steps)
            extra = np.where(_wide(there), extra * of_other[..., None], extra)
            after = self._sum(steps + extra, operand.at, there)
            self._put(operand.at, np.log(before) - np.log(after), there)
            before = np.where(there, after, before)
        factors = [
            np.divide(b, a * before[:, None, None], out=np.zeros_like(a), where=a > 0)
            for a, b in zip(start, (steps, extra), strict=True)
        ]
        of_steps *= factors[0][:, :, None]
        of_steps[..., 1:] += (of_extra * factors[1][:, :, None])[..., :-1]  # a distractor is one more of them
        return of_steps

    def _operand(
        self, operand: Operand, operands: Float[np.ndarray, "p 1 i"], written: Int[np.ndarray, "p 1"]
    ) -> tuple[Float[np.ndarray, "p n i"], Float[np.ndarray, "p n"]]:
        """The probability of an operand of a step, and of a distractor; `operands` is j, those of steps before it."""
        left = 2 * self._n - operands
        share = np.divide(1.0, left, out=np.zeros_like(left), where=left > 0)
        new = _column(operand.new)
        names_c, names_v = (np.maximum(m - _column(seen), 1) for m, seen in _seen(operand))
        which = np.where(new, np.maximum(self._pool - _column(operand.constants), 0) / names_c, 1) / self._pool
        leaf = which[..., None] * np.maximum(self._n + 1 - operands + _wide(operand.edges), 0)
        # this step is written, and so is no operand of its own
        unseen = np.maximum(self._n - (written[..., None] - self._i) - 1 - _wide(operand.open), 0) / names_v[..., None]
        seen = _not_extra(operand.maybe, operand.candidates, self._i)[:, None]
        inner = np.where(new[..., None], unseen, np.maximum(seen, 0))
        is_leaf = _column(operand.leaf)
        return share * np.where(is_leaf[..., None], leaf, inner), np.where(is_leaf, which, 0)

    def _sum(
        self, weight: Float[np.ndarray, "p n k"], at: Int[np.ndarray, " p"], live: np.ndarray
    ) -> Float[np.ndarray, " p"]:
        """The sum of the weights, 1 where not live; marks live places where it is 0."""
        total = weight.sum(axis=(1, 2))
        none = live & (total <= 0)
        self.questions.wrong[np.nonzero(none)[0], at[none]] = True
        return np.where(live & (total > 0), total, 1)

    def _put(self, at: Int[np.ndarray, " p"], cost: Float[np.ndarray, " p"], live: np.ndarray) -> None:
        self.nll[np.nonzero(live)[0], at[live]] = cost[live]


def _seen(at: Statement | Operand) -> tuple[tuple[int, np.ndarray], tuple[int, np.ndarray]]:
    """How many names there are of each kind, and how many were seen."""
    return (len(CONSTANTS), at.constants), (len(COMPUTED), at.variables)


def _not_extra(maybe: np.ndarray, candidates: np.ndarray, i: np.ndarray) -> Float[np.ndarray, "p i"]:
    """The probability that a candidate is none of the i distractors among them; 1 for what is no candidate."""
    return np.where(_column(maybe), 1 - i / np.maximum(_column(candidates), 1), 1.0)


def _column(each: np.ndarray) -> np.ndarray:
    return each[:, None]


def _wide(each: np.ndarray) -> np.ndarray:
    return each[:, None, None]
