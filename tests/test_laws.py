"""Laws: published values to stated digits, slopes by complex step, refusals of wrong variables."""

import math

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.law import QuantizedLaw
from simlaw.laws import Chinchilla, ExponentialPenalty, PowerPenalty, PrecisionExponential, StepPenalty
from simlaw.published import kumar2024

#: Where each form is checked, away from the floors of its factors.
POINTS = {
    Chinchilla: ({"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}, {}),
    ExponentialPenalty: ({"C_T": 0.06, "gD": 0.5, "gN": 0.34, "g_post": 0.59}, {"P_post": 4.0}),
    PowerPenalty: ({"C_T": 0.02, "gD": 0.5, "gN": 0.23, "g_post": 5.5}, {"P_post": 3.0}),
    StepPenalty: ({"C_T": 0.02, "gD": 0.5, "gN": 0.23}, {"P_post": 5.0}),
    PrecisionExponential: (
        {name: float(value) for name, value in kumar2024.values.items()},
        {"P_w": 4.0, "P_a": 6.0, "P_kv": 5.0, "P_post": 4.0},
    ),
}


@pytest.mark.parametrize("form", POINTS, ids=lambda form: form.__name__)
def test_slopes_agree_with_a_complex_step(form):
    values, extra = POINTS[form]
    x = {"N": np.array([3e7, 2e8]), "D": np.array([1e9, 2e10]), **extra}
    law = form(**values)
    log, slopes = law.log_slopes(x)
    assert np.allclose(np.exp(log), law.evaluate(x), rtol=1e-14)
    for i, (name, parameter) in enumerate(form.parameters().items()):
        step = 1e-30j
        moved = values[name] * np.exp(step) if parameter.scale == "log" else values[name] + step
        p = {**{k: np.asarray(v) for k, v in values.items()}, name: np.asarray(moved)}
        filled = {k: np.asarray(v, float) for k, v in {**form.takes, **x}.items()}
        total = sum(np.exp(sum(f.log(p, filled) for f in term)) for term in form.terms)
        assert np.allclose(slopes[:, i], np.imag(np.log(total)) / 1e-30, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize(
    ("n", "expected"), [(30e6, (4.101, 3.851, 3.720)), (220e6, (3.577, 3.327, 3.197))], ids=["30M", "220M"]
)
def test_kumar_loss_of_bf16(n, expected):
    assert kumar2024.loss(N=n, D=[1.5e9, 6e9, 26e9]).round(3).tolist() == list(expected)


@pytest.mark.parametrize(
    ("n", "expected"), [(30e6, (0.5858, 0.1078, 0.0198)), (220e6, (0.2952, 0.0543, 0.0100))], ids=["30M", "220M"]
)
def test_kumar_penalty_with_its_offset(n, expected):
    penalty = kumar2024.loss(N=n, D=26e9, P_post=[3, 4, 5]) - kumar2024.loss(N=n, D=26e9)
    assert penalty.round(4).tolist() == list(expected)


def share(**bits):
    """N_eff / N at some training precisions, from the law itself."""
    alone = kumar2024.loss(N=1e7, D=1e300, **bits) - kumar2024.E
    return (alone / (kumar2024.loss(N=1e7, D=1e300) - kumar2024.E)) ** (-1 / kumar2024.alpha)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (4, (0.6964, 0.3314, 0.8276, 0.1910)),
        (6, (0.8563, 0.7295, 0.9786, 0.6113)),
        (8, (0.9320, 0.8906, 0.9974, 0.8278)),
    ],
)
def test_kumar_effective_shares(bits, expected):
    found = (share(P_w=bits), share(P_a=bits), share(P_kv=bits), share(P_w=bits, P_a=bits, P_kv=bits))
    assert [round(float(x), 4) for x in found] == list(expected)


def test_kumar_best_tied_precision_is_7_bits_because_offsets_are_added():
    bits = np.linspace(3, 16, 130_001)
    assert bits[np.argmax(share(P_w=bits, P_a=bits, P_kv=bits) / bits)] == pytest.approx(7.002, abs=5e-4)


def test_kumar_activations_at_3_bits_are_held_at_the_floor():
    # the published share is -0.051 there, which is where training diverges
    assert float(share(P_a=3)) == pytest.approx(1e-3)


def test_infinite_bits_are_no_quantization():
    assert kumar2024.loss(N=3e7, D=1e9) == kumar2024.loss(N=3e7, D=1e9, P_w=math.inf, P_post=math.inf)
    for form in (ExponentialPenalty, PowerPenalty, StepPenalty):
        assert form(**POINTS[form][0]).penalty(N=1e6, D=1e8, P_post=math.inf) == 0


def test_the_step_law_has_the_ratios_of_the_grid():
    law = StepPenalty(C_T=1.0, gD=0.5, gN=0.3)
    three, four = law.penalty(N=1e6, D=1e8, P_post=[3, 4])
    assert three / four == pytest.approx((7 / 3) ** 2, rel=1e-12)


def test_draws_come_first():
    law = Chinchilla(E=np.array([1.0, 2.0]), A=np.array([5.0, 5.0]), B=9.0, alpha=0.3, beta=0.4)
    assert law.loss(N=1e6, D=[1e7, 1e8, 1e9]).shape == (2, 3)
    assert law.loss(N=[[1e6], [1e7]], D=[1e7, 1e8, 1e9]).shape == (2, 2, 3)
    assert np.allclose(law.loss(N=1e6, D=1e8)[1] - law.loss(N=1e6, D=1e8)[0], 1)


def test_terms_of_very_different_size_do_not_overflow():
    law = Chinchilla(E=1e-300, A=1e300, B=1.0, alpha=5.0, beta=5.0)
    assert np.isfinite(law.loss(N=1.0, D=1e300))


def test_a_law_after_quantization_is_the_sum():
    law = QuantizedLaw(base=Chinchilla(**POINTS[Chinchilla][0]), penalty=StepPenalty(**POINTS[StepPenalty][0]))
    both = law.base.loss(N=1e6, D=1e8) + law.penalty.penalty(N=1e6, D=1e8, P_post=4)
    assert law.loss(N=1e6, D=1e8, P_post=4) == both
    assert law.loss(N=1e6, D=1e8) == law.base.loss(N=1e6, D=1e8)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"N": 1e6}, "Chinchilla needs D: it takes N, D"),
        ({"N": 1e6, "D": 1e8, "P_w": 4}, "Chinchilla takes no P_w: it takes N, D"),
        ({"N": [1e6, -3], "D": 1e8}, "N is -3: sizes, tokens and bits are above 0"),
        ({"N": math.nan, "D": 1e8}, "N is nan: sizes, tokens and bits are above 0"),
    ],
)
def test_refusals(variables, sentence):
    with pytest.raises(SimlawError, match=sentence):
        Chinchilla(**POINTS[Chinchilla][0]).loss(**variables)
