"""ZRHM: entropy and per-token losses against published values, enumeration and Monte Carlo; unique derivations."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import ZRHM
from simlaw.corpora import ZRHMCorpus
from simlaw.errors import SimlawError


def strings(corpus):
    """Every string of a corpus with its probability, by following every rule from every root."""
    p = np.diff([0, *corpus.thresholds.astype(np.int64), 2**32]) / 2.0**32
    found = {(root,): 1 / corpus.spec.symbols for root in range(corpus.spec.symbols)}
    for level in corpus.levels:
        below = {}
        for symbols, chance in found.items():
            for rules in itertools.product(range(corpus.spec.rules), repeat=len(symbols)):
                children = tuple(int(c) for x, k in zip(symbols, rules, strict=True) for c in level.rules[x, k])
                assert children not in below  # every string has one derivation
                below[children] = chance * np.prod(p[list(rules)])
        found = below
    return found


@functools.cache
def small(branching, skew):
    levels = {2: 2, 3: 1, 4: 1}[branching]
    return ZRHMCorpus.build(ZRHM(symbols=3, rules=2, branching=branching, levels=levels, skew=skew, seed=5))


@pytest.mark.parametrize(("branching", "skew"), [(2, None), (2, 0.5), (3, 1.0), (4, None)])
def test_losses_are_those_of_all_strings_enumerated(branching, skew):
    corpus = small(branching, skew)
    every = strings(corpus)
    assert sum(every.values()) == pytest.approx(1, abs=1e-12)
    length = corpus.spec.length
    beginning = {}
    for string, chance in every.items():
        for t in range(length + 1):
            beginning[string[:t]] = beginning.get(string[:t], 0) + chance
    windows = np.array([[0, *(x + 1 for x in string), 0] for string in every], np.int32)
    by_hand = [[np.log(beginning[s[:t]] / beginning[s[: t + 1]]) for t in range(length)] for s in every]
    nll = corpus.floor_nll(windows)
    assert np.allclose(nll[:, :-1], by_hand, rtol=0, atol=1e-12)
    assert (nll[:, -1] == 0).all()  # the next marker
    expected = -sum(chance * np.log(chance) for chance in every.values()) / length
    assert corpus.entropy == pytest.approx(expected, rel=1e-12)


def test_entropy_is_the_published_one():
    assert ZRHMCorpus.build(ZRHM(symbols=16, rules=4, skew=0.5)).entropy == pytest.approx(1.1846, abs=5e-5)
    uniform = ZRHMCorpus.build(ZRHM(symbols=16, rules=4))
    assert uniform.entropy == pytest.approx(1.47294, abs=5e-6)
    # with equal rules every string is equally likely, so that the floor of every whole string is the entropy
    floor = uniform.floor(uniform.held_out(17 * 200, 17))
    assert np.abs(floor - uniform.entropy).max() < 1e-13


@pytest.mark.parametrize("spec", [ZRHM(symbols=16, rules=4, skew=0.5), ZRHM(symbols=8, rules=5, branching=3, levels=2)])
def test_the_entropy_agrees_with_monte_carlo(spec):
    corpus = ZRHMCorpus.build(spec)
    floor = corpus.floor(corpus.held_out(4000 * spec.item, spec.item))
    assert floor.mean() == pytest.approx(corpus.entropy, abs=4 * floor.std() / np.sqrt(len(floor)) + 1e-12)


def test_rules_are_drawn_as_often_as_they_should_be():
    spec = ZRHM(symbols=8, rules=3, levels=1, skew=1.0)
    corpus = ZRHMCorpus.build(spec)
    pairs = corpus.held_out(30_000 * 3, 3)[:, 1:3] - 1
    counts = np.array([[(pairs == rule).all(axis=1).sum() for rule in rules] for rules in corpus.levels[0].rules])
    assert counts.sum() == 30_000
    p = np.arange(1, 4) ** -2.0 / np.sum(np.arange(1, 4) ** -2.0) / 8
    assert np.allclose(counts / 30_000, p, atol=4.5 * np.sqrt(0.1 / 30_000))


def test_windows_may_cut_the_last_string_off():
    corpus = ZRHMCorpus.build(ZRHM(symbols=8, rules=3, levels=3, skew=0.5))
    whole = corpus.held_out(18 * 50, 18)
    nll = corpus.floor_nll(whole)
    for cut in range(2, 18):
        assert np.array_equal(corpus.floor_nll(whole[:, : cut + 1]), nll[:, :cut])


def test_batches_depend_on_seed_and_step_alone_and_never_on_the_held_out_stream():
    corpus = ZRHMCorpus.build(ZRHM(symbols=8, rules=3, levels=2))
    own, shared = corpus.seed_data(3, 10), corpus.shared_data()

    def batch(step, seed_data=own):
        return np.asarray(corpus.batch(shared, seed_data, jnp.int32(step), 4, 10))

    assert np.array_equal(batch(7), batch(7))
    assert not np.array_equal(batch(7), batch(8))
    assert not np.array_equal(batch(0), corpus.held_out(40, 10))
    assert batch(0).shape == (4, 11)
    assert (batch(0)[:, ::5] == 0).all()
    assert corpus.fingerprint != ZRHMCorpus.build(ZRHM(symbols=8, rules=3, levels=2, seed=1)).fingerprint


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ZRHM(symbols=4, rules=5), "ZRHM.rules is 5: 4 symbols in strings of 2 leave at most 4 distinct rules"),
        (lambda: ZRHM(symbols=4096, rules=4, branching=3), "68719476736 strings of 3 symbols at a level"),
        (lambda: ZRHM(skew=60.0), r"ZRHM.skew is 60: the last of 4 rules would be less than 2\^-24 times as likely"),
        (lambda: ZRHM(skew=1e308), "lower skew or rules"),
        (lambda: ZRHM(symbols=4096, rules=4097), "ZRHM.rules is 4097: it must be from 1 to 4096"),
        (lambda: ZRHM(seed=2**31), "ZRHM.seed is 2147483648: it must be from 0 to 2147483647"),
        (lambda: small(2, None).seed_data(0, 4), "context of 4 is shorter than one item of ZRHM, which has 5 tokens"),
        (lambda: small(2, None).held_out(100, 3), "context of 3 is shorter than one item"),
        (lambda: small(2, None).seed_data(2**31 - 1, 5), "seed 2147483647 is the held-out stream's"),
        (lambda: small(2, None).floor_nll(np.array([[0, 1, 4, 1, 1]])), "token 4 at position 2 of window 0"),
        (lambda: small(2, None).floor_nll(np.array([[0, 1, 1, 1, 1], [0, 1, 0, 1, 1]])), "position 2 of window 1"),
        (lambda: small(3, None).floor_nll(impossible_string()), "position 3 of window 1 is none .* no rule gives"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(SimlawError, match=words):
        make()


@pytest.mark.parametrize(("rules", "skew"), [(4, 11.0), (2, 23.0), (16, 5.0)])
def test_of_the_most_skewed_rules_each_has_a_probability(rules, skew):
    corpus = ZRHMCorpus.build(ZRHM(symbols=16, rules=rules, levels=1, skew=skew))
    p = np.diff([0, *corpus.thresholds.astype(np.int64), 2**32]) / 2.0**32
    assert (p > 0).all()
    assert (np.diff(p) <= 0).all()
    assert 0 < corpus.entropy < np.log(16)


def test_an_impossible_beginning_of_a_cut_off_string_is_named_by_position():
    corpus = small(3, None)
    rules = corpus.levels[0].rules.reshape(-1, 3)
    first = next(x for x in range(3) if len({tuple(rule[:2]) for rule in rules if rule[0] == x}) < 3)
    second = next(y for y in range(3) if not any(rule[0] == first and rule[1] == y for rule in rules))
    whole = corpus.held_out(2 * 6, 6)[:1, :7]
    windows = np.concatenate([whole[:, :4], [[0, 1 + first, 1 + second]]], axis=1)
    with pytest.raises(SimlawError, match=r"position 6 of window 1 is none .* no rule gives the symbols there"):
        corpus.floor_nll(np.concatenate([whole, windows]))


def test_few_strings_are_worked_through_at_once_where_each_has_much(monkeypatch):
    corpus = ZRHMCorpus.build(ZRHM(symbols=8, rules=3, branching=3, levels=2, skew=0.5))
    windows = corpus.held_out(10 * 30, 10)
    whole, seen = corpus.floor_nll(windows), []
    nll = ZRHMCorpus._nll
    monkeypatch.setattr(ZRHMCorpus, "_nll", lambda *given: seen.append(len(given[2])) or nll(*given))
    monkeypatch.setattr("simlaw.corpora.zrhm._NUMBERS", 7 * 3 * 64)  # a string has three nodes, a node 64 beginnings
    assert np.allclose(corpus.floor_nll(windows), whole, rtol=0, atol=1e-14)
    assert max(seen) == 7
    assert sum(seen) == 2 * len(windows)


def impossible_string():
    """A string of the grammar, and one that no rule gives."""
    corpus = small(3, None)
    there = {tuple(rule) for rule in corpus.levels[0].rules.reshape(-1, 3).tolist()}
    wrong = next(s for s in itertools.product(range(3), repeat=3) if s not in there)
    return np.array([[0, *(x + 1 for x in one)] for one in (min(there), wrong)])
