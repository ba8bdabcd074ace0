"""Problems of `Step` as a program draws them and puts them into tokens, one in each column."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from simlaw.config import Step
from simlaw.config.problems import COMPUTED, CONSTANTS, MARKERS, constants_of
from simlaw.corpora.abstract import Data
from simlaw.corpora.items import mixed, parts
from simlaw.corpora.templates import FIRST, NAME, OPERATOR, SECOND, VALUE, Templates


class Bits:
    """Random bits by the row, so that each row is used once."""

    def __init__(self, key: Key[Array, ""], rows: int, count: int) -> None:
        self._bits = jax.random.bits(key, (rows, count), jnp.uint32)
        self._used = 0

    def __call__(self, rows: int) -> Array:
        """The next rows."""
        self._used += rows
        assert self._used <= len(self._bits)
        return self._bits[self._used - rows : self._used]


def rows_of_bits(spec: Step) -> int:
    """How many random numbers a problem takes."""
    statements = constants_of(spec.most_steps) + spec.most_steps + spec.distractors
    return 4 + 3 * statements + spec.most_steps + 1 + 2 * spec.distractors + len(CONSTANTS) + len(COMPUTED)


@dataclass(frozen=True)
class Drawn:
    """Problems without names and order. Variables are numbered: constants, then steps, then distractors."""

    steps: Int[Array, " n"]
    distractors: Int[Array, " n"]
    first: Int[Array, "o n"]
    second: Int[Array, "o n"]
    operator: Int[Array, "o n"]
    values: Int[Array, "v n"]
    """Of constants and steps."""


def drawn(spec: Step, shared: Data, take: Bits) -> Drawn:
    """Problems whose first constant has one of the residues of `shared["split"]`."""
    most, extra, p = spec.most_steps, spec.distractors, spec.modulus
    pool, operations = constants_of(most), most + extra
    size = parts(take(1)[0], most - spec.least_steps + 1)
    n = size + spec.least_steps
    d = jnp.sum(take(1) >= shared["limits"][:, None], axis=0, dtype=jnp.int32) if extra else jnp.zeros_like(n)
    place = parts(take(1)[0], shared["count"][size])
    tree = shared["trees"][shared["first"][size] + place].T.astype(jnp.int32)
    leaf = parts(take(most + 1 + 2 * extra), (n + 1 - n // 2)[None])
    operator = parts(take(operations), len(spec.operators))
    free = parts(take(pool), p)
    rest = _hash(n, place, operator[:most], leaf[: most + 1], free, spec)
    start, residues = shared["split"]
    last = (rest % jnp.uint32(p)).astype(jnp.int32) + start + parts(take(1)[0], residues)
    value = jnp.where(_below(pool, len(n)) == leaf[:1], (last % p)[None], free)
    used = jnp.take_along_axis(leaf, jnp.clip(-1 - tree, 0, most), axis=0)
    operand = jnp.concatenate([jnp.where(tree < 0, used, pool + tree), leaf[most + 1 :]])
    first, second = operand[0::2], operand[1::2]
    values = _evaluated(value, first[:most], second[:most], operator[:most], spec)
    return Drawn(n, d, first, second, operator, values)


def said(
    put: Templates, spec: Step, problem: Drawn, take: Bits, longest: int
) -> tuple[Int[Array, "l n"], Int[Array, " n"]]:
    """The tokens of problems, named, ordered and put at random, and how many each has."""
    most, n, d, values = spec.most_steps, problem.steps, problem.distractors, problem.values
    pool, operations, count = constants_of(most), most + spec.distractors, len(n)
    names = _rank(take(len(CONSTANTS)), pool) + put.constants
    token = jnp.concatenate([names, _rank(take(len(COMPUTED)), operations) + put.variables])
    label = _below(pool + operations, count)
    computed = pool + jnp.where(label < pool + most, n[None], most + d[None])
    wide = (put.constant.shape[1], put.computed.shape[1])
    there = label < jnp.where(label < pool, (n + 1 - n // 2)[None], computed)
    length = jnp.where(there, jnp.where(label < pool, *wide), 0)
    order = _keys(take(pool + operations))
    begin = jnp.sum(jnp.where(order[None] < order[:, None], length[None], 0), axis=1)

    template, stride = take(pool + operations), max(wide)
    first, second = (jnp.take_along_axis(token, each, axis=0) for each in (problem.first, problem.second))
    constants = {NAME: token[:pool], VALUE: put.values + values[:pool]}
    asked = jnp.asarray(put.asked)[problem.operator]
    variables = {NAME: token[pool:], FIRST: first, OPERATOR: asked, SECOND: second}
    statements = [_put(put.constant, constants, template[:pool]), _put(put.computed, variables, template[pool:])]
    rows = [jnp.pad(each, ((0, 0), (0, stride - each.shape[1]), (0, 0))) for each in statements]
    said_first = [each.reshape(-1, count) for each in rows]
    table = jnp.concatenate([*said_first, *_tail(put, problem, token, first, second, most)])

    total = jnp.sum(length, axis=0)
    behind = _below(longest, count) - 1 - total[None]
    solution = put.query.size + 1 + n * put.solution.size
    skipped = jnp.where(behind < solution[None], 0, ((most - n) * put.solution.size)[None])
    index = jnp.where(behind < 0, _rows(begin, length, stride, longest), len(label) * stride + behind + skipped)
    index = jnp.minimum(index.at[0].set(len(table) - 1), len(table) - 1)
    return jnp.take_along_axis(table, index, axis=0), total + solution + 4


def _tail(
    put: Templates, problem: Drawn, token: Array, first: Array, second: Array, most: int
) -> list[Int[Array, "r n"]]:
    """Rows of the query, of all steps that there may be, of the answer, and of the token that a problem begins with."""
    count, pool = len(problem.steps), len(problem.values) - most
    root = (pool + problem.steps - 1)[None]

    def fixed(token: int) -> Array:
        return jnp.full((1, count), token, jnp.int32)

    asked = jnp.take_along_axis(token, root, axis=0)
    query = [asked if word == NAME else fixed(int(word)) for word in put.query]
    values = put.values + problem.values
    words = {NAME: token[pool : pool + most], VALUE: values[pool:], FIRST: first[:most], SECOND: second[:most]}
    words[OPERATOR] = jnp.asarray(put.solved)[problem.operator[:most]]
    step = [words.get(int(word), jnp.full((most, count), int(word), jnp.int32)) for word in put.solution]
    # the second time operands are values
    step[7] = jnp.take_along_axis(values, problem.first[:most], axis=0)
    step[9] = jnp.take_along_axis(values, problem.second[:most], axis=0)
    markers = {name: fixed(MARKERS.index(name)) for name in ("<q>", "<sol>", "<ans>", "<eos>")}
    answer = jnp.take_along_axis(values, root, axis=0)
    solution = jnp.stack(step, axis=1).reshape(-1, count)
    return [*query, markers["<sol>"], solution, markers["<ans>"], answer, markers["<eos>"], markers["<q>"]]


def _below(rows: int, count: int) -> Int[Array, "r n"]:
    """The number of its row, everywhere."""
    return jnp.broadcast_to(jnp.arange(rows, dtype=jnp.int32)[:, None], (rows, count))


def _keys(bits: Array) -> Array:
    """Bits that no two rows share: their last five are the number of the row."""
    return (bits & jnp.uint32(~31 & 0xFFFFFFFF)) | jnp.arange(len(bits), dtype=jnp.uint32)[:, None]


def _rank(bits: Array, rows: int) -> Int[Array, "r n"]:
    """The first rows of a permutation: how many of all keys are below each."""
    keys = _keys(bits)
    return jnp.sum(keys[None] < keys[:rows, None], axis=1, dtype=jnp.int32)


def _hash(n: Array, place: Array, operator: Array, leaf: Array, value: Array, spec: Step) -> Array:
    """A hash of the solution but for the first constant's value: leaves as when they first came, their values."""
    count = len(n)
    slots = _below(len(leaf), count)
    same = leaf[None] == leaf[:, None]
    first = jnp.min(jnp.where(same, slots[None], len(leaf)), axis=1)
    known = jnp.where(first == 0, spec.modulus, jnp.take_along_axis(value, leaf, axis=0))
    codes = [
        ((slots * 64 + first) * 1024 + known, 1),  # a problem has one leaf more than steps
        (operator + 4 * _below(len(operator), count) + 2**20, 0),
    ]
    hashes = [jnp.where(_below(len(code), count) < n[None] + more, mixed(code), 0) for code, more in codes]
    total = jnp.sum(hashes[0], axis=0, dtype=jnp.uint32) + jnp.sum(hashes[1], axis=0, dtype=jnp.uint32)
    return mixed(total ^ mixed(place * 16 + n) ^ mixed(jnp.full_like(n, spec.seed % 2**31)))


def _evaluated(value: Array, first: Array, second: Array, operator: Array, spec: Step) -> Int[Array, "r n"]:
    """The values of all constants and steps, steps in order."""
    table = value
    for i in range(len(operator)):
        # an operand beyond the steps of a problem may be a later one, and is of nothing
        at = (jnp.minimum(each[i : i + 1], len(table) - 1) for each in (first, second))
        y, z = (jnp.take_along_axis(table, each, axis=0)[0] for each in at)
        results = {"+": y + z, "-": y - z, "x": y * z}
        chosen = functools.reduce(
            lambda so_far, k: jnp.where(operator[i] == k, results[spec.operators[k]], so_far),
            range(1, len(spec.operators)),
            results[spec.operators[0]],
        )
        table = jnp.concatenate([table, (chosen % spec.modulus)[None]])
    return table


def _put(templates: Int[np.ndarray, "k w"], said: dict[int, Any], bits: Array) -> Int[Array, "s w n"]:
    """Statements by one of the templates each."""
    which = parts(bits, len(templates))
    words = []
    for column in templates.T:
        each = [said[int(word)] if word < 0 else jnp.full_like(said[NAME], int(word)) for word in column]
        words.append(
            functools.reduce(lambda so_far, k: jnp.where(which == k, each[k], so_far), range(len(each)), each[0])
        )
    return jnp.stack(words, axis=1)


def _rows(begin: Array, length: Array, stride: int, longest: int) -> Int[Array, "l n"]:
    """For each place of a problem the row of its token among statements of `stride` rows each."""
    count = begin.shape[1]
    place = _below(longest, count) - 1
    inside = (place[:, None] >= begin[None]) & (place[:, None] < (begin + length)[None])
    shift = stride * _below(len(begin), count) - begin
    return jnp.sum(jnp.where(inside, shift[None], 0), axis=1) + place
