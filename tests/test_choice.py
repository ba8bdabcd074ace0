"""Choices by a law alone: brute force on published laws, verdicts in words, honest refusals."""

from dataclasses import replace

import numpy as np
import pytest

import simlaw as sl
from simlaw.decision.cache import Cache
from simlaw.decision.cost import BITS, FLOPS, H200, CostTable
from simlaw.decision.resources import TIED, WEIGHTS, Training
from simlaw.decision.shipped import INTEGERS, Shipped
from simlaw.errors import SimlawError
from simlaw.external import load_table
from simlaw.fitting.fit import fit
from simlaw.fitting.quantized import QuantizedFit
from simlaw.fitting.uncertainty import trunk_weights
from simlaw.laws import Chinchilla, PrecisionExponential, PrecisionWeights, StepPenalty
from simlaw.observations import loss_observations, penalty_observations
from simlaw.published import besiroglu2024, kumar2024, ouyang2024, quest2025
from tests.planted import planted

TABLE = planted(log_loss=0.003, relative=0.1, token=1e-4, seeds=6)
LOSSES, PENALTIES = loss_observations(TABLE), penalty_observations(TABLE)
TRUNKS = trunk_weights(LOSSES.trunk, LOSSES.x["N"], draws=200)
BASE, PENALTY = fit(Chinchilla, LOSSES, TRUNKS), fit(StepPenalty, PENALTIES, TRUNKS)


def test_every_format_gets_its_best_size():
    found = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19)
    for candidate in found.candidates:
        most = 82.5e6 * 8 / candidate.format.stored
        sizes = np.geomspace(most / 100, most, 5001)
        losses = kumar2024.loss(N=sizes, D=1.7e19 / 6 / sizes, **candidate.option.precisions)
        assert candidate.loss == pytest.approx(losses.min(), abs=2e-5)
        assert candidate.params <= most * (1 + 1e-12)
    assert [c.loss for c in found.candidates] == sorted(c.loss for c in found.candidates)
    assert found.candidates[0].format.name == "int5 g128"
    assert found.sentence.startswith("quantize N=129M in int5 g128, within 82.5 MB and 1.7e19 training FLOPs: 3.31")


def test_with_bytes_to_spare_nobody_needs_to_quantize():
    found = sl.decide(kumar2024, bytes=1e10, flops=1e19)
    assert found.sentence.startswith("train N=")
    assert " in bf16, within 10 GB" in found.sentence


def test_a_fit_and_its_penalty_decide_with_intervals():
    found = sl.decide(BASE, penalty=PENALTY, bytes=29e3, flops=1e12)
    assert sum(c.best for c in found.candidates) == pytest.approx(1)
    assert all(c.interval[0] <= c.loss <= c.interval[1] for c in found.candidates)
    assert "int2 g128" not in [c.format.name for c in found.candidates]  # no row has 2 bits
    assert found.identified
    assert "(90 % interval " in found.sentence


def test_what_cannot_be_told_apart_is_not_identified():
    alike = (Shipped(name="bf16", bits=np.inf, stored=7.25), Shipped(name="int4", bits=4, stored=4.0))
    found = sl.decide(BASE, penalty=PENALTY, bytes=12e3, flops=1e12, formats=alike)
    assert not found.identified
    assert found.sentence.startswith("not identified: within 12 kB and 1e12 training FLOPs, N=")


def test_a_sick_fit_decides_nothing():
    sick = replace(PENALTY, health="COLLAPSED", sentence="g_post ran to 0")
    found = sl.decide(BASE, penalty=sick, bytes=29e3, flops=1e12)
    assert (found.identified, found.candidates) == (False, ())
    assert found.sentence == "not identified: the fit of StepPenalty is COLLAPSED: g_post ran to 0."


@pytest.mark.parametrize(
    ("law", "changes", "sentence"),
    [
        (kumar2024, {"bytes": 0}, "bytes=0: it must be a number above 0"),
        (kumar2024, {"flops": -2}, "flops=-2: it must be a number above 0"),
        (
            besiroglu2024,
            {},
            "Chinchilla knows neither P_post nor P_w, so it cannot weigh formats: give penalty=…, or take",
        ),
        (kumar2024, {"flops": 1e26, "bytes": 1e13}, "the answer lies outside the rows of the fit in N by "),
        (kumar2024, {"flops": 1e3, "serve_tokens": 1e9}, "no model fits within 16 MB and 1e3 FLOPs of training and "),
        (
            ouyang2024,
            {"training": [WEIGHTS]},
            "JointPower + PowerPenalty does not know P_w, which training 'weights' sets",
        ),
        (besiroglu2024, {"penalty": BASE}, "Chinchilla is no law of the penalty: give one"),
        (ouyang2024, {"penalty": PENALTY}, "the law has a penalty of its own: leave penalty=… out"),
        (kumar2024, {"penalty": PENALTY.law}, "the law has a penalty of its own: leave penalty=… out"),
    ],
)
def test_refusals(law, changes, sentence):
    with pytest.raises(SimlawError) as caught:
        sl.decide(law, **{"bytes": 16e6, "flops": 1e18, **changes})
    assert str(caught.value).startswith(sentence)


def test_the_forms_own_error_widens_the_intervals():
    bare = sl.decide(replace(BASE, misfit=0.0), penalty=replace(PENALTY, misfit=0.0), bytes=29e3, flops=1e12)
    wide = sl.decide(replace(BASE, misfit=0.02), penalty=replace(PENALTY, misfit=0.2), bytes=29e3, flops=1e12)

    def width(found):
        return np.mean([c.interval[1] - c.interval[0] for c in found.candidates])

    assert width(wide) > 2 * width(bare)


def test_a_law_that_knows_training_precision_weighs_it():
    law = PrecisionWeights(E=2.0, A=400.0, B=400.0, alpha=0.34, beta=0.28, g_w=1.5, n_w=0.0)
    found = sl.decide(law, bytes=50e6, flops=1e19)
    assert {c.option.how for c in found.candidates} == {"no", "in training: weights"}
    for c in found.candidates:
        bits = {} if c.option.plain else {"P_w": c.format.bits}
        sizes = np.geomspace(1e5, 50e6 * 8 / c.format.stored, 5001)
        assert c.loss == pytest.approx(law.loss(N=sizes, D=1e19 / 6 / sizes, **bits).min(), abs=2e-5)
    assert found.sentence.startswith("train N=")
    after = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, training=())
    assert {c.option.how for c in after.candidates} == {"no", "after training"}


def test_the_rival_is_the_best_that_is_quantized_at_another_time():
    found = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19)
    rival = next(c for c in found.candidates if c.option.how != found.candidates[0].option.how)
    assert rival.option.how == "in training: weights"
    assert f"{rival.plan} loses by {rival.loss - found.candidates[0].loss:.4f}" in found.sentence
    assert " trained in int4 g128 loses by " in found.sentence


def test_cheap_low_precision_training_is_weighed_by_each_cost_table():
    found = sl.decide(kumar2024, flops=1e20, training=[TIED], cost=BITS, formats=INTEGERS)
    best = found.candidates[0]
    assert (best.format.bits, best.option.how) == (7, "in training: all")  # Kumar et al.: 7 to 8 bits
    assert 6 / 16 * best.params * best.tokens * 7 == pytest.approx(1e20)
    by = {one.cost: one for one in found.by_cost}
    assert list(by) == ["flops", "bits", "H200", "TPU-v6e"]
    assert (by["bits"].option, by["bits"].loss) == (best.option, best.loss)
    assert by["flops"].option.plain  # nothing is cheaper, so nothing is worth a loss
    assert by["H200"].option.format.name in ("bf16", "int8")
    assert "best by cost table" in str(found)
    mine = CostTable(name="mine", source="a test", train={"int4": 0.01})
    asked = sl.decide(kumar2024, flops=1e20, training=[TIED], cost=mine, formats=INTEGERS, force=True)
    assert asked.candidates[0].format.name == "int4"
    assert asked.by_cost[-1].cost == "mine"


def test_without_serving_or_cheap_training_costs_change_nothing():
    plain = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19)
    for cost in (BITS, H200):
        same = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, cost=cost)
        assert same.candidates == plain.candidates
        assert same.by_cost == ()
    assert sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, serve_tokens=0.0, cost=FLOPS).candidates == plain.candidates


def test_serving_shrinks_the_model_and_bits_that_are_cheap_to_serve_win():
    alone = sl.decide(kumar2024, flops=1e20, formats=INTEGERS)
    served = sl.decide(kumar2024, flops=1e20, serve_tokens=1e11, formats=INTEGERS)
    assert (alone.candidates[0].option.plain, served.candidates[0].option.plain) == (True, True)
    assert served.candidates[0].params < alone.candidates[0].params
    by_bits = sl.decide(kumar2024, flops=1e20, serve_tokens=1e11, formats=INTEGERS, cost=BITS)
    assert np.isfinite(by_bits.candidates[0].format.bits)
    assert by_bits.candidates[0].loss < served.candidates[0].loss


def test_a_cache_takes_bytes_from_the_weights():
    roomy = sl.decide(kumar2024, bytes=200e6, flops=1.7e19)
    shared = sl.decide(kumar2024, bytes=200e6, flops=1.7e19, cache=Cache(batch=1, context=1024))
    for c in shared.candidates:
        assert c.bytes <= 200e6 * (1 + 1e-9)
    size = {(c.format.name, c.option.how): c.params for c in roomy.candidates}
    assert all(c.params <= size[c.format.name, c.option.how] for c in shared.candidates)
    assert "of weights and cache (batch 1, context 1.02k)" in shared.sentence


def test_losses_do_not_depend_on_the_unit_of_size():
    # N -> 10 N, with A and C_T to match, moves every size tenfold and no loss; bytes and FLOPs are scaled alike
    law = kumar2024.law
    scaled = replace(law, A=law.A * 10**law.alpha, C_T=law.C_T * 10**law.gN)
    one = sl.decide(law, bytes=82.5e6, flops=1.7e19)
    ten = sl.decide(scaled, bytes=82.5e7, flops=1.7e20)
    assert [c.option for c in ten.candidates] == [c.option for c in one.candidates]
    assert [c.loss for c in ten.candidates] == pytest.approx([c.loss for c in one.candidates], abs=1e-9)
    assert [c.params for c in ten.candidates] == pytest.approx([10 * c.params for c in one.candidates])


def test_formats_that_tie_share_their_draws():
    eight = [one for one in sl.SHIPPED if one.name in ("bf16", "fp8", "int8")]
    found = sl.decide(BASE, penalty=PENALTY, bytes=29e3, flops=1e12, formats=eight)
    share = {c.format.name: c.best for c in found.candidates}
    assert share["fp8"] == share["int8"] > 0
    assert sum(share.values()) == pytest.approx(1)


def test_two_fits_decide_as_one():
    apart = sl.decide(BASE, penalty=PENALTY, bytes=29e3, flops=1e12)
    assert sl.decide(QuantizedFit(base=BASE, penalty=PENALTY), bytes=29e3, flops=1e12) == apart
    assert "left out: int2 g128, after training (2 bits are outside the P_post of 3 to 8 that was measured)" in str(
        apart
    ).replace("\n", " ")


def test_free_sizes_have_intervals_of_their_own():
    found = sl.decide(BASE, penalty=PENALTY, bytes=1e6, flops=2e11)
    best = found.candidates[0]
    assert best.option.plain
    assert best.params_interval[0] < best.params < best.params_interval[1]
    assert 6 * best.params_interval[0] * best.tokens_interval[1] == pytest.approx(2e11, rel=0.01)  # neighbouring draws
    assert " in fp8, N=11.4k in int8, N=11.4k in mxfp8; the best size of 90 % of the draws is " in found.sentence


def test_the_size_of_draws_that_are_the_estimate_is_the_estimates():
    same = replace(BASE, draws=type(BASE.law)(**{k: np.full(5, v) for k, v in BASE.law.values.items()}), misfit=0.0)
    best = sl.decide(same, penalty=PENALTY.law, bytes=1e6, flops=2e11).candidates[0]
    assert best.params_interval == pytest.approx((best.params, best.params), rel=0.02)
    assert best.interval == pytest.approx((best.loss, best.loss))


def test_a_fit_with_a_penalty_that_is_none_keeps_its_draws():
    found = sl.decide(BASE, penalty=PENALTY.law, bytes=29e3, flops=1e12)
    assert {c.option.how for c in found.candidates} == {"no", "after training"}
    assert all(c.interval[0] < c.loss < c.interval[1] for c in found.candidates)


def test_the_forms_own_error_widens_the_intervals_with_a_penalty_that_is_no_fit_too():
    bare, wide = (
        sl.decide(replace(BASE, misfit=m), penalty=PENALTY.law, bytes=29e3, flops=1e12).candidates for m in (0.0, 0.2)
    )
    assert np.ptp(wide[0].interval) > 5 * np.ptp(bare[0].interval)


def test_the_bits_of_a_penalty_fit_bound_the_formats_of_any_law():
    found = sl.decide(BASE.law, penalty=PENALTY, bytes=29e3, flops=1e12)
    assert "int2 g128" not in [c.format.name for c in found.candidates]
    assert found.candidates[0].interval is not None  # the penalty's draws


def test_a_fit_of_training_precision_decides_with_its_own_error():
    rng = np.random.default_rng(0)
    truth = PrecisionWeights(E=1.8, A=420.0, B=1800.0, alpha=0.34, beta=0.36, g_w=2.2, n_w=0.3)
    grid = [(n, d, p) for n in (1e7, 3e7, 1e8, 3e8) for d in (2e8, 6e8, 2e9, 6e9, 2e10) for p in (3, 4, 6, np.inf)]
    n, d, p = np.array(grid * 2).T
    losses = truth.loss(N=n, D=d, P_w=p) * np.exp(0.003 * rng.normal(size=len(n)))
    runs = load_table({"n": n, "d": d, "p": p, "y": losses}, N="n", D="d", P_w="p", loss="y")
    found = sl.fit(PrecisionWeights, runs, bootstrap=100)
    choice = sl.decide(found, bytes=60e6, flops=6e18, measured=runs)
    expected = sl.decide(truth, bytes=60e6, flops=6e18)
    assert choice.candidates[0].option == expected.candidates[0].option
    assert {c.format.bits for c in choice.candidates} == {np.inf, 8, 6, 5, 4, 3}  # rows have 3 bits and more
    best = {c.option: c.loss for c in expected.candidates}
    top = choice.candidates[0].option
    gaps = [(c.gap_interval, best[c.option] - best[top]) for c in choice.candidates[1:]]
    assert np.mean([low <= gap <= high for (low, high), gap in gaps]) >= 0.7  # each is one in ten
    for c in choice.candidates:
        assert c.loss == pytest.approx(best[c.option], rel=0.003)  # the noise of one run
    assert [b.name for b in choice.baselines] == ["best measured cell", "rank at the largest rung"]
    for b in choice.baselines:  # a cell that was measured, and fits: 16 bits are 2 bytes
        assert (b.params, b.tokens, b.bits) in grid
        assert b.params * min(b.bits, 16) / 8 <= 60e6 * 1.1
        assert 6 * b.params * b.tokens <= 1.01 * 6e18
    assert "without a law, of the measured cells within the budget: best measured cell" in str(choice)
    wide = sl.decide(replace(found, misfit=0.05), bytes=60e6, flops=6e18)
    assert np.ptp(wide.candidates[0].interval) > 3 * np.ptp(choice.candidates[0].interval)


def test_precisions_that_a_fit_has_no_row_of_are_no_options():
    roles = dict.fromkeys(("g_w", "n_w", "g_a", "n_a", "g_kv", "n_kv"), np.nan)
    post = {"C_T": 0.2, "gD": 0.5, "gN": 0.35, "g_post": 0.6, "b": 0.0}
    law = PrecisionExponential(**BASE.law.values, **roles, **post)
    found = replace(BASE, law=law, draws=None, ranges={**BASE.ranges, "P_post": (3.0, np.inf)})
    assert {c.option.how for c in sl.decide(found, bytes=29e3, flops=1e12).candidates} == {"no", "after training"}
    with pytest.raises(SimlawError, match="PrecisionExponential does not know P_w, which training 'weights' sets"):
        sl.decide(found, bytes=29e3, flops=1e12, training=[WEIGHTS])


def test_bits_that_a_law_was_never_run_at_are_left_out_by_name():
    both = Training(name="both", roles=("P_w",), computed=True)
    found = sl.decide(quest2025, flops=1e20, training=[both], cost=BITS, formats=INTEGERS, force=True)
    assert {c.format.bits for c in found.candidates} == {np.inf, 8, 4, 3, 2}
    assert found.left_out["int5, in training: both"].startswith("EffectiveFree does not know eff_5")
    assert found.candidates[0].format.bits == 4  # the optimum of that method


def test_a_lead_that_no_run_shows_is_none_and_identifies_nothing():
    found = sl.decide(kumar2024, bytes=1e10, flops=1e19)
    assert found.sentence == (
        "train N=304M in bf16, within 10 GB and 1e19 training FLOPs: 3.2926 nats; as good to a thousandth: N=304M in "
        "fp8, N=304M in int8, N=304M in mxfp8."
    )
    assert not found.identified
    assert sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19).identified


@pytest.mark.parametrize(("law", "flops"), [(kumar2024, 1e18), (BASE, 1e12)])
def test_bytes_without_bound_change_nothing(law, flops):
    more = {} if law is kumar2024 else {"penalty": PENALTY}
    roomy, endless = (sl.decide(law, bytes=b, flops=flops, force=True, **more) for b in (1e9, 1e16))
    assert [c.loss for c in endless.candidates] == [c.loss for c in roomy.candidates]
    assert [c.params for c in endless.candidates] == [c.params for c in roomy.candidates]
    assert sl.decide(law, flops=flops, force=True, **more).candidates[0].loss == roomy.candidates[0].loss


def test_where_nothing_binds_16_bits_lose_in_no_draw():
    # no penalty is below 0, and formats of equal bits are the same law
    found = sl.decide(BASE, penalty=PENALTY, bytes=1e6, flops=1e12)
    assert (found.candidates[0].option.plain, found.candidates[0].best) == (True, 1.0)
    for bits in (4, 8):
        same = [c for c in found.candidates if c.format.bits == bits]
        assert len(same) == 3
        assert len({(c.params, c.loss, c.interval) for c in same}) == 1
        assert [c.format.stored for c in same] == sorted(c.format.stored for c in same)


def test_of_formats_that_tie_exactly_the_one_that_stores_least_is_best():
    found = sl.decide(kumar2024, flops=1e20, training="all", cost="bits", force=True)
    best = found.candidates[0]
    assert [c.format.bits for c in found.candidates[:3]] == [8, 8, 8]
    assert (best.format.stored, best.best) == (8.0, 1.0)
    assert next(one for one in found.by_cost if one.cost == "bits").option == best.option


@pytest.mark.parametrize("serve", [1.6e11, 1e12, 1e13])
def test_near_the_limit_of_serving_the_best_size_is_exact(serve):
    found = sl.decide(kumar2024, flops=1e21, serve_tokens=serve, training=(), force=True)
    most = 1e21 / (2 * serve)
    sizes = most * (1 - np.geomspace(1e-6, 0.999, 20_001))
    tokens = (1e21 - 2 * sizes * serve) / (6 * sizes)
    for c in found.candidates:
        exact = kumar2024.loss(N=sizes, D=tokens, **c.option.precisions).min()
        assert c.loss == pytest.approx(exact, abs=1e-7)


def test_a_law_that_would_have_the_smallest_model_is_refused():
    falling = Chinchilla(E=1.0, A=1e-9, B=900.0, alpha=0.35, beta=0.5)
    with pytest.raises(SimlawError, match="by the law one parameter is the best size in bf16 within 1 MB and 1e12"):
        sl.decide(falling, penalty=PENALTY.law, bytes=1e6, flops=1e12)


def test_notes_say_what_a_reader_must_know():
    found = sl.decide(kumar2024, bytes=16e9, flops=1e21, serve_tokens=1e10, cost=H200, force=True)
    assert found.notes == (
        "N and bytes count parameters: non-embedding",
        "the law knows formats by their bits alone",
        "in training: weights means weights in the format while training, products computed in 16 bits",
        "bytes do not bind: the best plan takes 5.58 GB of 16 GB",
        "reading of weights from memory is not counted by H200, TPU-v6e: give cache=… (--batch and --context)",
    )
    assert all(note in str(found) for note in found.notes)
    bound = sl.decide(kumar2024.law, bytes=82.5e6, flops=1.7e19, training=())
    assert bound.notes == ("the law knows formats by their bits alone",)
    cached = sl.decide(
        kumar2024, bytes=16e9, flops=1e21, serve_tokens=1e10, cache=Cache(batch=1, context=1), force=True
    )
    assert not any("memory" in note for note in cached.notes)
    assert "  82.5 MB  " in str(bound)


def test_formats_trainings_and_tables_may_be_named():
    named = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, formats=["bf16", "int4"], training="all", cost="H200")
    given = sl.decide(
        kumar2024,
        bytes=82.5e6,
        flops=1.7e19,
        formats=(INTEGERS[0], INTEGERS[5]),
        training=[WEIGHTS, TIED],
        cost=H200,
    )
    assert named == given
    assert sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, formats="integers", training=["weights"]).candidates


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bytes": "16e6"}, "bytes='16e6': it must be a number above 0"),
        ({"flops": [1e18]}, r"flops=\[1e\+18\]: it must be a number above 0"),
        ({"serve_tokens": None}, "serve_tokens=None: it must be a number above 0, or 0"),
        ({"cache": {"batch": 1}}, "cache={'batch': 1}: give a Cache"),
        ({"cost": "H100"}, "'H100' is no cost table: give a CostTable, or the name of one: flops, bits, H200"),
        ({"formats": []}, "formats is empty, so there is nothing to weigh"),
        ({"formats": ["int9"]}, "'int9' is no format: give a Shipped, or the name of one: bf16, mxfp8"),
        ({"training": "some"}, "'some' is no kind of training: give a Training, or the name of one: weights, all"),
        ({"measured": [1]}, "measured=list: give the rows that load_table returns"),
    ],
)
def test_what_is_no_amount_or_name_is_refused_in_a_sentence(unchecked, changes, sentence):
    with pytest.raises(SimlawError, match=sentence):
        sl.decide(kumar2024, **{"bytes": 16e6, "flops": 1e18, **changes})


def test_one_kind_has_nobody_to_compare_with():
    found = sl.decide(kumar2024, bytes=82.5e6, flops=1.7e19, formats=INTEGERS[1:], training=())
    assert "there is no other kind of plan to compare with" in found.sentence


def test_how_far_the_answer_and_its_rival_lie_outside_is_said():
    found = sl.decide(kumar2024, bytes=82.5e6, flops=2e20)
    assert found.outside["D"] > 5
    assert "that extrapolates beyond the rows of the fit in D by " in found.sentence
    assert "the rival lies outside the rows of the fit in " in found.sentence
    with pytest.raises(SimlawError, match=r"outside the rows of the fit in D by .* more than 10 x: force=True"):
        sl.decide(kumar2024, bytes=82.5e6, flops=1e21)
    assert sl.decide(kumar2024, bytes=82.5e6, flops=1e21, force=True).outside["D"] > 10


def test_a_choice_is_readable():
    for law, more in ((kumar2024, {}), (BASE, {"penalty": PENALTY})):
        budget = {"bytes": 82.5e6, "flops": 1.7e19} if law is kumar2024 else {"bytes": 29e3, "flops": 1e12}
        assert all(len(line) <= 100 for line in str(sl.decide(law, **budget, **more)).splitlines())


@pytest.mark.parametrize(
    ("tokens", "losses", "best"),
    [
        (6e9, (3.467, 3.403, 3.422, 3.456, 3.522), 4),
        (2.6e10, (3.492, 3.304, 3.298, 3.326, 3.391), 5),
        (2e11, (3.949, 3.335, 3.242, 3.253, 3.314), 5),
        (1e12, (4.972, 3.524, 3.260, 3.237, 3.290), 6),
    ],
)
def test_at_fixed_memory_the_best_bits_move_from_four_to_six_as_data_grow(tokens, losses, best):
    # Kumar et al.'s constants at N·P = 660 Mbit: 220M at 3 bits, 165M at 4, 132M at 5, 110M at 6, 82.5M at 8
    found = sl.decide(kumar2024.law, bytes=82.5e6, tokens=tokens, formats=INTEGERS, training=())
    each = {c.format.bits: c for c in found.candidates}
    assert [each[bits].loss for bits in (3, 4, 5, 6, 8)] == pytest.approx(losses, abs=6e-4)
    assert each[4].params == pytest.approx(165e6)
    assert min((3, 4, 5, 6, 8), key=lambda bits: each[bits].loss) == best
