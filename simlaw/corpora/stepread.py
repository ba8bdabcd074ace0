"""Questions of `Step` read statement by statement, all problems at once, from their tokens alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from simlaw.config import Step
from simlaw.config.problems import COMPUTED, CONSTANTS, constants_of
from simlaw.corpora.templates import FIRST, NAME, OPERATOR, SECOND, VALUE, Templates

#: What a statement is about.
CONSTANT, VARIABLE, QUERY = range(3)


@dataclass(frozen=True)
class Operand:
    """An operand of the statement of each problem, and what could be seen before it."""

    at: Int[np.ndarray, " n"]
    leaf: Bool[np.ndarray, " n"]
    """Whether it is a constant."""
    inner: Bool[np.ndarray, " n"]
    """Whether it is computed."""
    new: Bool[np.ndarray, " n"]
    """Whether its name is."""
    constants: Int[np.ndarray, " n"]
    variables: Int[np.ndarray, " n"]
    """Names seen of both kinds."""
    open: Int[np.ndarray, " n"]
    """How many variables were operands and are yet to be computed."""
    edges: Int[np.ndarray, " n"]
    """How many operands were computed ones."""
    maybe: Bool[np.ndarray, " n"]
    """Whether it is one that may have been a distractor."""
    candidates: Int[np.ndarray, " n"]
    """How many may be."""


@dataclass(frozen=True)
class Statement:
    """One statement of each problem (`kind` is -1 where it has none), and what could be seen before it."""

    kind: Int[np.ndarray, " n"]
    begin: Int[np.ndarray, " n"]
    at: Int[np.ndarray, " n"]
    """The place of its name."""
    named: Bool[np.ndarray, " n"]
    """Whether the name is there, and not cut off."""
    new: Bool[np.ndarray, " n"]
    maybe: Bool[np.ndarray, " n"]
    candidates: Int[np.ndarray, " n"]
    constants: Int[np.ndarray, " n"]
    variables: Int[np.ndarray, " n"]
    said: Int[np.ndarray, " n"]
    """Constants stated so far."""
    written: Int[np.ndarray, " n"]
    """Variables computed so far."""
    value: Int[np.ndarray, " n"]
    """The place of the value, -1 where there is none."""
    operator: Int[np.ndarray, " n"]
    """The place of the operator, -1 where there is none."""
    operands: tuple[Operand, Operand]


class Questions:
    """What problems say: operands by name (a constant is -1 minus its own), operators, values, what is asked for."""

    def __init__(self, spec: Step, put: Templates, tokens: Int[np.ndarray, "n l"]) -> None:
        count = len(tokens)
        self.spec, self.put, self.tokens = spec, put, tokens
        self.wrong = np.zeros(tokens.shape, bool)
        self.operands = np.zeros((count, len(COMPUTED), 2), np.int64)
        self.operator = np.zeros((count, len(COMPUTED)), np.int64)
        self.values = np.zeros((count, len(CONSTANTS)), np.int64)
        #: the variable that is asked for, -1 where the question is not whole; how many tokens a whole one has
        self.root = np.full(count, -1)
        self.end = np.zeros(count, np.int64)
        self._rows = np.arange(count)
        self._c_seen, self._c_done = np.zeros((2, count, len(CONSTANTS)), bool)
        self._v_seen, self._v_done, self._used, self._maybe = np.zeros((4, count, len(COMPUTED)), bool)
        self._tree = np.broadcast_to(np.arange(len(COMPUTED)), self._v_seen.shape).copy()
        self._edges = np.zeros(count, np.int64)
        self._open = np.zeros(count, np.int64)
        self._next = np.ones(count, np.int64)
        self._live = np.ones(count, bool)
        most = constants_of(spec.most_steps) + spec.most_steps + spec.distractors + 1
        self.statements: list[Statement] = []
        while len(self.statements) < most and self._live.any():
            self.statements.append(self._statement())

    def _statement(self) -> Statement:
        put, rows, here = self.put, self._rows, self._next
        kind, template = self._kind()
        is_c, is_v, is_q = (kind == k for k in (CONSTANT, VARIABLE, QUERY))
        at = np.full(len(rows), int(np.argmax(put.query == NAME)))
        at = here + np.select(
            [is_c, is_v], [_place(put.constant, NAME, template), _place(put.computed, NAME, template)], at
        )
        good_c, c = self._name(at, is_c, put.constants, len(CONSTANTS))
        good_v, v = self._name(at, is_v | is_q, put.variables, len(COMPUTED))
        twice = (good_c & self._c_done[rows, c]) | (good_v & is_v & self._v_done[rows, v])
        # what is asked for is computed, and nobody's operand
        self._mark(twice | (good_v & is_q & ~(self._v_done & ~self._used)[rows, v]), at)
        named = good_c | good_v
        before = {
            "new": np.where(is_c, ~self._c_seen[rows, c], ~self._v_seen[rows, v]),
            "maybe": self._maybe[rows, v] & good_v,
            "candidates": self._maybe.sum(axis=1),
            "constants": self._c_seen.sum(axis=1),
            "variables": self._v_seen.sum(axis=1),
            "said": self._c_done.sum(axis=1),
            "written": self._v_done.sum(axis=1),
        }
        value_at = here + _place(put.constant, VALUE, template)
        has_value, value = self._name(value_at, is_c, put.values, self.spec.modulus)
        self.values[rows[has_value & good_c], c[has_value & good_c]] = value[has_value & good_c]
        self._c_seen[rows[good_c], c[good_c]] = self._c_done[rows[good_c], c[good_c]] = True

        computed = is_v & good_v
        self._open -= computed & self._v_seen[rows, v]
        self._v_seen[rows[computed], v[computed]] = True
        first, second = (
            self._operand(side, here + _place(put.computed, what, template), computed, v)
            for side, what in enumerate((FIRST, SECOND))
        )
        operator_at = here + _place(put.computed, OPERATOR, template)
        token, there = self._token(operator_at, computed)
        same = token[:, None] == put.asked
        self._mark(there & ~same.any(axis=1), operator_at)
        self.operator[rows[there], v[there]] = np.argmax(same, axis=1)[there]
        self._v_done[rows[computed], v[computed]] = True
        candidate = computed & first.leaf & second.leaf & ~self._used[rows, v]
        self._maybe[rows[candidate], v[candidate]] = True

        for live, words in ((is_c, put.constant), (is_v, put.computed), (is_q, put.query[None])):
            self._words(words[np.where(live, template, 0)], live)
        whole = is_q & good_v & (self._next < self.tokens.shape[1])
        self.root[whole], self.end[whole] = v[whole], self._next[whole]
        self._live &= (kind >= 0) & ~is_q & ~self.wrong.any(axis=1)
        return Statement(
            kind=kind,
            begin=here,
            at=at,
            named=named,
            value=np.where(has_value, value_at, -1),
            operator=np.where(there, operator_at, -1),
            operands=(first, second),
            **before,
        )

    def _operand(
        self, side: int, at: Int[np.ndarray, " n"], live: Bool[np.ndarray, " n"], v: Int[np.ndarray, " n"]
    ) -> Operand:
        put, rows = self.put, self._rows
        token, there = self._token(at, live)
        leaf = there & (token >= put.constants) & (token < put.variables)
        inner = there & (token >= put.variables) & (token < put.values)
        c, u = np.where(leaf, token - put.constants, 0), np.where(inner, token - put.variables, 0)
        # a step is used once, and never by what it needs itself
        taken = inner & (self._used[rows, u] | (self._tree[rows, u] == self._tree[rows, v]))
        self._mark((there & ~leaf & ~inner) | taken, at)
        operand = Operand(
            at=at,
            leaf=leaf,
            inner=inner,
            new=np.where(leaf, ~self._c_seen[rows, c], ~self._v_seen[rows, u]),
            constants=self._c_seen.sum(axis=1),
            variables=self._v_seen.sum(axis=1),
            open=self._open.copy(),
            edges=self._edges.copy(),
            maybe=inner & self._maybe[rows, u],
            candidates=self._maybe.sum(axis=1),
        )
        known = leaf | inner
        self.operands[rows[known], v[known], side] = np.where(leaf, -1 - c, u)[known]
        self._c_seen[rows[leaf], c[leaf]] = True
        self._open += inner & ~self._v_seen[rows, u]
        self._v_seen[rows[inner], u[inner]] = self._used[rows[inner], u[inner]] = True
        self._maybe[rows[inner], u[inner]] = False
        self._edges += inner
        joined = inner[:, None] & (self._tree == self._tree[rows, u][:, None])
        self._tree = np.where(joined, self._tree[rows, v][:, None], self._tree)
        return operand

    def _kind(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """What each next statement is, -1 for nothing, and by which template."""
        put = self.put
        token, there = self._token(self._next, self._live)
        kind, template = np.full(len(token), -1), np.zeros(len(token), np.int64)
        if put.query[0] == NAME:
            computed = (token >= put.variables) & (token < put.values)
            kind[(token >= put.constants) & (token < put.variables)] = CONSTANT
            done = self._v_done[self._rows, np.where(computed, token - put.variables, 0)]
            kind[computed] = np.where(done, QUERY, VARIABLE)[computed]
        else:
            for number, rows in enumerate((put.constant, put.computed, put.query[None])):
                for which, row in enumerate(rows):
                    kind[token == row[0]] = number
                    template[token == row[0]] = which
        kind[~there] = -1
        self._mark(there & (kind < 0), self._next)
        return kind, template

    def _words(self, words: Int[np.ndarray, "n w"], live: Bool[np.ndarray, " n"]) -> None:
        """Marks words that are not those of the templates, and goes on behind them."""
        for place, word in enumerate(words.T):
            token, there = self._token(self._next + place, live)
            self._mark(there & (word >= 0) & (token != word), self._next + place)
        self._next = self._next + live * words.shape[1]

    def _token(
        self, place: Int[np.ndarray, " n"], live: Bool[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """The token at that place of each problem, and whether there is one."""
        width = self.tokens.shape[1]
        token = self.tokens[self._rows, np.minimum(place, width - 1)]
        there = live & (place < width) & (token >= 0)
        return np.where(there, token, -1), there

    def _name(
        self, place: Int[np.ndarray, " n"], live: Bool[np.ndarray, " n"], first: int, count: int
    ) -> tuple[Bool[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Whether there is one of these names, and its number among them (0 elsewhere); marks what is none."""
        token, there = self._token(place, live)
        good = there & (token >= first) & (token < first + count)
        self._mark(there & ~good, place)
        return good, np.where(good, token - first, 0)

    def _mark(self, wrong: Bool[np.ndarray, " n"], place: Int[np.ndarray, " n"]) -> None:
        self.wrong[self._rows[wrong], place[wrong]] = True


def _place(templates: Int[np.ndarray, "k w"], what: int, template: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Where in each template that stands; anything for the number of a template that another kind of statement has."""
    return np.argmax(templates == what, axis=1)[np.minimum(template, len(templates) - 1)]
