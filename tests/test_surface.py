"""The surface of decisions: one estimate, one ensemble, whichever way a law and its penalty are given."""

from dataclasses import replace

import numpy as np
import pytest

from simlaw.decision.surface import surface_of
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.law import QuantizedLaw
from simlaw.laws import Chinchilla, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import besiroglu2024, kumar2024, ouyang2024
from tests.planted import planted

TABLE = planted(log_loss=0.003, relative=0.1, token=1e-4, seeds=6)
LOSSES = loss_observations(TABLE)
WEIGHTS = trunk_weights(LOSSES.trunk, LOSSES.x["N"], draws=60)
BASE = replace(fit(Chinchilla, LOSSES, WEIGHTS, starts=4), misfit=0.02)
PENALTY = replace(fit(StepPenalty, penalty_observations(TABLE), WEIGHTS, starts=4), misfit=0.3)
N, D, BITS = np.array([1e4, 5e4, 5e4]), np.array([1e6, 3e6, 3e6]), np.array([4.0, 3.0, np.inf])


def test_two_fits_are_one_surface_however_they_are_given():
    one, other = surface_of(BASE, PENALTY), surface_of(QuantizedFit(base=BASE, penalty=PENALTY))
    assert (one.ensemble(N, D, BITS) == other.ensemble(N, D, BITS)).all()
    assert (one.ranges, one.law, one.rows, one.counts) == (other.ranges, other.law, True, "params_blocks")
    assert one.precisions == other.precisions == ("P_post",)


@pytest.mark.parametrize("penalty", [None, PENALTY.law, PENALTY], ids=["none", "a law", "a fit"])
def test_the_error_of_the_form_of_the_loss_is_in_every_ensemble(penalty):
    bits = np.inf if penalty is None else BITS
    with_error, without = (surface_of(replace(BASE, misfit=m), penalty).ensemble(N, D, bits) for m in (0.2, 0.0))
    spread = np.std(with_error / without, axis=0)
    assert (spread > 0.1).all()
    assert (spread < 0.3).all()


def test_the_error_of_a_penalty_is_in_the_ensemble_of_a_law_without_any():
    found = surface_of(besiroglu2024, replace(PENALTY, misfit=0.5)).ensemble(N, D, BITS)
    added = found - besiroglu2024.loss(N=N, D=D)
    assert np.std(np.log(added[:, :2]), axis=0) == pytest.approx([0.5, 0.5], rel=0.3)
    assert (added[:, 2] == 0).all()


def test_without_errors_the_ensemble_is_the_law_of_the_draws():
    exact = surface_of(replace(BASE, misfit=0.0), replace(PENALTY, misfit=0.0))
    assert exact.ensemble(N, D, BITS) == pytest.approx(exact.draws.loss(N=N, D=D, P_post=BITS))
    assert exact.loss(N, D, BITS) == pytest.approx(exact.law.loss(N=N, D=D, P_post=BITS))


def test_between_whole_bits_errors_are_joined_and_do_not_jump():
    found = surface_of(besiroglu2024, replace(PENALTY, misfit=0.5))
    bits = np.array([3.999, 4.0, 4.001])
    added = found.ensemble(1e5, 1e6, bits) / found.draws.loss(N=1e5, D=1e6, P_post=bits)
    assert np.ptp(added, axis=1).max() < 1e-3


def test_a_law_that_is_no_fit_has_no_ensemble():
    found = surface_of(kumar2024)
    assert (found.draws, found.rows, found.counts) == (None, False, "non-embedding")
    assert found.precisions == ("P_w", "P_a", "P_kv", "P_post")
    with pytest.raises(SimlawError, match="without draws nobody knows what is uncertain"):
        found.ensemble(N, D, BITS)


def test_the_rows_of_a_fitted_penalty_bound_the_bits_of_any_law():
    assert surface_of(besiroglu2024.law, PENALTY).ranges["P_post"] == (3, 8)
    assert surface_of(besiroglu2024, PENALTY).ranges["N"] == besiroglu2024.ranges["N"]


@pytest.mark.parametrize(
    ("law", "penalty", "sentence"),
    [
        (kumar2024, PENALTY.law, "the law has a penalty of its own: leave penalty=… out"),
        (kumar2024.law, PENALTY, "the law has a penalty of its own: leave penalty=… out"),
        (ouyang2024, PENALTY, "the law has a penalty of its own: leave penalty=… out"),
        (QuantizedLaw(base=BASE.law, penalty=PENALTY.law), PENALTY, "the law has a penalty of its own"),
        (QuantizedFit(base=BASE, penalty=PENALTY), PENALTY, "the law has a penalty of its own"),
        (BASE, BASE, "Chinchilla is no law of the penalty: give one"),
        (PENALTY, None, "StepPenalty is no law of the loss: give one"),
        (BASE, replace(PENALTY, health="COLLAPSED"), "the fit of StepPenalty is COLLAPSED"),
        (replace(BASE, misfit=np.inf), PENALTY, "a decision needs more cells than a law has parameters"),
        (
            BASE,
            replace(PENALTY, draws=StepPenalty(**{k: v[:9] for k, v in PENALTY.draws.values.items()})),
            "the fits have 9 and 60 draws, which pair no trunks",
        ),
    ],
)
def test_what_makes_no_surface_is_refused(law, penalty, sentence):
    with pytest.raises(SimlawError, match=sentence):
        surface_of(law, penalty)
