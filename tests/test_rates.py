"""Best rates from planted parabolas: the optimum is found within its interval, and what is not bracketed is said."""

import json
import random

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from simlaw.cli import cli
from simlaw.cli.figure import draw
from simlaw.declared import digest
from simlaw.errors import SimlawError
from simlaw.fitting.uncertainty import student
from simlaw.plot import plot_best_rates, plot_given_away, plot_rate_curves
from simlaw.rates.best import lowest
from simlaw.rates.rule import surprise
from simlaw.rates.study import rate_study
from simlaw.recipe import AtBits, RateRule
from simlaw.schema import KINDS
from simlaw.table import Table, make_table
from tests.conftest import ROOT

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
PRESENT = RateRule(rate=0.015, width=32, exponent=-0.8)
#: Nats per squared ln rate.
CURVATURE = 0.03
SMALL = 655_360


def swept(
    *sizes: dict[str, object],
    best: RateRule = PRESENT,
    noise: float = 0.001,
    seed: int = 0,
    curve=lambda away: CURVATURE * away**2,
) -> Table:
    """A table of sizes at five rates; `best` is the planted optimum, `noise` the spread of ln loss between trunks.

    Each size is a dictionary of its width and what differs from three seeds, `SMALL` tokens, no quantization and no
    muP, under which the planted optimum is the same at all widths; `factor` is on its optimum, runs at the multiples
    `diverged` have no loss.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for one in sizes:
        size = {"seeds": 3, "tokens": SMALL, "bits": None, "mup": None, "factor": 1.0, "diverged": (), **one}
        width = size["width"]
        present = PRESENT.rate if size["mup"] else PRESENT.at(width)
        optimum = size["factor"] * (best.rate if size["mup"] else best.at(width))
        for s in range(size["seeds"]):
            shared = 0.02 * rng.normal()
            for multiple in MULTIPLES:
                away = np.log(present * multiple / optimum)
                loss = (2.5 - 0.1 * np.log(width) + curve(away)) * np.exp(shared + noise * rng.normal())
                gone = multiple in size["diverged"] and s == 0
                name = digest((width, size["tokens"], size["bits"], size["mup"], float(multiple), s))
                rows.append(
                    {
                        **dict.fromkeys(KINDS),
                        "run_id": name,
                        "eval_id": name,
                        "trunk_id": name,
                        "status": "diverged" if gone else "done",
                        "width": width,
                        "layers": 2,
                        "tokens": size["tokens"],
                        "params_blocks": 26 * width**2,
                        "seed": s,
                        "peak_rate": present * multiple,
                        "rate_multiple": multiple,
                        "train_weights_bits": size["bits"],
                        "mup_base_width": size["mup"],
                        "loss": None if gone else float(loss),
                    }
                )
    return make_table(rows)


FOUR = tuple({"width": width} for width in (16, 32, 64, 128))


def test_the_minimum_of_a_parabola_is_exact_at_uneven_places():
    x = np.array([-3.0, -1.0, -0.5, 1.5, 2.0])
    centres = np.array([-1.2, -0.6, 0.3, 0.8])
    at, low, half = lowest(x, 1.0 + 0.7 * (x[None] - centres[:, None]) ** 2)
    np.testing.assert_allclose(at, centres, rtol=0, atol=1e-14)
    np.testing.assert_allclose(low, 1.0, rtol=1e-14)
    np.testing.assert_allclose(half, 0.7, rtol=1e-14)


def test_a_minimum_at_an_end_is_infinite():
    x = np.arange(4.0)
    at, low, _ = lowest(x, np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]))
    assert at.tolist() == [-np.inf, np.inf]
    assert low.tolist() == [1.0, 1.0]


def test_intervals_hold_the_planted_truth_as_often_as_they_say():
    best = RateRule(rate=0.021, width=32, exponent=-0.6)
    held = {"rate": [], "exponent": [], "factor": [], "given": []}
    sizes = (*FOUR, *({"width": w, "bits": 2, "factor": 0.6} for w in (16, 32, 64)))
    for seed in range(100):
        study = rate_study(swept(*sizes, best=best, noise=0.0015, seed=seed), draws=200)
        for one in study.best:
            truth = best.at(one.kind.width) * (0.6 if one.kind.bits else 1.0)
            lost = CURVATURE * np.log(one.present / truth) ** 2
            if one.interval:
                held["rate"].append(one.interval[0] <= truth <= one.interval[1])
            if one.given_interval:
                held["given"].append(one.given_interval[0] <= lost <= one.given_interval[1])
        low, high = study.line.interval
        held["exponent"].append(low <= best.exponent <= high)
        low, high = study.factors[0].interval
        held["factor"].append(low <= 0.6 <= high)
    shares = {name: np.mean(each) for name, each in held.items()}
    assert len(held["rate"]) > 0.95 * 700
    # 90 % intervals; one standard error of the shares is 0.011 of 700, 0.03 of 100
    assert 0.87 < shares["rate"] < 0.98, shares
    assert shares["given"] > 0.87, shares
    assert shares["exponent"] > 0.83, shares
    assert shares["factor"] > 0.83, shares


def test_the_rule_is_the_planted_one_and_its_text_is_python():
    best = RateRule(rate=0.02, width=32, exponent=-0.6)
    bits = ({"width": w, "bits": b, "factor": f} for w in (16, 32, 64) for b, f in ((4, 1.0), (3, 0.7), (2, 0.5)))
    study = rate_study(swept(*FOUR, *bits, best=best, noise=2e-4))
    assert study.health == "VALID"
    rule = eval(study.rule, {"RateRule": RateRule, "AtBits": AtBits})
    assert rule.at(32) == pytest.approx(0.02, rel=0.03)
    assert rule.exponent == pytest.approx(-0.6, abs=0.02)
    assert [each.bits for each in rule.at_bits] == [2, 3, 4]
    assert [each.multiple for each in rule.at_bits[:2]] == pytest.approx([0.5, 0.7], rel=0.03)
    assert rule.at_bits[2].multiple == 1.0  # not told from 1, and there to end the factor of three bits
    assert [one.told_apart for one in study.factors] == [False, True, True]
    assert study.present_exponent == pytest.approx(-0.8, abs=1e-4)
    assert "The exponent is another than the present rule's -0.8" in str(study)


def test_without_factors_the_text_has_none():
    study = rate_study(swept(*FOUR, *({"width": w, "bits": 4} for w in (16, 32)), noise=2e-4))
    assert "at_bits" not in study.rule
    assert eval(study.rule, {"RateRule": RateRule}).at(32) == pytest.approx(0.015, rel=0.05)
    assert "not told from the present rule's -0.8" in str(study)


def test_what_the_present_rule_gives_away_is_the_height_of_the_parabola_there():
    best = RateRule(rate=0.015 * np.exp(0.5), width=32, exponent=-0.8)
    for one in rate_study(swept(*FOUR, best=best, noise=1e-4)).best:
        assert one.given_away == pytest.approx(CURVATURE * 0.25, abs=5e-4)
        assert one.given_interval[0] > 0
        assert one.curvature == pytest.approx(CURVATURE, rel=0.1)


def test_where_the_present_rate_may_be_the_best_it_may_give_away_nothing():
    for one in rate_study(swept(*FOUR, noise=1e-3)).best:
        if one.interval[0] <= one.present <= one.interval[1]:
            assert one.given_interval[0] == 0.0


@pytest.mark.parametrize(("factor", "end"), [(8.0, "highest rate, 0.06"), (1 / 8, "lowest rate, 0.00375")])
def test_a_best_rate_beyond_the_rates_is_said_not_extrapolated(factor, end):
    study = rate_study(swept(*FOUR[:1], {"width": 32, "factor": factor}, *FOUR[2:]))
    one = study.best[1]
    assert (one.health, one.rate, one.interval, one.loss) == ("AT_EDGE", None, None, None)
    assert end in one.sentence
    assert one.given_interval[1] == np.inf  # at least what the end of the rates is better
    assert study.health == "PARTIAL"
    assert study.line.widths == (16, 64, 128)
    assert "not bracketed" in str(study)
    assert "or more" in str(study)


def test_a_best_rate_near_an_end_is_unknown_where_noise_may_put_it_beyond():
    study = rate_study(swept({"width": 16}, {"width": 32, "factor": 2.8}, {"width": 64}, noise=0.006))
    assert study.best[1].health == "AT_EDGE"
    assert "of the draws have the lowest loss at the highest rate" in study.best[1].sentence


def test_a_rate_at_which_a_run_diverged_is_an_end_and_no_number():
    study = rate_study(swept(*FOUR[:1], {"width": 32, "factor": 1.5, "diverged": (2.0,)}, *FOUR[2:]))
    one = study.best[1]
    assert one.health == "AT_EDGE"
    assert "at the highest rate, 0.015, for 0.03 diverges" in one.sentence
    assert np.isnan(one.losses[3:]).all()  # nor is what lies beyond a divergence trusted
    known = rate_study(swept(*FOUR[:1], {"width": 32, "diverged": (4.0,)}, *FOUR[2:])).best[1]
    assert known.health == "VALID"
    gone = rate_study(swept(*FOUR[:1], {"width": 32, "diverged": MULTIPLES}, *FOUR[2:])).best[1]
    assert (gone.health, gone.given_away) == ("AT_EDGE", None)


def test_a_flat_curve_and_one_that_falls_again_are_not_convex():
    flat = rate_study(swept(*FOUR, curve=np.zeros_like, noise=0.003))
    assert all(one.health != "VALID" for one in flat.best)
    assert (flat.health, flat.rule) == ("NO_RULE", None)
    basin = rate_study(swept(*FOUR, curve=lambda away: 0.1 * (abs(away) > 1.2), noise=0.003))
    assert [one.sentence for one in basin.best].count("the curve is flat within noise") == 3
    wide = basin.best[1].interval  # its lowest is at the rim of the basin: bracketed, and anywhere in it
    assert np.log(wide[1] / wide[0]) > np.log(2)
    again = rate_study(swept(*FOUR, curve=lambda away: CURVATURE * away**2 - 0.05 * (away > 1.2), noise=3e-4))
    assert {one.health for one in again.best} == {"NOT_CONVEX"}
    assert "it falls again between 0.0522 and 0.104" in again.best[0].sentence


def test_the_order_of_rows_changes_nothing():
    table = swept(*FOUR, {"width": 32, "bits": 3, "factor": 0.8}, {"width": 32, "mup": 32})
    rows = list(table.rows)
    random.Random(1).shuffle(rows)
    assert json.dumps(rate_study(Table(rows=tuple(rows))).json) == json.dumps(rate_study(table).json)


def test_mup_that_keeps_the_rate_has_exponent_0_and_the_standard_one_has_not():
    study = rate_study(swept(*FOUR, *({"width": w, "mup": 32, "seeds": 2} for w in (16, 32, 64, 128))))
    ((base, line),) = study.mup
    assert base == 32
    assert line.interval[0] <= 0 <= line.interval[1]
    assert line.error < 0.1
    assert study.line.interval[1] < -0.6
    assert "which does not tell it from perfect transfer" in " ".join(study.notes)
    spoilt = rate_study(swept(*FOUR, {"width": 32, "mup": 32, "factor": 3.0}))
    assert "gives away most at" in spoilt.notes[0]
    assert "muP" not in spoilt.notes[0]  # whose rule is another one


def test_more_tokens_are_a_factor_of_their_own():
    sizes = (*FOUR, *({"width": w, "tokens": 4 * SMALL, "factor": 0.7, "seeds": 2} for w in (16, 32)))
    study = rate_study(swept(*sizes, noise=3e-4))
    assert study.tokens == SMALL
    assert study.line.widths == (16, 32, 64, 128)
    assert study.data[0].multiple == pytest.approx(0.7, rel=0.05)
    assert study.data[0].told_apart


def test_widths_off_the_line_stretch_its_errors_and_the_largest_is_foretold():
    off = rate_study(swept(*FOUR[:3], {"width": 128, "factor": 2.0}, noise=3e-4))
    on = rate_study(swept(*FOUR, noise=3e-4))
    assert off.line.error > 5 * on.line.error
    assert "more than noise" in str(off)
    assert "does not agree" in str(off)
    assert "agrees" in str(on)
    assert "does not agree" not in str(on)


def test_a_size_of_one_seed_has_the_noise_of_the_others():
    study = rate_study(swept(*FOUR[:3], {"width": 128, "seeds": 1}))
    three, one = study.best[2], study.best[3]
    np.testing.assert_allclose(one.errors / one.losses, np.sqrt(3) * three.errors / three.losses, rtol=1e-12)
    wide, narrow = (np.log(each.interval[1] / each.interval[0]) for each in (one, three))
    assert 1.3 * narrow < wide < 3 * narrow


def test_what_no_seed_tells_is_refused():
    for table, sentence in [
        (swept({"width": 16, "seeds": 1}), "no size has 3 rates with two seeds"),
        (swept({"width": 16}, noise=0.0), "there is no noise to judge by"),
        (swept(*FOUR).where(lambda row: row["rate_multiple"] == 1), "no size was trained at several rates"),
    ]:
        with pytest.raises(SimlawError, match=sentence):
            rate_study(table)
    elsewhere = rate_study(swept(*FOUR).where(lambda row: row["rate_multiple"] != 1))
    assert all(one.given_away is None for one in elsewhere.best)
    torn = swept(*FOUR).where(lambda row: (row["seed"] == 0) == (row["rate_multiple"] == 4))
    with pytest.raises(SimlawError, match="no seed was trained at every rate of width 16"):
        rate_study(torn)
    mixed = Table(rows=tuple({**row, "dtype": "float32" if row["seed"] else "bfloat16"} for row in swept(*FOUR)))
    with pytest.raises(SimlawError, match="differ in dtype"):
        rate_study(mixed)


def test_the_tail_of_chi_squared_agrees_with_its_table():
    # Abramowitz and Stegun, table 26.8: the points that 5 % lie beyond
    for freedom, point in [(1, 3.841), (2, 5.991), (3, 7.815), (10, 18.307)]:
        assert surprise(point, freedom) == pytest.approx(0.05, abs=0.004)
    assert student(10**6) == pytest.approx(1.645, abs=1e-3)


def test_the_command_prints_the_study_and_writes_it_beside_the_table(tmp_path, monkeypatch):
    folder = tmp_path / "sweeps" / "rates"
    folder.mkdir(parents=True)
    (folder / "sweep.py").write_text((ROOT / "sweeps" / "learning_rate" / "sweep.py").read_text())
    table = swept(*FOUR, {"width": 32, "bits": 3, "factor": 0.6}, {"width": 32, "factor": 9.0, "mup": 32})
    table.write(folder / "table.csv")
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(cli, ["rates", "sweeps/rates/table.csv", "--write"])
    assert said.exit_code == 0, said.output
    study = rate_study(table)
    assert said.output.startswith(f"{study}\n")
    assert said.output.startswith("RateRule: PARTIAL (5 of 6 best rates lie between the rates that were run; width 32")
    written = json.loads((folder / "rates.json").read_text())
    assert {key: written[key] for key in ("rule", "health")} == {"rule": study.rule, "health": "PARTIAL"}
    assert len(written["table_sha256"]) == 64
    shown = CliRunner().invoke(cli, ["rates", "sweeps/rates/table.csv", "--json"])
    assert {**json.loads(shown.stdout), "table_sha256": written["table_sha256"]} == written
    chosen = CliRunner().invoke(cli, ["rates", "sweeps/rates/table.csv", "--where", "mup_base_width="])
    assert chosen.output.startswith("RateRule: VALID")
    (tmp_path / "alone.csv").write_text((folder / "table.csv").read_text())
    refused = CliRunner().invoke(cli, ["rates", "alone.csv", "--write"])
    assert refused.exit_code == 2
    assert "has no rates.json" in refused.stderr


def test_the_figure_shows_every_best_rate_and_is_the_same_bytes_again(tmp_path):
    sizes = (
        *FOUR,
        {"width": 32, "bits": 2, "factor": 0.6},
        {"width": 64, "bits": 2, "factor": 9.0, "diverged": (4.0,)},
    )
    table = swept(*sizes, noise=2e-3)
    study = rate_study(table)
    ax = Figure().subplots()
    plot_best_rates(study, ax)
    bars = [bar[0].get_ydata() for bar in ax.containers]
    known = sorted(one.rate for one in study.best if one.rate)
    assert sorted(np.concatenate(bars)) == known
    ends = [each.get_ydata()[0] for each in ax.lines if each.get_marker() == "^" and len(each.get_ydata()) == 1]
    assert ends == pytest.approx([PRESENT.at(64) * 2])  # up to where nothing diverged
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "best peak learning rate")
    ax = Figure().subplots()
    plot_rate_curves(study.sizes, study.line, ax)
    drawn = [point for bar in ax.containers for point in zip(*bar[0].get_data(), strict=True)]
    assert drawn == [pair for one in study.sizes for pair in zip(one.rates, one.losses, strict=True)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("peak learning rate", "loss (nats per token)")
    ax = Figure().subplots()
    plot_given_away(study, ax)
    heights = [float(bar[0].get_ydata()[0]) for bar in ax.containers]
    assert heights == [one.given_away for one in study.best if one.given_away is not None]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["16 bit", "int2"]
    first, again = (
        [
            path.read_bytes()
            for path in draw("learning_rate", None, table, tmp_path / name, analysis=none, curves=none, beside=none)
        ]
        for name in ("a", "b")
    )
    assert first == again


def none():
    raise AssertionError("the figure of learning rates takes the table alone")
