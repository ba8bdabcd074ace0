"""What a planner types: every slip gets a sentence, before anything is fitted."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError

LAW = sl.laws.Chinchilla(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36)
N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 6.4e7, 4), np.geomspace(1e8, 1e10, 4)))


def runs(noise=0.003, **extra):
    loss = LAW.loss(N=N, D=D) * np.exp(noise * np.random.default_rng(0).normal(size=len(N)))
    return sl.load_table({"n": N, "d": D, "l": loss, **extra}, N="n", D="d", loss="l", **{key: key for key in extra})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"forms": "Chinchilla"}, "'Chinchilla' is no form of law: give a class, such as sl.laws.Chinchilla"),
        ({"forms": LAW}, "a Chinchilla is no form of law: give a class, such as sl.laws.Chinchilla"),
        ({"forms": []}, "no form was given"),
        ({"holdout": "LargestN"}, "holdout='LargestN' is no holdout: give one, as sl.LargestN()"),
        ({"holdout": sl.LargestN}, "is no holdout: give one, as sl.LargestN()"),
        ({"table": "runs.csv"}, "str is no table of runs: give what sl.load_table or sl.read_table returns"),
        ({"bootstrap": -5}, "bootstrap=-5: 20 draws or more tell a spread; 0 does without"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
        ({"fixed": {"E": "high"}}, "fixed E='high' is no number: give one"),
        ({"bounds": {"E": 1.7}}, "bounds E=1.7: give two numbers, the lower end first"),
        ({"bounds": {"E": (1.0, 2.0)}, "fixed": {"E": 3.0}}, "fixed E=3 is outside its bounds 1 to 2"),
        ({"threshold": 0.0}, "threshold=0: the threshold of the Huber function is a number above 0"),
        (
            {"fixed": {name: float(value) for name, value in LAW.values.items()}},
            "no parameter of Chinchilla is left to fit: leave one of E, A, B, alpha, beta free",
        ),
        ({"holdout": sl.LargestN(3)}, "holding out the largest N (3 values): Chinchilla has 5 parameters"),
    ],
)
def test_slips_get_a_sentence(change, sentence):
    with pytest.raises(SimlawError) as caught:
        # as a planner has it: without the type checks of the tests
        inspect.unwrap(sl.fit)(**{"forms": sl.laws.Chinchilla, "table": runs(), "bootstrap": 0, **change})
    assert sentence in str(caught.value)


def test_a_form_whose_fields_are_no_parameters_says_so():
    @dataclass(frozen=True, kw_only=True)
    class Mine(sl.laws.Chinchilla.__mro__[1]):
        E: float = 1.0
        needs = ("N",)
        terms = ((),)

    with pytest.raises(SimlawError, match=r"Mine\.E is no parameter: make it one by `= positive\(low, high\)`"):
        sl.fit(Mine, runs(), bootstrap=0)


def test_a_variable_that_no_row_differs_in_is_left_out():
    found = sl.fit(sl.laws.Chinchilla, runs(P_w=np.full(len(N), 4.0)), bootstrap=0)
    assert set(found.ranges) == {"N", "D", "C"}
    with pytest.raises(SimlawError, match="Chinchilla knows no P_w, in which the rows differ: fit rows of one P_w"):
        sl.fit(sl.laws.Chinchilla, runs(P_w=np.where(np.arange(len(N)) % 2, 4.0, 8.0)), bootstrap=0)


def test_losses_and_penalties_are_not_taken_for_each_other():
    added = sl.load_table({"n": N, "p": 4 + 0 * N, "l": 1e-3 * D**0.5}, N="n", P_post="p", delta="l")
    with pytest.raises(
        SimlawError, match="Chinchilla is a law of the loss, and the rows are penalties: name the column"
    ):
        sl.fit(sl.laws.Chinchilla, added, bootstrap=0)
    with pytest.raises(SimlawError, match="StepPenalty is a law of the added loss, and the rows are losses: name the"):
        sl.fit(sl.laws.StepPenalty, runs(P_post=np.full(len(N), 4.0)), bootstrap=0)
    with pytest.raises(
        SimlawError, match="penalties are weighed by their standard deviations, and those of these rows"
    ):
        sl.fit(
            sl.laws.StepPenalty,
            sl.load_table({"n": N, "d": D, "p": 4 + 0 * N, "l": 1e-3 * D**0.5}, N="n", D="d", P_post="p", delta="l"),
            bootstrap=0,
        )


def test_the_threshold_may_be_given():
    by_noise, by_field = (
        sl.fit(sl.laws.Chinchilla, runs(), bootstrap=0),
        sl.fit(sl.laws.Chinchilla, runs(), bootstrap=0, threshold=0.1),
    )
    assert by_noise.threshold == 1e-3  # no cell is repeated
    assert by_field.threshold == 0.1
    assert by_field.law.beta != by_noise.law.beta
    squares = sl.fit(sl.laws.Chinchilla, runs(), bootstrap=0, objective="log")
    assert by_field.law.beta == pytest.approx(squares.law.beta, rel=1e-6)


def test_one_run_that_diverged_blinds_nothing():
    # three rows of each cell; one of them is no run
    n, d = np.tile(N, 3), np.tile(D, 3)
    loss = LAW.loss(N=n, D=d) * np.exp(0.003 * np.random.default_rng(1).normal(size=len(n)))
    clean = sl.load_table({"n": n, "d": d, "l": loss}, N="n", D="d", loss="l")
    loss[5] = 9.8
    seen = sl.load_table({"n": n, "d": d, "l": loss}, N="n", D="d", loss="l")
    assert np.median(seen.sigma / seen.y) == pytest.approx(np.median(clean.sigma / clean.y), rel=0.2)
    found, without = (sl.fit(sl.laws.Chinchilla, rows, bootstrap=0) for rows in (seen, clean))
    assert found.law.beta == pytest.approx(without.law.beta, abs=0.01)
    assert found.far == ({"N": n[5], "D": d[5]},)
    assert "far off" in str(found)
    assert without.far == ()


def test_a_row_of_which_a_form_says_nothing_is_named():
    bits = np.where(np.arange(len(N)) % 2, 4.0, 16.0)
    with pytest.raises(
        SimlawError, match="EffectiveFree says nothing of a row at P_w=16: leave such rows out, or take"
    ):
        sl.fit(sl.laws.EffectiveFree, runs(P_w=bits), bootstrap=0)


def test_parts_of_a_law_that_no_row_shows_leave_the_rest_alone():
    n, d, p = (
        a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e8, 1e10, 4), [3.0, 4.0, np.inf])
    )
    truth = sl.laws.PrecisionWeights(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36, g_w=2.0, n_w=0.3)
    loss = truth.loss(N=n, D=d, P_w=p) * np.exp(0.001 * np.random.default_rng(0).normal(size=len(n)))
    seen = sl.load_table({"n": n, "d": d, "p": p, "l": loss}, N="n", D="d", P_w="p", loss="l")
    found = sl.fit(sl.laws.PrecisionUnified, seen, bootstrap=0)
    assert found.health == "VALID"
    assert found.law.g_w == pytest.approx(2.0, rel=0.1)
    assert "C_w" in found.unknown
