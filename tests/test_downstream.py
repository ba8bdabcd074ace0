"""The error rate from the loss: fitted like every law, composed with one of size and data."""

from dataclasses import replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.errors import SimlawError
from simlaw.laws import Downstream, ErrorLaw, Overtrained
from simlaw.published import gadre2024, kumar2024

TRUTH = Downstream(chance=0.2, k=4.0, gamma=0.9)
LOSS = np.linspace(2.2, 5.0, 15)


def accuracies(noise=0.0, seed=0):
    share = TRUTH.accuracy(L=LOSS) * np.exp(noise * np.random.default_rng(seed).normal(size=len(LOSS)))
    return sl.load_table({"L": LOSS, "accuracy": share}, L="L", loss="accuracy")


def test_the_error_is_gadres_form():
    eps = 1 - TRUTH.chance
    assert np.allclose(TRUTH.error(L=LOSS), eps - TRUTH.k * np.exp(-TRUTH.gamma * LOSS), rtol=1e-14)
    assert np.allclose(TRUTH.error(L=LOSS) + TRUTH.accuracy(L=LOSS), 1, rtol=1e-14)
    assert TRUTH.error(L=100.0) == pytest.approx(eps)
    assert np.all(np.diff(TRUTH.error(L=LOSS)) > 0)


def test_planted_numbers_come_back():
    found = sl.fit(Downstream, accuracies(), bootstrap=0)
    assert found.health == "VALID"
    for name, value in TRUTH.values.items():
        assert getattr(found.law, name) == pytest.approx(value, rel=1e-6)


def test_least_squares_of_the_error_is_that_of_the_accuracy():
    # Gadre et al. minimise squares of Err itself, which are those of 1 - Err
    seen = accuracies(noise=0.01)
    found = sl.fit(Downstream, seen, objective="nats", bootstrap=0)
    assert found.health == "VALID"

    def squares(law):
        return np.sum((law.error(L=LOSS) - (1 - seen.y)) ** 2)

    for name, value in found.law.values.items():
        for factor in (0.999, 1.001):
            assert squares(replace(found.law, **{name: value * factor})) > squares(found.law), name
    assert squares(found.law) < squares(TRUTH)


def test_errors_of_the_fit_hold_the_truth():
    found = sl.fit(Downstream, accuracies(noise=0.01), bootstrap=200)
    assert found.health == "VALID"
    for name, value in TRUTH.values.items():
        assert abs(getattr(found.law, name) - value) < 3 * found.error[name], name
    drawn = found.draws.error(L=LOSS)
    assert drawn.shape == (200, 15)
    assert np.all(np.abs(found.law.error(L=LOSS) - TRUTH.error(L=LOSS)) < 4 * drawn.std(axis=0))


def test_a_fit_is_saved_and_loaded(tmp_path):
    found = sl.fit(Downstream, accuracies(), bootstrap=0)
    found.save(tmp_path / "law.json")
    assert sl.load_law(tmp_path / "law.json").law == found.law


def test_size_and_data_lead_to_errors_through_the_loss():
    law = ErrorLaw(base=gadre2024.law, downstream=TRUTH)
    n, d = np.array([1e8, 1e9]), np.array([2e9, 2e10])
    assert np.array_equal(law.error(N=n, D=d), TRUTH.error(L=gadre2024.loss(N=n, D=d)))
    assert np.all(np.diff(law.error(N=n, D=d)) < 0)
    after = ErrorLaw(base=kumar2024.law, downstream=TRUTH)
    assert after.error(N=1e8, D=1e10, P_post=3) > after.error(N=1e8, D=1e10)


def test_draws_of_the_loss_are_draws_of_the_error():
    base = Overtrained(E=np.array([1.8, 1.9]), a=166.0, b=367.0, eta=0.27)
    law = ErrorLaw(base=base, downstream=TRUTH)
    assert law.error(N=1e9, D=[1e10, 1e11, 1e12]).shape == (2, 3)
    assert np.all(law.error(N=1e9, D=1e11)[1] > law.error(N=1e9, D=1e11)[0])


def test_refusals():
    with pytest.raises(SimlawError, match="Downstream is no law of the loss: give one"):
        sl.allocate(TRUTH, flops=1e20)
    with pytest.raises(SimlawError, match="Overtrained needs D: it takes N, D"):
        ErrorLaw(base=gadre2024.law, downstream=TRUTH).error(N=1e9)
