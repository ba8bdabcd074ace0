"""Contests: the form that made the data wins where the data tell, and nobody wins where they do not."""

from dataclasses import dataclass

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.objective import deviance
from simlaw.law import AbstractLossLaw, positive
from simlaw.laws import Chinchilla, Overtrained, PrecisionShifted, PrecisionWeights, StepPenalty

TRUTH = PrecisionWeights(E=1.2, A=20.0, B=900.0, alpha=0.35, beta=0.5, g_w=2.0, n_w=0.3)


@dataclass(frozen=True, kw_only=True)
class Blind(AbstractLossLaw):
    """Chinchilla that is told the precision and does not look at it."""

    E: float = positive(0.3, 3.0)
    A: float = positive(1.0, 1e4)
    B: float = positive(1.0, 1e5)
    alpha: float = positive(0.1, 1.0)
    beta: float = positive(0.1, 1.0)
    needs = ("N", "D", "P_w")
    terms = Chinchilla.terms


def runs(law, noise, seed=0, bits=(3.0, 4.0, 6.0, np.inf)):
    rng = np.random.default_rng(seed)
    grid = [(n, d, b, s) for n in (1e4, 4e4, 1.6e5, 6.4e5) for d in (1e6, 4e6, 1.6e7) for b in bits for s in range(3)]
    n, d, b, _ = map(np.array, zip(*grid, strict=True))
    extra = {"P_w": b} if "P_w" in law.takes else {}
    loss = law.loss(N=n, D=d, **extra) * np.exp(noise * rng.normal(size=len(n)))
    return load_table({"n": n, "d": d, "b": b, "l": loss}, N="n", D="d", loss="l", P_w="b")


def test_the_form_that_made_the_data_wins():
    seen = runs(TRUTH, 0.003)
    found = sl.fit([PrecisionWeights, Blind], seen, holdout=sl.LargestN(), bootstrap=0)
    assert type(found.law) is PrecisionWeights
    assert found.contest.decided
    assert str(found).endswith("PrecisionWeights wins beyond noise")


def test_several_parts_are_held_out_in_turn():
    seen = runs(TRUTH, 0.003)
    parts = [sl.LargestC(), sl.LowestBits("P_w")]
    found = sl.fit([PrecisionWeights, Blind], seen, holdout=parts, bootstrap=0).contest
    alone = [sl.fit([PrecisionWeights, Blind], seen, holdout=part, bootstrap=0).contest for part in parts]
    for form in (PrecisionWeights, Blind):
        together, *apart = (
            next(entry.held_out for entry in one.entries if type(entry.fit.law) is form) for one in (found, *alone)
        )
        assert together == pytest.approx([each[0] for each in apart])
    head = str(found).splitlines()[0]
    for words in ("largest C", "lowest P_w"):
        assert f"error on {words}" in head


def test_a_collapsed_form_is_not_chosen_for_its_simplicity():
    flat = Chinchilla(E=1.2, A=20.0, B=900.0, alpha=0.35, beta=0.5)
    seen = runs(flat, 0.003)
    found = sl.fit([PrecisionWeights, Blind], seen, holdout=sl.LargestN(), bootstrap=0)
    assert type(found.law) is Blind
    assert found.health == "VALID"


def test_forms_that_are_the_same_are_undecided():
    found = sl.fit([PrecisionShifted, PrecisionWeights], runs(TRUTH, 0.003), holdout=sl.LargestN(), bootstrap=0)
    assert not found.contest.decided
    assert "UNDECIDED" in str(found)


def test_the_simplest_form_is_taken_within_the_noise():
    equal = Chinchilla(E=1.2, A=20.0, B=20.0, alpha=0.35, beta=0.35)
    seen = runs(equal, 0.02, bits=(np.inf,))
    bare = load_table({"n": seen.x["N"], "d": seen.x["D"], "l": seen.y}, N="n", D="d", loss="l")
    found = sl.fit([Chinchilla, Overtrained], bare, holdout=sl.LargestN(), bootstrap=0)
    assert type(found.law) is Overtrained  # four parameters against five
    by_criterion = sl.fit([Chinchilla, Overtrained], bare, bootstrap=0).contest
    assert {entry.parameters for entry in by_criterion.entries} == {4, 5}
    assert by_criterion.entries[0].held_out == ()


def test_what_is_held_out_is_at_the_end_of_the_scale():
    seen = runs(TRUTH, 0.003)
    assert set(seen.x["N"][sl.LargestN().mask(seen)]) == {6.4e5}
    assert set(seen.x["D"][sl.LargestD(2).mask(seen)]) == {4e6, 1.6e7}
    assert set(seen.x["P_w"][sl.LowestBits("P_w").mask(seen)]) == {3.0}
    dear = sl.LargestC().mask(seen)
    assert set(zip(seen.x["N"][dear], seen.x["D"][dear], strict=True)) == {(6.4e5, 1.6e7)}
    # one budget, to the rounding of its batches
    budget = 1e12 * np.array([1.0, 1.004, 0.997, 0.5, 0.502])
    size = np.array([1e4, 4e4, 1.6e5, 1e4, 4e4])
    rounded = load_table({"n": size, "d": budget / size, "l": np.ones(5)}, N="n", D="d", loss="l")
    assert sl.LargestC().mask(rounded).tolist() == [True, True, True, False, False]
    with pytest.raises(SimlawError, match="the rows have no P_post to hold out: they have N, D, P_w"):
        sl.LowestBits().mask(seen)
    with pytest.raises(SimlawError, match="the rows have 4 values of N, so holding 4 out leaves none: add some"):
        sl.LargestN(4).mask(seen)


def test_fixed_and_bounded_parameters():
    seen = runs(TRUTH, 0.003)
    found = sl.fit(PrecisionWeights, seen, bootstrap=0, fixed={"n_w": 0.3}, bounds={"beta": (0.1, 0.4)})
    assert found.law.n_w == 0.3
    assert found.fixed == ("n_w",)
    assert found.health == "AT_BOUND"
    assert "beta ended at a bound" in found.sentence
    with pytest.raises(
        SimlawError, match="PrecisionWeights has no parameter gamma: it has E, A, B, alpha, beta, g_w, n_w"
    ):
        sl.fit(PrecisionWeights, seen, fixed={"gamma": 1.0})


def test_a_precision_without_effect_collapses():
    seen = runs(Chinchilla(E=1.2, A=20.0, B=900.0, alpha=0.35, beta=0.5), 0.003)
    found = sl.fit(PrecisionWeights, seen, bootstrap=0)
    assert found.health != "VALID"


def test_losses_and_penalties_do_not_compete():
    with pytest.raises(SimlawError, match="laws of the loss and laws of the penalty do not compete: fit them apart"):
        sl.fit([Chinchilla, StepPenalty], runs(TRUTH, 0.003), bootstrap=0)


def test_a_better_form_without_a_valid_fit_is_named():
    seen = runs(TRUTH, 0.003)
    found = sl.fit([PrecisionWeights, Blind], seen, holdout=sl.LargestN(), bootstrap=0, bounds={"beta": (0.1, 0.4)})
    rivals = {entry.name: entry for entry in found.contest.entries}
    assert rivals["PrecisionWeights"].fit.health == "AT_BOUND"
    assert not found.contest.decided
    assert found.contest.verdict.startswith("UNDECIDED: ")


def test_too_few_trunks_tell_nothing():
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 6.4e7, 4), np.geomspace(1e8, 1e10, 4)))
    law = Chinchilla(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36)
    rng = np.random.default_rng(1)
    seen = load_table(
        {"n": n, "d": d, "l": law.loss(N=n, D=d) * np.exp(0.003 * rng.normal(size=16))}, N="n", D="d", loss="l"
    )
    found = sl.fit([Chinchilla, Overtrained], seen, holdout=sl.LargestN(), bootstrap=0).contest
    assert found.rows == (4,)
    assert np.isnan([entry.behind for entry in found.entries if entry is not found.best]).all()
    assert "unknown" in str(found)
    assert found.verdict.endswith("too few trunks are held out to tell a lead from noise")


def test_a_form_alone_wins_nothing():
    found = sl.fit(PrecisionWeights, runs(TRUTH, 0.003), holdout=sl.LargestN(), bootstrap=0).contest
    assert not found.decided
    assert found.verdict == "PrecisionWeights has no rival here"


def test_errors_of_refits_that_are_not_valid_are_marked():
    # the lowest bits held out leave two levels for scale and offset
    found = sl.fit(
        [PrecisionWeights, PrecisionShifted],
        runs(TRUTH, 0.003, bits=(3.0, 4.0, np.inf)),
        holdout=sl.LowestBits("P_w"),
        bootstrap=0,
    ).contest
    assert any(health != "VALID" for entry in found.entries for health in entry.refits)
    assert "?: of a fit to the other rows that is not valid" in str(found)


def test_akaikes_criterion_is_that_of_the_density_whose_mode_is_sought():
    rng = np.random.default_rng(0)
    normal, laplace = 0.01 * rng.normal(size=2000), 0.005 * rng.laplace(size=2000)

    def huber_sum(r, limit):
        size = np.abs(r)
        return float(np.where(size > limit, limit * (size - limit / 2), r * r / 2).sum())

    wide = deviance(huber_sum(normal, 1.0), 2000, "huber", 1.0)
    assert wide == pytest.approx(2000 * np.log(np.mean(normal**2)), abs=0.05)
    narrow = deviance(huber_sum(laplace, 1e-6), 2000, "huber", 1e-6)
    exact = 2 * 2000 * (np.log(2 * np.mean(np.abs(laplace))) + 1) - 2000 * (1 + np.log(2 * np.pi))
    assert narrow == pytest.approx(exact, abs=0.05)
