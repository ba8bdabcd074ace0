"""Loss curves: means and errors by hand, equal shares of any run, an exact round trip, and refusals by line."""

import numpy as np
import pytest

from simlaw.errors import SimlawError
from simlaw.losscurves import LossCurves, curve_of, make_curves, read_curves
from tests.planted import planted


def history(steps: int, seed: int = 0) -> np.ndarray:
    return (2.0 + np.random.default_rng(seed).random(steps)).astype(np.float32)


def test_a_place_is_the_mean_of_its_window_with_its_error():
    losses = history(1000)
    curve = curve_of("r", losses, batch_tokens=128)
    assert (curve.step[0], curve.step[-1], curve.tokens[-1]) == (1, 1000, 128_000)
    assert 55 <= len(curve.step) <= 64
    assert (curve.tokens == curve.step * 128).all()
    assert curve.window[-1] == round(1000 / 64)
    early = int(np.flatnonzero(curve.step >= 20)[0])
    assert curve.window[early] == round(curve.step[early] / 4)
    for step, window, loss, error in zip(curve.step, curve.window, curve.loss, curve.loss_se, strict=True):
        part = losses[step - window : step].astype(np.float64)
        assert loss == pytest.approx(part.sum() / window, rel=1e-5)
        if window == 1:
            assert np.isnan(error)
        else:
            square = np.sum((part - part.mean()) ** 2) / (window - 1) / window
            assert error == pytest.approx(np.sqrt(square), rel=1e-2)


def test_runs_of_any_length_have_the_same_shares():
    short, long = (curve_of("r", history(steps), 1) for steps in (2**10 * 31, 2**14 * 31))
    np.testing.assert_allclose(short.step / short.step[-1], long.step / long.step[-1], rtol=0.02)
    np.testing.assert_allclose(short.window / short.step[-1], long.window / long.step[-1], rtol=0.2)


def test_a_run_of_one_step_has_a_curve_of_one_place():
    curve = curve_of("r", history(1), 64)
    assert (curve.step.tolist(), curve.window.tolist()) == ([1], [1])


def test_what_diverged_has_no_curve():
    losses = history(20)
    losses[7] = np.inf
    with pytest.raises(SimlawError, match=r"run r has a loss of inf at step 7: leave out what diverged"):
        curve_of("r", losses, 64)


def test_a_file_gives_back_the_same_curves(tmp_path):
    curves = make_curves([curve_of("b", history(50), 64), curve_of("a", history(7), 64)])
    curves.write(tmp_path / "curves.csv")
    back = read_curves(tmp_path / "curves.csv")
    assert [curve.run_id for curve in back] == ["a", "b"]
    assert back.to_csv() == curves.to_csv() == (tmp_path / "curves.csv").read_text()
    for mine, theirs in zip(curves, back, strict=True):
        for name in ("step", "tokens", "window", "loss", "loss_se"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))


def test_merging_keeps_each_run_once_and_ones_own_first():
    mine, other = (
        make_curves([curve_of(run, history(9, seed), 64) for run in runs]) for seed, runs in enumerate(("ab", "bc"))
    )
    both = mine.merged(other)
    assert [curve.run_id for curve in both] == ["a", "b", "c"]
    assert both.by_run["b"] is mine.by_run["b"]
    table = planted(sizes=(6656,), tokens=(327_680,), seeds=1, bits=())
    kept = make_curves([curve_of("6656-0-327680", history(9), 64), curve_of("x", history(9), 64)]).of(table)
    assert [curve.run_id for curve in kept] == ["6656-0-327680"]
    assert len(LossCurves()) == 0


def test_a_file_that_is_none_is_refused_by_line(tmp_path):
    path = tmp_path / "curves.csv"
    with pytest.raises(SimlawError, match=r"there are no curves at .*: `simlaw table SWEEP --write` writes them"):
        read_curves(path)
    head = "run_id,step,tokens,window,loss,loss_se\n"
    for text, said in [
        ("run_id,step\n", r"lacks the column 'tokens'"),
        (head + "r,1,64,1,2.5,\nr,two,128,1,2.4,\n", r"line 3: invalid literal .*'two'; mend the line"),
        (head + "r,1,64\n", r"line 2: .*; mend the line"),
        (head + "r,2,64,1,2.5,\nr,1,128,1,2.4,\n", r"line 3: step 1 with loss 2.4 comes after step 2"),
        (head + "r,2,64,1,nan,\n", r"line 2: step 2 with loss nan"),
    ]:
        path.write_text(text)
        with pytest.raises(SimlawError, match=said):
            read_curves(path)
