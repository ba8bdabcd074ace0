"""Digits: answers by Python's own arithmetic, losses by an enumeration of all problems, held-out problems apart."""

import functools
import itertools
import math
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import Digits
from simlaw.corpora import DigitsCorpus, disjoint, open_corpus
from simlaw.counted import counted
from simlaw.errors import SimlawError

FORMS = [{}, {"order": "reversed"}, {"scratchpad": True}, {"order": "reversed", "scratchpad": True}]


@functools.cache
def digits(**fields):
    return DigitsCorpus.build(Digits(**fields))


@functools.cache
def made_by(spec):
    return jax.jit(DigitsCorpus.build(spec).batch, static_argnums=(3, 4))


def batch(corpus, seed, at, windows, context):
    """A training batch, made by one compiled program as in training."""
    own = corpus.seed_data(seed, context)
    return np.asarray(made_by(corpus.spec)(corpus.shared_data(), own, jnp.int32(at), windows, context))


def texts(corpus, windows):
    """The whole problems of windows, as lists of names."""
    for window in windows:
        words = [corpus.spec.names[token] for token in window if token != 1]
        starts = [i for i, word in enumerate(words) if word == "<q>"] + [len(words)]
        yield from (words[a:b] for a, b in itertools.pairwise(starts) if words[b - 1] == "<eos>")


def written(a, operator, b, k, order, scratchpad):
    """The whole problem in words, by arithmetic of whole numbers."""
    result = a + b if operator == "+" else a - b
    answer = list(str(abs(result)).zfill(k + (operator == "+")))
    if operator == "-":
        answer = ["-" if result < 0 else "+", *answer]
    lines = []
    x, y = (b, a) if operator == "-" and a < b else (a, b)
    for place in range(k):
        below, one = 10**place, 10 ** (place + 1)
        p, q = x // below % 10, y // below % 10
        if operator == "+":
            carry, on = x % below + y % below >= below, x % one + y % one >= one
        else:
            carry, on = x % below < y % below, x % one < y % one
        digit = abs(result) // below % 10
        lines += ["<step>", str(p), operator, str(q), operator, str(int(carry)), "=", str(int(on)), str(digit)]
    lines = [*lines, "<ans>"] if scratchpad else []
    answer = answer[::-1] if order == "reversed" else answer
    return ["<q>", *str(a).zfill(k), operator, *str(b).zfill(k), "=", *lines, *answer, "<eos>"]


@pytest.mark.parametrize("form", FORMS)
def test_answers_and_carries_are_right(form):
    corpus = digits(most_digits=4, **form)
    found = list(texts(corpus, batch(corpus, 2, 3, 400, 150)))
    assert len(found) > 800
    lengths = defaultdict(set)
    for problem in found:
        question = problem[1 : problem.index("=")]
        at = next(i for i, word in enumerate(question) if word in "+-")
        a, b = (int("".join(part)) for part in (question[:at], question[at + 1 :]))
        assert problem == written(a, question[at], b, at, corpus.spec.order, corpus.spec.scratchpad)
        lengths[at].add(len(problem))
    assert lengths == {k: {corpus.length(k)} for k in range(1, 5)}


def mixed(x):
    """lowbias32, in whole numbers."""
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def apart(a, operator, b):
    """Whether the problem is held out: its last digit is the one that a hash of all the rest says."""
    rest = mixed(mixed(mixed(operator == "-") ^ a) ^ (b - b % 10))
    return (b - rest) % 10 == 9


@pytest.mark.parametrize("form", FORMS[1:3])
def test_losses_are_those_of_an_enumeration_of_all_problems_of_training(form):
    corpus = digits(most_digits=2, **form)
    prefix, total = defaultdict(float), []
    for k in (1, 2):
        p = 1 / 2 / 2 / 100**k / 0.9
        for a, operator, b in itertools.product(range(10**k), "+-", range(10**k)):
            if apart(a, operator, b):
                continue
            problem = written(a, operator, b, k, corpus.spec.order, corpus.spec.scratchpad)
            problem = problem if a % 7 == 3 else problem[: problem.index("=") + 1]  # solutions of a seventh are enough
            total.append(p)
            for end in range(len(problem) + 1):
                prefix[tuple(problem[:end])] += p
    assert math.fsum(total) == pytest.approx(1)
    windows = corpus.held_out(2000 * corpus.shortest, corpus.shortest)
    checked = 0
    for window, costs in zip(windows, corpus.floor_nll(windows), strict=True):
        words = tuple(corpus.spec.names[token] for token in window)
        words = words[: words.index("<eos>") + 1]
        for end, cost in enumerate(costs[: len(words) - 1], start=1):
            if words[: end + 1] in prefix:
                assert cost == pytest.approx(-math.log(prefix[words[: end + 1]] / prefix[words[:end]]), abs=1e-9)
                checked += 1
            if "=" in words[: end + 1]:
                assert cost == 0
    assert checked > 10_000


@pytest.mark.parametrize("form", FORMS[2:3])
def test_the_entropy_is_what_problems_cost_on_the_average(form):
    corpus = digits(least_digits=2, most_digits=5, **form)
    windows = corpus.alone(2000, 1)
    cost = corpus.floor_nll(windows).sum(axis=1)
    tokens = counted(windows, corpus.spec.left_out).sum(axis=1)
    # all problems with as many digits are as likely
    k = (tokens + 1 - corpus.length(0)) // (corpus.length(1) - corpus.length(0))
    assert np.allclose(cost, math.log(4) + math.log(2) + (2 * k - 1) * math.log(10) + math.log(9), rtol=1e-12)
    error = (cost - corpus.entropy * tokens).std() / math.sqrt(len(cost)) / tokens.mean()
    assert abs(cost.sum() / tokens.sum() - corpus.entropy) < 4 * error


def test_a_loss_is_measured_on_what_training_draws_and_no_example_is_trained_on():
    corpus = digits(most_digits=2)
    training = np.concatenate([corpus.canonical(batch(corpus, seed, 0, 1000, 100)) for seed in range(3)])
    measured = corpus.canonical(corpus.held_out(100 * 1000, 100))
    held = [corpus.examples(1, 500, 3), corpus.examples(2, 500, 3)]
    held = np.concatenate([corpus.canonical(windows) for windows in held])
    disjoint(training, held)
    disjoint(measured, held)
    assert np.isin(measured, training).mean() > 0.3
    # all 18,180 different ones but a tenth are drawn at last
    assert len(np.unique(training)) > 0.5 * 0.9 * 18_180 * (1 - math.exp(-1))
    assert len(np.unique(np.concatenate([training, held]))) <= 20_000
    with pytest.raises(
        SimlawError, match="2 of 3 problems of the evaluation are in training too, the first at place 1"
    ):
        disjoint(training, np.array([held[0], *training[:2]]))


def test_zeros_in_front_make_no_other_problem():
    corpus = digits()
    problems = [written(7, "+", 5, 1, "plain", False), written(7, "+", 5, 3, "plain", False)]
    problems += [written(5, "+", 7, 1, "plain", False), written(7, "-", 5, 1, "plain", False)]
    hashes = [corpus.canonical(np.array([[corpus.spec.names.index(w) for w in p]], np.int32))[0] for p in problems]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_batches_are_a_function_of_seed_and_step_and_windows_may_be_cut_off():
    corpus = digits(most_digits=4)
    windows = batch(corpus, 2, 3, 400, 150)
    assert np.array_equal(batch(corpus, 2, 3, 400, 150), windows)
    assert not np.array_equal(batch(corpus, 2, 4, 400, 150), windows)
    assert not np.array_equal(batch(corpus, 1, 3, 400, 150), windows)
    assert (windows[:, 0] == 0).all()
    assert (windows == 1).mean() < 0.01
    nll = corpus.floor_nll(windows)
    for cut in (100, 20, 9, 3, 2):
        assert np.array_equal(corpus.floor_nll(windows[:, :cut]), nll[:, : cut - 1])
    assert open_corpus(corpus.spec).fingerprint == corpus.fingerprint


def test_examples_have_exactly_so_many_digits_beyond_training_too():
    corpus = digits(most_digits=3)
    windows = corpus.examples(7, 50, 1, 40)
    assert windows.shape == (50, 41)
    assert {len(problem) for problem in texts(corpus, windows)} == {corpus.length(7)}
    assert np.allclose(corpus.at(7).floor_nll(windows).sum(axis=1), math.log(2) + 13 * math.log(10) + math.log(9))


def alone_sums():
    words = written(12, "-", 34, 2, "plain", False)
    return np.array([[digits().spec.names.index(word) for word in words]], np.int32)


def spoilt(position, word):
    corpus = digits()
    words = written(12, "+", 34, 2, "plain", False) + written(5, "-", 7, 1, "plain", False)
    words[position] = word
    return corpus.floor_nll(np.array([[corpus.spec.names.index(word) for word in words]], np.int32))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Digits(least_digits=3, most_digits=2), "at least 3 digits and at most 2: lower least_digits or raise"),
        (lambda: Digits(operators=()), r"Digits.operators is \(\): give at least one"),
        (lambda: Digits(most_digits=9), "Digits.most_digits is 9: it must be from 1 to 8"),
        (lambda: digits().seed_data(0, 22), "context of 22 is shorter than one item of Digits, which has 23 tokens"),
        (lambda: digits().examples(9, 1, 0), "problems of 9 digits are not drawn: ask for 1 to 8"),
        (
            lambda: digits(operators=("+",)).floor_nll(alone_sums()),
            "is none that this source gives there",
        ),
        (lambda: digits().floor_nll(np.array([[0, 9, 19]], np.int32)), "token 19 at position 2 of window 0 is not of"),
        (lambda: spoilt(0, "1"), "position 0 of window 0 .* every window begins with <q>"),
        (lambda: spoilt(1, "+"), "position 1 of window 0 .* cannot go on so"),
        (lambda: spoilt(4, "="), "position 4 of window 0 .* cannot go on so"),
        (lambda: spoilt(8, "5"), "position 8 of window 0 is none .* problem that begins at position 0 cannot go on so"),
        (lambda: spoilt(10, "<q>"), "position 10 of window 0"),
        (lambda: spoilt(10, "3"), "position 10 of window 0"),
        (lambda: spoilt(16, "+"), "position 16 of window 0 is none .* problem that begins at position 11 cannot"),
        (lambda: spoilt(12, "<q>"), "position 12 of window 0"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(SimlawError, match=words):
        make()


def test_strata_are_refused_where_training_has_them(monkeypatch):
    corpus = digits(most_digits=1)
    monkeypatch.setattr(DigitsCorpus, "split", lambda *_: np.array([0, 9], np.int32))
    with pytest.raises(SimlawError, match="of 16 problems of the evaluation are in training too"):
        corpus.strata(20)


def test_strata_are_answers_by_digits():
    corpus = open_corpus(Digits(most_digits=2, scratchpad=True))
    strata = corpus.strata(corpus.at(3).shortest)
    assert [(each.axis, each.low) for each in strata] == [("digits", 1), ("digits", 2), ("digits", 3)]
    names = corpus.spec.names
    for each in strata:
        window, place = each.windows[0], each.looked_at[0]
        told, answer = [names[t] for t in window], [names[t] for t in window[1:][place]]
        assert answer == [word for word in told[told.index("=") + 1 :] if word != "<pad>"]
        assert answer.count("<step>") == each.low
