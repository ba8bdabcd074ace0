"""ZFact: probabilities, entropy and per-token losses against sums by hand; exponents by construction."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import ZFact
from simlaw.corpora import ZFactCorpus
from simlaw.errors import SimlawError


@functools.cache
def facts(**fields):
    return ZFactCorpus.build(ZFact(**fields))


SMALL = {"entities": 32, "relations": 3, "values": 7, "base": 3, "seed": 4}


@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.3, -1.0])
def test_entities_are_as_likely_as_zipf_has_them(exponent):
    corpus = facts(exponent=exponent)
    zipf = np.arange(1, 65_537) ** -(1 + exponent)
    zipf /= zipf.sum()
    p = corpus.probabilities
    assert p.sum() == 1.0
    assert np.abs(p / zipf - 1)[:1000].max() < 1e-6
    assert np.abs(p / zipf - 1).max() < 1e-4
    by_zipf = (-np.sum(zipf * np.log(zipf)) + np.log(4)) / 6
    assert corpus.entropy == pytest.approx(by_zipf, abs=1e-7)


def test_losses_are_sums_over_all_names_that_begin_so():
    corpus = facts(**SMALL)
    spec, p = corpus.spec, corpus.probabilities
    assert (spec.name_tokens, spec.item, spec.vocab) == (4, 7, 14)
    entity, relation = np.divmod(np.arange(32 * 3), 3)
    windows = corpus.facts(entity, relation)
    nll = corpus.floor_nll(windows)
    digits = windows[::3, 1:5]
    for k in range(32):
        for t in range(4):
            before = p[(digits[:, :t] == digits[k, :t]).all(axis=1)].sum()
            after = p[(digits[:, : t + 1] == digits[k, : t + 1]).all(axis=1)].sum()
            assert nll[3 * k, t] == pytest.approx(np.log(before / after), abs=1e-13)
    assert np.allclose(nll[:, 4], np.log(3), rtol=1e-15)
    assert (nll[:, 5] == 0).all()
    assert nll.sum(axis=1) @ p[entity] / 3 / 6 == pytest.approx(corpus.entropy, rel=1e-12)


def test_the_entropy_agrees_with_monte_carlo():
    corpus = facts(exponent=0.5)
    windows = corpus.held_out(7 * 20_000, 7)
    floor = corpus.floor(windows)
    assert floor.mean() == pytest.approx(corpus.entropy, abs=4 * floor.std() / np.sqrt(len(floor)))


def test_entities_relations_and_values_are_drawn_as_often_as_they_should_be():
    corpus = facts(**SMALL)
    windows = corpus.held_out(7 * 60_000, 7)[:, :7]
    entity = (windows[:, 1:5] - 1) @ 3 ** np.arange(3, -1, -1)
    often = np.bincount(entity, minlength=32) / len(windows)
    assert np.allclose(often, corpus.probabilities, atol=4.5 * np.sqrt(0.25 / len(windows)))
    relation = windows[:, 5] - 4
    assert np.allclose(np.bincount(relation) / len(windows), 1 / 3, atol=4.5 * np.sqrt(0.25 / len(windows)))
    assert np.array_equal(windows[:, 6] - 7, corpus.values[entity, relation])
    values = np.bincount(facts().values.ravel(), minlength=256)
    assert ((values - 1024) ** 2 / 1024).sum() < 255 + 4.5 * np.sqrt(2 * 255)


def test_exponents_are_those_of_the_construction():
    """What is left of the mass beyond the n commonest, and unseen after D facts, has the slopes a and a / (1 + a)."""

    def slope(y):
        return -np.diff(np.log(y)) / np.log(2)

    for exponent, size, data in ((0.5, (0.54, 0.66), (0.336, 0.42)), (1.0, (1.0, 1.1), (0.49, 0.52))):
        p = facts(exponent=exponent).probabilities
        beyond = slope(np.array([p[n:].sum() for n in 2 ** np.arange(8, 13)]))
        unseen = slope(np.array([(p * (1 - p) ** d).sum() for d in 2.0 ** np.arange(8, 15)]))
        assert size[0] - 0.04 < beyond.min()
        assert beyond.max() < size[1]
        assert data[0] < unseen.min()
        assert unseen.max() < data[1]


def test_windows_may_cut_the_last_fact_off():
    corpus = facts(**SMALL)
    whole = corpus.held_out(14 * 50, 14)
    nll = corpus.floor_nll(whole)
    for cut in range(7, 14):
        assert np.array_equal(corpus.floor_nll(whole[:, : cut + 1]), nll[:, :cut])
    assert corpus.batch(corpus.shared_data(), corpus.seed_data(1, 9), jnp.int32(2), 5, 9).shape == (5, 10)


def spoilt(position, token):
    windows = facts(**SMALL).facts(np.array([1, 5]), np.array([0, 2])).copy()
    windows[1, position] = token
    return windows


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ZFact(entities=1000), "entities is 1000: it must be a power of two.*take 512 or 1024"),
        (lambda: ZFact(seed=2**31), "ZFact.seed is 2147483648: it must be from 0 to 2147483647"),
        (lambda: ZFact(exponent=9.0), "ZFact.exponent is 9.0: it must be from -1 to 8"),
        (lambda: ZFact(relations=512), "has 33554432 facts, .* at most 16777216 of each .* lower entities, relations"),
        (lambda: ZFact(entities=2**22, base=1000), "1000000000 names of 3 digits to the base 1000: at most 16777216"),
        (lambda: facts(**SMALL).strata(6), "context of 6 is shorter than one item of ZFact, which has 7 tokens"),
        (lambda: facts(**SMALL).seed_data(0, 6), "context of 6 is shorter than one item of ZFact, which has 7 tokens"),
        (lambda: facts(**SMALL).floor_nll(spoilt(6, 14)), "token 14 at position 6 of window 1 is not of this vocab"),
        (lambda: facts(**SMALL).floor_nll(spoilt(0, 1)), "token 1 at position 0 of window 1 .* token 0 is from 0 to 0"),
        (lambda: facts(**SMALL).floor_nll(spoilt(1, 3)), "token 3 at position 2|position 1 of window 1"),
        (lambda: facts(**SMALL).floor_nll(spoilt(5, 2)), "token 2 at position 5 of window 1 .* is from 4 to 6"),
        (lambda: facts(**SMALL).floor_nll(spoilt(6, wrong_value())), "position 6 of window 1 .* has another value"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(SimlawError, match=words):
        make()


def wrong_value():
    return 7 + (facts(**SMALL).values[5, 2] + 1) % 7


def test_strata_are_facts_of_octaves_of_ranks_and_look_at_their_values():
    corpus = facts()
    strata = corpus.strata(15)  # two facts, and a marker over
    assert [(each.low, each.high) for each in strata[:3]] == [(1, 1), (2, 3), (4, 7)]
    assert (strata[-1].low, strata[-1].high) == (32_768, 65_536)
    assert sum(each.items for each in strata) == 65_536 * 4
    for each in strata:
        assert each.windows.shape[1] == 16
        assert each.looked_at.sum() == min(each.items, 128)
        window, place = np.nonzero(each.looked_at)
        known = np.stack([each.windows[window, place + 1 - j] for j in range(6, -1, -1)], axis=1)
        assert len(np.unique(known, axis=0)) == len(known)
        assert (corpus.floor_nll(known)[:, -1] == each.floor).all()  # facts of this corpus, whose values follow
        rank = 1 + (known[:, 1:5] - 1) @ 16 ** np.arange(3, -1, -1)
        assert ((rank >= each.low) & (rank <= each.high)).all()
