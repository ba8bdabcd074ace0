"""Critical data and crossings: published vectors, closed forms, intervals that hold a planted truth."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.analysis import analyse
from simlaw.decision.critical import critical_data, crossover, plan_words, rise
from simlaw.errors import SimlawError
from simlaw.fitting.quantized import QuantizedFit
from simlaw.law import QuantizedLaw
from simlaw.laws import Chinchilla, ExponentialPenalty
from simlaw.published import besiroglu2024, kumar2024, ouyang2024, sun2025
from tests.planted import LOSS, PENALTY, planted

KUMAR = kumar2024.law
ANALYSIS = analyse(planted(log_loss=0.005, relative=0.1, token=1e-4, seeds=4), draws=200)
BOTH = QuantizedFit(base=ANALYSIS.base, penalty=ANALYSIS.penalty)
TRUTH = QuantizedLaw(base=LOSS, penalty=PENALTY)


@pytest.mark.parametrize(
    ("law", "n", "expected"),
    [
        (KUMAR, 30e6, (5.325e9, 2.878e10, 1.556e11)),
        (KUMAR, 220e6, (1.054e10, 5.698e10, 3.080e11)),
        (replace(KUMAR, b=0.0), 30e6, (1.638e10, 8.856e10, 4.787e11)),
    ],
    ids=["30M", "220M", "30M without b"],
)
def test_kumars_critical_data(law, n, expected):
    for bits, tokens in zip((3, 4, 5), expected, strict=True):
        found = critical_data(law, N=n, P_post=bits)
        assert found.tokens == pytest.approx(tokens, rel=4e-4)  # printed with four digits
        # 2411.04330, Eq. 13, its bracket times exp(-b)
        bracket = law.beta * law.B * n**law.gN * np.exp(bits / law.g_post - law.b) / (law.gD * law.C_T)
        assert found.tokens == pytest.approx(bracket ** (1 / (law.gD + law.beta)), rel=1e-6)


@pytest.mark.parametrize(("x", "m", "tokens"), [(8, 7, 1.730e15), (4, 3, 2.733e13), (2, 1, 3.928e11)])
def test_suns_critical_data(x, m, tokens):
    law = sun2025.law
    found = critical_data(law, N=1e9, X=x, M=m, G=128).tokens
    assert found == pytest.approx(tokens, rel=5e-4)
    closed = law.B * 1e9**law.alpha * (x + 0.5) ** law.delta * (m + 0.5) ** law.nu / (law.g_inverse * np.log2(128))
    assert found == pytest.approx(closed ** (1 / (2 * law.beta)), rel=1e-6)


def test_any_law_of_the_penalty_has_one():
    law = QuantizedLaw(
        base=Chinchilla(E=2.0, A=400.0, B=2000.0, alpha=0.3, beta=0.4),
        penalty=ExponentialPenalty(C_T=0.1, gD=0.5, gN=0.3, g_post=0.6),
    )
    found = critical_data(law, N=1e8, P_post=4).tokens
    closed = (0.4 * 2000.0 * 1e8**0.3 * np.exp(4 / 0.6) / (0.5 * 0.1)) ** (1 / 0.9)
    assert found == pytest.approx(closed, rel=1e-6)
    assert law.loss(N=1e8, D=found, P_post=4) < law.loss(N=1e8, D=[0.9 * found, 1.1 * found], P_post=4).min()


def test_what_never_turns_is_said_and_not_faked():
    for found in (
        critical_data(KUMAR, N=30e6),
        critical_data(KUMAR, N=30e6, P_post=np.inf),
        critical_data(besiroglu2024.law, N=1e9),
    ):
        assert (found.tokens, found.share, found.outside) == (np.inf, 0.0, {})
    assert str(critical_data(besiroglu2024.law, N=1e9)) == (
        "a model of 1B parameters has no critical amount of data by this law: its loss falls with every token."
    )


def test_rounding_turns_nothing():
    rng = np.random.default_rng(0)
    for _ in range(60):
        e, a, b, alpha, beta = rng.uniform((0.5, 10, 10, 0.2, 0.2), (4, 1e4, 1e5, 0.9, 0.9))
        assert critical_data(Chinchilla(E=e, A=a, B=b, alpha=alpha, beta=beta), N=1e8).tokens == np.inf


def test_the_interval_holds_the_planted_point():
    for n in (6656, 26624):
        found = critical_data(BOTH, N=n, P_post=3)
        truth = critical_data(TRUTH, N=n, P_post=3).tokens
        assert found.interval[0] <= truth <= found.interval[1]
        assert found.interval[0] < found.tokens < found.interval[1]
        assert found.share == 1
    assert str(found).startswith("a model of 26.6k parameters at P_post=3 gets worse with more than ")
    assert ", 90 % interval " in str(found)


def test_draws_without_a_turn_leave_the_interval_open():
    penalty = replace(
        ANALYSIS.penalty, draws=replace(ANALYSIS.penalty.draws, C_T=np.where(np.arange(200) % 2, 0.03, 1e-12))
    )
    found = critical_data(replace(BOTH, penalty=penalty), N=6656, P_post=3, force=True)
    assert found.interval[1] > 1e3 * found.tokens


def test_how_far_it_extrapolates_is_said_and_refused_beyond_ten():
    near = critical_data(kumar2024, N=30e6, P_post=5)
    assert near.outside == pytest.approx({"D": 1.556e11 / 26e9}, rel=1e-3)
    assert "that extrapolates beyond the rows of the fit in D by 5.98 x." in str(near)
    with pytest.raises(
        SimlawError, match=r"the answer lies outside the rows of the fit in D by 11\.8 x, more than 10 x"
    ):
        critical_data(kumar2024, N=220e6, P_post=5)
    assert critical_data(kumar2024, N=220e6, P_post=5, force=True).outside["D"] > 10


def test_crossings_at_equal_bytes():
    # published constants, 660 Mbit: 4 bits of 165M are ahead at 6e9 tokens and behind 5 bits of 132M at 2.6e10
    holder, challenger = {"N": 165e6, "P_post": 4}, {"N": 132e6, "P_post": 5}
    found = crossover(KUMAR, holder, challenger)
    assert 6e9 < found.at < 2.6e10
    assert KUMAR.loss(D=found.at, **holder) == pytest.approx(float(KUMAR.loss(D=found.at, **challenger)), abs=1e-9)
    assert KUMAR.loss(D=found.at * 1.01, **holder) > KUMAR.loss(D=found.at * 1.01, **challenger)
    assert str(found).startswith(
        "N=132M at P_post=5 overtakes N=165M at P_post=4 at 19.8B training tokens (150 for each"
    )
    back = crossover(KUMAR, challenger, holder)
    assert back.until == pytest.approx(found.at, rel=1e-3)
    assert str(back) == "N=165M at P_post=4 is ahead of N=132M at P_post=5 from the start, and stays ahead until 19.8B."
    never = crossover(besiroglu2024.law, {"N": 2e9}, {"N": 1e9})
    assert (never.at, str(never)) == (np.inf, "N=1B never overtakes N=2B.")


def test_crossings_at_equal_compute_are_those_of_their_tokens():
    holder, challenger = {"N": 30e6, "P_post": 8}, {"N": 220e6, "P_post": 6}
    found = crossover(KUMAR, holder, challenger, along="C")
    losses = [float(KUMAR.loss(D=found.at / (6 * plan["N"]), **plan)) for plan in (holder, challenger)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    # ahead until rounding to 6 bits costs the larger one more than it gains
    assert found.at < found.until < np.inf
    assert crossover(KUMAR, challenger, holder, along="C").until == pytest.approx(found.at, rel=1e-3)
    assert " training FLOPs, and stays ahead until " in str(found)


def test_a_crossing_has_the_interval_of_its_draws():
    holder, challenger = {"N": 52e3, "P_post": 3}, {"N": 31e3, "P_post": 5}
    found, truth = (crossover(law, holder, challenger) for law in (BOTH, TRUTH))
    assert found.interval[0] <= truth.at <= found.interval[1]
    assert found.share > 0.95
    assert " training tokens (" in str(found)


def test_a_challenger_that_always_leads():
    found = crossover(besiroglu2024.law, {"N": 1e9}, {"N": 2e9})
    assert (found.at, str(found)) == (0.0, "N=2B is ahead of N=1B from the start.")


def test_a_plan_needs_its_parameters():
    with pytest.raises(SimlawError, match=r"the plan \{'P_post': 3\} has no N: give its parameters and its precisions"):
        crossover(KUMAR, {"P_post": 3}, {"N": 1e6})
    with pytest.raises(SimlawError, match="takes no P: it takes N, D, P_w"):
        critical_data(KUMAR, N=1e6, P=3)
    assert plan_words({"N": 26624, "D": 1e6, "P_post": 3}) == "N=26.6k at P_post=3"


def test_what_is_looked_for_is_not_given():
    with pytest.raises(SimlawError, match=r"^D=1000000000\.0: critical_data looks for D itself: leave it out"):
        critical_data(KUMAR, N=1e6, D=1e9)


def test_plans_may_be_those_of_next_runs():
    holder, challenger = {"N": 165e6, "P_post": 4}, {"N": 132e6, "P_post": 5}
    found = crossover(KUMAR, {**holder, "D": 1e9}, {**challenger, "D": 7e9})
    assert found == crossover(KUMAR, holder, challenger)


def test_ouyang_turns_too():
    assert critical_data(ouyang2024.law, N=8e9, P_post=3).tokens == pytest.approx(
        critical_data(ouyang2024, N=8e9, P_post=3).tokens
    )


def test_rise_is_the_last_rise():
    x = np.arange(5.0)
    assert rise(x, np.array([-1.0, 1.0, -1.0, 1.0, 2.0])) == 2.5
    assert rise(x, np.array([1.0, 1.0, 1.0, 1.0, 1.0])) == -np.inf
    assert rise(x, np.array([1.0, 1.0, 1.0, 1.0, 0.0])) == np.inf
