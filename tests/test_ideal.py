"""The ideal learner of facts, and the must-pass row: a fit gives back its exponents and its floor."""

import functools

import numpy as np
import pytest

import simlaw as sl
from simlaw.config import ZFact
from simlaw.corpora import open_corpus
from simlaw.errors import SimlawError
from simlaw.ideal import ENOUGH, IdealLearner
from simlaw.laws import Chinchilla

SIZES = tuple(2.0**k for k in range(11, 19))
DATA = tuple(2.0**k for k in range(14, 26))


@functools.cache
def fitted(exponent, known):
    learner = IdealLearner(facts=ZFact(exponent=exponent))
    rows = learner.edges(SIZES, DATA, seeds=range(5))
    return sl.fit(Chinchilla, rows, bootstrap=400, fixed={"E": learner.floor - learner.beyond} if known else {})


@pytest.mark.parametrize("exponent", [1.0, 0.5])
@pytest.mark.parametrize("known", [False, True], ids=["E free", "E known"])
def test_a_fit_gives_back_what_the_facts_were_built_with(exponent, known):
    """Claim G1, must pass: E and both exponents are inside their 95 % intervals."""
    learner, found = IdealLearner(facts=ZFact(exponent=exponent)), fitted(exponent, known)
    assert found.health == "VALID"
    wanted = dict(zip(("alpha", "beta"), learner.exponents, strict=True))
    if not known:
        wanted["E"] = learner.floor - learner.beyond
    for name, truth in wanted.items():
        low, high = np.quantile(found.draws.values[name], (0.025, 0.975))
        assert low < truth < high, (name, truth, low, high)
        assert high - low < 0.15 * truth  # the interval says something
    assert found.law.values["alpha"] == pytest.approx(learner.exponents[0], rel=0.05)


def test_the_finite_number_of_entities_is_seen():
    """At a = 1/2 the exact floor itself is outside: the powers go on beyond the last entity."""
    learner, found = IdealLearner(facts=ZFact(exponent=0.5)), fitted(0.5, False)
    assert learner.floor > np.quantile(found.draws.values["E"], 0.975)


def test_between_the_edges_the_form_is_another():
    """Where room and data are short together the excess is nearly the larger term, and a sum of powers misfits."""
    learner = IdealLearner(facts=ZFact(exponent=0.5))
    size, data = 2.0**12, 2.0**17
    both, room, seen = (learner.loss(n, d) - learner.floor for n, d in ((size, data), (size, ENOUGH), (ENOUGH, data)))
    assert max(room, seen) < both < 0.85 * (room + seen)
    cells = [(n, d) for n in SIZES for d in DATA]
    found = sl.fit(Chinchilla, learner.observations([(*cell, None) for cell in cells]), bootstrap=0)
    assert found.misfit > 5 * fitted(0.5, False).misfit
    assert abs(found.law.values["alpha"] - 0.5) > 0.1


def test_losses_by_hand():
    facts = ZFact(entities=4, relations=2, values=16, exponent=1.0, base=2)
    learner = IdealLearner(facts=facts, bits=2.0)
    p = np.array([1, 1 / 4, 1 / 9, 1 / 16])
    p /= p.sum()
    floor = (-(p * np.log(p)).sum() + np.log(2)) / 4
    assert learner.floor == pytest.approx(floor, rel=1e-12)
    # 12 parameters hold 24 bits, six facts of four bits: three entities
    assert learner.loss(12, ENOUGH) == pytest.approx(floor + p[3] * np.log(16) / 4, rel=1e-12)
    one = 1 - (1 - p / 2) ** 3  # three facts of five tokens were seen
    assert learner.loss(ENOUGH, 15) == pytest.approx(floor + (p * (1 - one)).sum() * np.log(16) / 4, rel=1e-12)
    assert learner.loss(ENOUGH, ENOUGH) == pytest.approx(floor, rel=1e-12)
    drawn = np.mean([learner.loss(ENOUGH, 15, seed) for seed in range(4000)])
    assert drawn == pytest.approx(learner.loss(ENOUGH, 15), rel=2e-2)
    assert learner.loss(ENOUGH, 15, 3) == learner.loss(ENOUGH, 15, 3) != learner.loss(ENOUGH, 30, 3)


def test_what_lies_beyond_the_last_entity_is_what_more_of_them_would_cost():
    few, more = (IdealLearner(facts=ZFact(entities=n, exponent=0.5)) for n in (2**10, 2**20))
    known = more.probabilities[: 2**10].sum()
    tokens_few, tokens_more = (one.facts.name_tokens + 2 for one in (few, more))
    missing = (1 - known) / known * np.log(256) / tokens_few
    further = more.beyond / known * tokens_more / tokens_few
    assert few.beyond == pytest.approx(missing + further, rel=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_it_knows_the_probabilities_of_the_corpus(exponent):
    learner, corpus = IdealLearner(facts=ZFact(exponent=exponent)), open_corpus(ZFact(exponent=exponent))
    assert np.abs(learner.probabilities / corpus.probabilities - 1).max() < 1e-4
    assert learner.floor == pytest.approx(corpus.entropy, abs=1e-7)


def test_uniform_facts_have_no_exponents():
    with pytest.raises(SimlawError, match=r"ZFact.exponent is -1: an ideal learner has exponents where it is above 0"):
        IdealLearner(facts=ZFact(exponent=-1.0))


def test_the_floor_of_a_table_is_taken_where_it_is_asked_for():
    learner = IdealLearner(facts=ZFact(exponent=1.0))
    rows = learner.edges(SIZES, DATA, seeds=(0, 1))
    cells = {"N": rows.x["N"], "D": rows.x["D"], "loss": rows.y, "H": np.full(len(rows.y), learner.floor)}
    table = sl.load_table(cells, N="N", D="D", loss="loss", floor="H")
    found = sl.fit(Chinchilla, table, bootstrap=0, fixed={"E": "floor"})
    assert found.law.values["E"] == pytest.approx(learner.floor, rel=1e-15)
    assert found.fixed == ("E",)
    in_bits = {**cells, "loss": rows.y / np.log(2), "H": cells["H"] / np.log(2)}
    in_nats = sl.load_table(in_bits, N="N", D="D", loss="loss", floor="H", unit="bits")
    assert in_nats.floor == pytest.approx(learner.floor, rel=1e-12)
    with pytest.raises(SimlawError, match="these rows have no floor that all share; name its column"):
        sl.fit(Chinchilla, sl.load_table(cells, N="N", D="D", loss="loss"), fixed={"E": "floor"})
    with pytest.raises(SimlawError, match=r"'H' holds .*which has one floor: fit those of each text apart"):
        sl.load_table({**cells, "H": rows.y}, N="N", D="D", loss="loss", floor="H")
