"""The solution of each question of `Step`, and what two problems share that are the same computation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt64

from simlaw.config.problems import COMPUTED, CONSTANTS, MARKERS, MOST_STEPS
from simlaw.corpora.items import hashes
from simlaw.corpora.stepread import Questions
from simlaw.corpora.templates import FIRST, NAME, OPERATOR, SECOND, VALUE

_SOL, _ANS, _EOS = (MARKERS.index(name) for name in ("<sol>", "<ans>", "<eos>"))


@dataclass(frozen=True)
class Solution:
    """Steps by name, in post-order, and the tokens of whole problems behind their questions."""

    order: Int[np.ndarray, "n 12"]
    steps: Int[np.ndarray, " n"]
    wanted: Int[np.ndarray, "n l"]
    """-1 where nothing can be, and wherever the question is not whole."""
    length: Int[np.ndarray, " n"]
    """How many tokens the problem has; one more than there is room for where the question is not whole."""


def solved(questions: Questions) -> Solution:
    """The solution of each question that is whole."""
    put, spec = questions.put, questions.spec
    count, width = questions.tokens.shape
    rows, whole = np.arange(count), (questions.root >= 0) & ~questions.wrong.any(axis=1)
    order, steps = _post_order(questions, whole)
    wanted = np.full((count, width + 1), -1)

    def expect(place: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"] | int, where: np.ndarray) -> None:
        there = where & (place < width)
        wanted[rows[there], place[there]] = np.broadcast_to(token, count)[there]

    expect(questions.end, _SOL, whole)
    result, value = np.zeros((count, len(COMPUTED)), np.int64), np.zeros(count, np.int64)
    for i in range(int(steps.max(initial=0))):
        live, x = whole & (i < steps), order[:, i]
        operator = questions.operator[rows, x]
        said: dict[int, np.ndarray] = {NAME: put.variables + x, OPERATOR: put.solved[operator]}
        both = []
        for side, what in enumerate((FIRST, SECOND)):
            operand = questions.operands[rows, x, side]
            leaf, inner = np.where(operand < 0, -1 - operand, 0), np.maximum(operand, 0)
            said[what] = np.where(operand < 0, put.constants + leaf, put.variables + inner)
            both.append(np.where(operand < 0, questions.values[rows, leaf], result[rows, inner]))
        y, z = both
        each = {"+": y + z, "-": y - z, "x": y * z}
        answer = np.stack([each[name] for name in spec.operators])[operator, rows] % spec.modulus
        result[rows[live], x[live]] = answer[live]
        value = np.where(live, answer, value)
        said[VALUE] = put.values + answer
        begin = questions.end + 1 + i * put.solution.size
        for place, word in enumerate(put.solution):
            # the second time operands are values
            values = {7: put.values + y, 9: put.values + z}
            expect(begin + place, values.get(place, said.get(int(word), int(word))), live)
    last = questions.end + 1 + steps * put.solution.size
    expect(last, _ANS, whole)
    expect(last + 1, put.values + value, whole)
    expect(last + 2, _EOS, whole)
    return Solution(order, steps, wanted[:, :width], np.where(whole, last + 3, width + 1))


def _post_order(questions: Questions, whole: np.ndarray) -> tuple[Int[np.ndarray, "n 12"], Int[np.ndarray, " n"]]:
    """The steps that a query needs, the left operand's before the right's, and how many they are."""
    count = len(questions.tokens)
    rows = np.arange(count)
    # backwards: the root, then all of its right operand, then all of its left one
    stack = np.zeros((count, len(COMPUTED) + 2), np.int64)
    stack[:, 0] = questions.root
    depth = whole.astype(np.int64)
    backwards, steps = np.zeros((count, MOST_STEPS), np.int64), np.zeros(count, np.int64)
    for i in range(MOST_STEPS):
        live = depth > 0
        x = np.where(live, stack[rows, np.maximum(depth - 1, 0)], 0)
        backwards[:, i] = x
        steps += live
        depth -= live
        for side in (0, 1):
            operand = questions.operands[rows, x, side]
            push = live & (operand >= 0)
            stack[rows[push], depth[push]] = operand[push]
            depth += push
    return np.take_along_axis(backwards, np.maximum(steps[:, None] - 1 - np.arange(MOST_STEPS), 0), axis=1), steps


def canonical(questions: Questions) -> UInt64[np.ndarray, " n"]:
    """A hash of each computation: operators, operands and values in the order of the solution, names left out."""
    solution = solved(questions)
    count = len(questions.tokens)
    rows, seen = np.arange(count), np.zeros(count, np.int64)
    codes = np.full((count, MOST_STEPS, 3), -1)
    first, place = np.full((count, len(CONSTANTS)), -1), np.full((count, len(COMPUTED)), -1)
    for i in range(MOST_STEPS):
        live, x = i < solution.steps, solution.order[:, i]
        place[rows[live], x[live]] = i
        codes[live, i, 0] = questions.operator[rows, x][live]
        for side in (0, 1):
            operand = questions.operands[rows, x, side]
            name = np.where(live & (operand < 0), -1 - operand, 0)
            new = live & (operand < 0) & (first[rows, name] < 0)
            first[rows[new], name[new]] = seen[new]
            seen += new
            leaf = -2 - first[rows, name] * questions.spec.modulus - questions.values[rows, name]
            codes[live, i, 1 + side] = np.where(operand < 0, leaf, place[rows, np.maximum(operand, 0)])[live]
    return hashes(codes.reshape(count, -1))
