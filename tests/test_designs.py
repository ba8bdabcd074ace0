"""Designs: what cannot be identified is refused with its reason, errors are those of simulated fits, extras mend."""

import dataclasses
import math

import numpy as np
import pytest

import simlaw as sl
from simlaw.designs import design
from simlaw.designs.candidates import candidates
from simlaw.designs.information import errors, information, kinds_of, rank
from simlaw.designs.plausible import plausible
from simlaw.designs.prospect import needed
from simlaw.designs.rows import Rows, planned
from simlaw.errors import SimlawError
from simlaw.fitting.fit import fit
from simlaw.laws import (
    Chinchilla,
    Downstream,
    EffectiveFree,
    ExponentialPenalty,
    FreePenalty,
    GroupPenalty,
    PowerPenalty,
    PrecisionWeights,
    StepPenalty,
)
from simlaw.simulation import TYPICAL, Noise, simulate
from tests.conftest import ROOT

LOSS = Chinchilla(E=1.2, A=20.0, B=900.0, alpha=0.35, beta=0.5)
TIED = dataclasses.replace(LOSS, B=40.0, beta=0.35)
PENALTY = StepPenalty(C_T=0.03, gD=0.5, gN=0.35)
SIZES = (6656, 26624, 106496, 425984)
TOKENS = tuple(327_680 * 2**k for k in range(5))
EVALS = (math.inf, 3, 4, 5, 6)


def cells(pairs, *, seeds=3, evals=(math.inf,)):
    """Rows of some pairs of size and tokens, each with all seeds and evaluations; a trunk is a size and a seed."""
    each = [(n, d, bits, f"{n}-{s}") for n, d in pairs for s in range(seeds) for bits in evals]
    x = {name: np.array([row[i] for row in each], float) for i, name in enumerate(("N", "D", "P_post"))}
    return x, [row[3] for row in each]


def grid(sizes=SIZES, tokens=TOKENS, **rest):
    return cells([(n, d) for n in sizes for d in tokens], **rest)


def said(found):
    return " ".join(found.refusals)


def test_a_crossed_grid_is_held_and_not_refused():
    found = design((Chinchilla, StepPenalty, ExponentialPenalty), *grid(evals=EVALS))
    assert found.refusals == ()
    assert [(one.rank, len(one.error)) for one in found.prospects] == [(5, 5), (3, 3), (4, 4)]
    assert all(np.isfinite(list(one.error.values())).all() for one in found.prospects)


@pytest.mark.parametrize("law", [None, LOSS, TIED])
def test_tokens_in_proportion_to_size_are_refused_whatever_the_law(law):
    found = design(Chinchilla, *cells([(n, 20 * n) for n in (*SIZES, 2e6, 8e6)]), law=law)
    assert "D is proportional to N in every cell (D/N = 20), so nothing tells size from data" in said(found)


def test_tokens_in_proportion_to_size_leave_the_rank_short():
    x, trunk = cells([(n, 20 * n) for n in (*SIZES, 2e6, 8e6)], evals=EVALS)
    loss, penalty = design((Chinchilla, StepPenalty), x, trunk, law=[TIED, PENALTY]).prospects
    # E, one coefficient and one exponent of a single power; of the penalty the coefficient and gD - gN
    assert (loss.rank, penalty.rank) == (3, 2)
    assert math.isinf(loss.error["alpha"])
    assert math.isinf(penalty.error["gN"])
    assert loss.error["E"] < 1


def test_rounding_to_whole_batches_hides_no_proportion():
    pairs = [(n, 2048 * round(21.7 * n / 2048)) for n in SIZES]
    assert "D is proportional to N" in said(design(Chinchilla, *cells(pairs)))


def test_one_budget_of_compute_is_refused():
    found = design(Chinchilla, *cells([(n, 1e12 / n) for n in (*SIZES, 2e6, 8e6)]))
    assert "D follows N in every cell (as N^-1), so nothing tells size from data" in said(found)


def test_two_sizes_are_refused():
    found = design(Chinchilla, *grid(sizes=SIZES[:2]), law=LOSS)
    assert said(found) == "Chinchilla: 2 levels of N cannot hold its term, which needs 3: add 1 of N"
    one = found.prospects[0]
    assert one.rank == 4
    assert math.isinf(one.condition)
    # E, A and alpha are lost together; B and beta are held by the token counts
    assert [name for name, error in one.error.items() if math.isinf(error)] == ["E", "A", "alpha"]


@pytest.mark.parametrize(
    ("form", "levels"),
    [
        (Chinchilla, {"N": 3, "D": 3}),
        (StepPenalty, {"N": 2, "D": 2, "P_post": 1}),
        (ExponentialPenalty, {"N": 2, "D": 2, "P_post": 2}),
        (PowerPenalty, {"N": 2, "D": 2, "P_post": 2}),
        # bits stand in for sizes here, in name only: N is not asked
        (PrecisionWeights, {"D": 3, "P_w": 3}),
    ],
)
def test_what_a_term_needs_follows_from_the_rank(form, levels):
    x = {"N": np.array([1e4, 1e5, 1e6]), "D": np.array([1e6, 1e7, 3e7])}
    x |= {"P_w": np.array([math.inf, 3, 4])} if "P_w" in levels else {}
    x |= {"P_post": np.array([3.0, 4, 5])} if "P_post" in levels else {}
    laws = plausible(form, x)
    assert {name: needed(laws, x, name) for name in levels} == levels


WIDTHS = [(3, 4), (3,), (2, 3, 4, 5, 6, 7, 8), (5, 6, 7, 8)]


def trained(form, bits, **rest):
    """The design of three seeds of each size, token count and training precision."""
    N, D, P_w, seed = (a.ravel() for a in np.meshgrid(SIZES, TOKENS, bits, range(3), indexing="ij"))
    return design(
        form, {"N": N, "D": D, "P_w": P_w}, [f"{n:g}-{b:g}-{s:g}" for n, b, s in zip(N, P_w, seed, strict=True)], **rest
    )


@pytest.mark.parametrize("bits", WIDTHS)
def test_shares_of_bits_need_one_unquantized_run_and_no_more_bits(bits):
    found = trained(EffectiveFree, bits)
    shares = ", ".join(f"eff_{one}" for one in bits)
    assert said(found) == (
        f"EffectiveFree: no cell has an unquantized P_w, and without one A, {shares} do the same work: add cells with "
        "P_w infinite"
    )
    # and the first thing to add is that, which makes a share known
    assert found.extras[0].what == "N = 6.66k, D = 328k, P_w = 16 bit"
    assert math.isinf(found.extras[0].before)
    assert all(np.isfinite(extra.after) for extra in found.extras)
    mended = trained(EffectiveFree, (*bits, math.inf))
    assert mended.refusals == ()
    assert mended.prospects[0].rank == 5 + len(bits)
    assert not any("P_w are just enough" in note for note in mended.notes)


def test_an_unquantized_run_is_asked_for_where_it_is_all_that_is_missing():
    assert "no cell has an unquantized P_w, and without one A, g_w do the same work" in said(
        trained(PrecisionWeights, (3, 4))
    )
    assert "1 level of P_w cannot hold its term, which needs 3: add 2 of P_w" in said(trained(PrecisionWeights, (3,)))
    assert trained(PrecisionWeights, (3, 4, 5)).prospects[0].rank == 7


def test_levels_that_have_parameters_of_their_own_are_not_short():
    found = design(FreePenalty, *grid(sizes=SIZES[:1], evals=(3, 4)))
    assert said(found) == "FreePenalty: 1 level of N cannot hold its term, which needs 2: add 1 of N"


def test_additions_that_make_nothing_known_are_not_told():
    one = trained(EffectiveFree, (3, 4), extra=1)
    assert [extra.what for extra in one.extras] == ["N = 6.66k, D = 328k, P_w = 16 bit"]
    # of one size no single addition holds the term of three levels
    assert all(np.isfinite(extra.after) for extra in design(Chinchilla, *grid(sizes=SIZES[:1]), extra=1).extras)


def test_a_penalty_of_training_is_judged_by_the_floor_of_the_noise():
    N, D, G, seed = (a.ravel() for a in np.meshgrid(SIZES, TOKENS, (32, 128), range(3), indexing="ij"))
    x, trunk = {"N": N, "D": D, "G": G}, [f"{n:g}-{s:g}" for n, s in zip(N, seed, strict=True)]
    with pytest.raises(SimlawError, match=r"two of a trunk would be exact: give floor=…$"):
        design(GroupPenalty, x, trunk)
    found = design(GroupPenalty, x, trunk, noise=Noise(trunk=0.0, relative=0.1, floor=0.002))
    assert found.prospects[0].rank == 4
    assert "N = 1.66k, D = 328k, G = 32 (3 runs, " in str(found)


def test_a_law_of_accuracies_has_a_design_without_flops():
    found = design(Downstream, {"L": np.repeat([2.0, 2.5, 3.0, 3.5], 2)})
    assert found.refusals == ()
    assert str(found.extras[0]).startswith("a seed more at L = 2.5 (1 run): the error of gamma (Downstream) falls from")
    assert math.isnan(found.extras[0].flops)


def test_formats_are_written_as_numbers_and_bits_as_precisions():
    x = {"N": 1e6, "D": 2e7, "X": 2, "M": 1, "G": 256, "P_w": 4}
    told = [one.what for one in candidates(planned(x, None))]
    assert told[0] == "N = 250k, D = 20M, X = 2, M = 1, G = 256, P_w = int4"
    assert told[-1] == "a seed more at N = 1M, X = 2, M = 1, G = 256, P_w = int4"
    assert "N = 1M, D = 20M, X = 2, M = 1, G = 256, P_w = 16 bit" in told


def test_three_points_for_three_parameters_are_refused():
    pairs = [(SIZES[0], TOKENS[0]), (SIZES[1], TOKENS[0]), (SIZES[0], TOKENS[3])]
    found = design(StepPenalty, *cells(pairs, evals=(4,)))
    assert said(found) == (
        "StepPenalty: 3 kinds of cells for 3 parameters, which meet them right or wrong: add sizes or token counts"
    )


def test_without_a_second_seed_the_noise_is_unknown():
    assert said(design(Chinchilla, *grid(seeds=1))) == (
        "Chinchilla: no cell has two seeds, so no fit will know the noise: add seeds"
    )


def test_a_design_too_noisy_to_say_anything_is_refused():
    assert design(Chinchilla, *grid(), law=LOSS).refusals == ()
    found = design(Chinchilla, *grid(), law=LOSS, noise=Noise(trunk=0.5, row=0.5))
    assert "would vary more than tenfold from one sweep to the next" in said(found)


def test_levels_that_are_just_enough_are_noted():
    found = design(Chinchilla, *grid(sizes=SIZES[:3]))
    assert found.refusals == ()
    assert found.notes == (
        "Chinchilla: 3 levels of N are just enough: one more would show whether the form is right there",
    )


def test_a_form_sees_the_rows_that_its_fit_takes():
    x, trunk = grid(evals=EVALS)
    x["P_w"] = np.where(np.arange(len(trunk)) % 2, 4.0, math.inf)
    rows = planned(x, trunk)
    assert np.isinf(rows.x["P_w"]).sum() == np.isfinite(rows.x["P_w"]).sum() == 150
    assert len(rows.of(Chinchilla).trunk) == np.sum(np.isinf(x["P_w"]) & np.isinf(x["P_post"]))
    assert len(rows.of(PrecisionWeights).trunk) == np.sum(np.isinf(x["P_post"]))
    assert len(rows.of(StepPenalty).trunk) == np.sum(np.isinf(x["P_w"]) & np.isfinite(x["P_post"]))


def test_parameters_that_no_cell_depends_on_are_unknown():
    one = design(FreePenalty, *grid(evals=(3, 4))).prospects[0]
    assert one.unknown == ("delta_1", "delta_2", "delta_5", "delta_6", "delta_7", "delta_8")
    assert set(one.error) == {"gD", "gN", "delta_3", "delta_4"}
    assert one.rank == 4


@pytest.mark.parametrize("law", [LOSS, PENALTY])
def test_information_is_that_of_the_whole_covariance(law):
    x, trunk = cells([(n, d) for n in SIZES for d in TOKENS[: 2 + n % 3]], evals=EVALS)
    # seeds: the same cells in other trunks, of which one lacks a row, and one has its rows the other way round
    x = {name: np.concatenate([values, values[1:], values[::-1]]) for name, values in x.items()}
    trunk = [*trunk, *(f"{name}-b" for name in trunk[1:]), *(f"{name}-c" for name in trunk[::-1])]
    rows = planned(x, trunk).of(type(law))
    noise = Noise(trunk=0.01, row=0.004, relative=0.2, floor=0.001, per_step=0.02)
    found = information(plausible(type(law), rows.x, law), rows, noise)
    log, slopes = law.log_slopes(rows.x)
    shared, own = np.full(len(log), noise.trunk), np.full(len(log), noise.row)
    if law is PENALTY:
        # of delta itself: a share that the trunk has, and the step's part
        slopes, shared = np.exp(log)[:, None] * slopes, noise.relative * np.exp(log)
        own = np.hypot(0.001, 0.02 / (2 ** (rows.x["P_post"] - 1) - 1))
    same = np.array(rows.trunk)[:, None] == np.array(rows.trunk)
    covariance = np.outer(shared, shared) * same + np.diag(own**2)
    whole = slopes.T @ np.linalg.solve(covariance, slopes)
    np.testing.assert_allclose(found.matrix[0], whole, rtol=1e-8)
    np.testing.assert_allclose(errors(found.matrix)[0], np.sqrt(np.diag(np.linalg.inv(whole))), rtol=1e-6)


def test_what_rows_add_to_old_and_new_trunks_is_what_the_whole_gains():
    x, trunk = grid(evals=EVALS)
    rows = planned(x, trunk).of(StepPenalty)
    laws = plausible(StepPenalty, rows.x, PENALTY)
    # every trunk but one is split between the two; that one is new
    first = (np.arange(len(rows.trunk)) % 3 > 0) & (np.array(rows.trunk) != "26624-1")
    one, two = (information(laws, chosen(rows, mask), TYPICAL) for mask in (first, ~first))
    assert len(two.trunks) == len(one.trunks) + 1
    gains = one.gains(two, [name if name in one.trunks else None for name in two.trunks]).sum(axis=1)
    np.testing.assert_allclose(one.matrix + gains, information(laws, rows, TYPICAL).matrix, rtol=1e-9)


def chosen(rows, mask):
    names = tuple(name for name, kept in zip(rows.trunk, mask, strict=True) if kept)
    return Rows(x={name: values[mask] for name, values in rows.x.items()}, trunk=names)


def test_expected_errors_are_the_spread_of_simulated_fits():
    x, trunk = grid(sizes=SIZES[:3], evals=(3, 4, 5))
    # independent rows weighted by their noise: there a fit is as good as the information allows
    noise = Noise(trunk=0.0, row=0.01, per_step=0.01)
    expected = design(StepPenalty, x, trunk, law=PENALTY, noise=noise).prospects[0].error
    rows, count = planned(x, trunk).of(StepPenalty), 200
    fits = [
        fit(StepPenalty, simulate(PENALTY, rows.x, rows.trunk, noise=noise, seed=i), starts=4) for i in range(count)
    ]
    for name, error in expected.items():
        away = np.array([float(one.law.values[name]) for one in fits]) - PENALTY.values[name]
        # a standard deviation of 200 values is known to 5 %
        assert np.std(away) == pytest.approx(error, rel=0.15)
        within = np.mean(np.abs(away) < error)
        assert abs(within - 0.683) < 3 * np.sqrt(0.683 * 0.317 / count)


def test_the_fit_of_losses_is_little_wider_than_the_least_error():
    x, trunk = grid()
    noise = Noise(trunk=0.006, row=0.008)
    expected = design(Chinchilla, x, trunk, law=LOSS, noise=noise).prospects[0].error
    rows, count = planned(x, trunk).of(Chinchilla), 40
    fits = [fit(Chinchilla, simulate(LOSS, rows.x, rows.trunk, noise=noise, seed=i), starts=2) for i in range(count)]
    for name in ("alpha", "beta"):
        spread = np.std([float(one.law.values[name]) for one in fits])
        # a median is sqrt(pi / 2) wider than a mean; a standard deviation of 40 values is known to 11 %
        assert 0.78 < spread / expected[name] < np.sqrt(np.pi / 2) * 1.22


def test_an_unbiased_condition_number_is_that_of_the_fit():
    x, trunk = grid()
    rows = planned(x, trunk).of(Chinchilla)
    seen = simulate(LOSS, rows.x, rows.trunk, noise=Noise(trunk=0.0, row=1e-5))
    found = design(Chinchilla, x, trunk, law=LOSS).prospects[0]
    assert found.condition == pytest.approx(fit(Chinchilla, seen).condition, rel=0.1)
    assert rank(LOSS.log_slopes(rows.x)[1][None])[0] == 5


@pytest.mark.parametrize(
    ("form", "pairs"),
    [
        (Chinchilla, [(n, d) for n in SIZES[:2] for d in TOKENS]),
        (Chinchilla, [(n, d) for n in SIZES for d in TOKENS[:2]]),
        (Chinchilla, [(n, d) for n in SIZES[:2] for d in TOKENS[:2]]),
        (StepPenalty, [(n, 20 * n) for n in SIZES]),
    ],
)
def test_extra_cells_restore_the_rank_one_step_away(form, pairs):
    x, trunk = cells(pairs, evals=EVALS)
    found = design(form, x, trunk)
    assert found.prospects[0].rank < len(found.prospects[0].error)
    rows = found.rows
    for extra in found.extras:
        rows = rows.joined(extra.rows)
        factor = 6 * sum(n * d for n, d, bits in zip(*(extra.rows.x[k] for k in x), strict=True) if np.isinf(bits))
        assert extra.flops == pytest.approx(factor)
        assert not extra.after > extra.before
        assert extra.rows.x["N"].min() >= x["N"].min() / 4
        assert extra.rows.x["D"].max() <= x["D"].max() * 2
    mended = design(form, rows.x, rows.trunk)
    assert mended.prospects[0].rank == len(mended.prospects[0].error)
    assert all("levels" not in each and "proportional" not in each for each in mended.refusals)


def test_a_missing_bit_width_costs_no_training():
    found = design(ExponentialPenalty, *grid(evals=(math.inf, 4)))
    assert "1 level of P_post cannot hold its term, which needs 2: add 1 of P_post" in said(found)
    assert " of every checkpoint (no training): the error of g_post" in str(found.extras[0])
    assert found.extras[0].flops == 0


def test_an_extra_says_what_it_is_for():
    found = design(Chinchilla, *grid(sizes=SIZES[:3]), law=LOSS)
    first = found.extras[0]
    assert first.what == "N = 1.66k, D = 328k"
    assert str(first).startswith(f"{first.what} (3 runs, 9.8e9 FLOPs): the error of alpha (Chinchilla) falls from ")
    assert first.after < first.before


def test_a_planned_external_sweep_needs_no_trunks_or_bits():
    n, d = np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 1e10, 5e10, 2e11])
    found = sl.design(sl.laws.Chinchilla, {"N": n.ravel(), "D": d.ravel()}, law=sl.published.besiroglu2024)
    assert said(found) == "Chinchilla: no cell has two seeds, so no fit will know the noise: add seeds"
    assert found.prospects[0].value["alpha"] == pytest.approx(0.34781303)
    assert "Chinchilla" in str(found)
    assert found.extras


@pytest.mark.parametrize(
    ("x", "rest", "sentence"),
    [
        ({"N": [1e6, 1e7], "D": [1e9]}, {"trunk": ["a"]}, "1 trunks for 2 rows: give one for each row"),
        ({"N": [1e6, 1e7], "D": [1e9, 2e9, 3e9]}, {}, r"the variables differ in length \(N 2, D 3\)"),
        ({"N": ["a"], "D": [1e9]}, {}, r"N is \['a'\]: give a number for each row, infinite bits as math.inf"),
        ({"N": [1e6], "D": {}}, {}, "D is {}: give a number for each row"),
        ({"N": [1e6, -1.0], "D": 1e9}, {}, "row 2 has N = -1: sizes, tokens and bits are above 0"),
        ({"N": [1e6, 1e7]}, {}, "Chinchilla needs D, which the rows lack"),
        ({"N": 1e6, "D": [1e9, 2e9], "P_post": 4}, {}, "no row is one that Chinchilla could be fitted to"),
        ({"N": 1e6, "D": [1e9, 2e9]}, {"law": PENALTY}, "the law is a StepPenalty and the forms are Chinchilla"),
        ({"N": 1e6, "D": [1e9, 2e9]}, {"noise": Noise(trunk=0.01)}, "the noise gives rows no part of their own"),
        ({"N": [1e-8, 2e-8], "D": 1e-9}, {}, "no plausible Chinchilla was found at these cells"),
    ],
)
def test_bad_designs_get_one_sentence(x, rest, sentence):
    with pytest.raises(SimlawError, match=sentence):
        design(Chinchilla, x, **rest)


def test_the_file_of_a_sweep_is_a_law_to_judge_by():
    law = sl.load_law(ROOT / "sweeps" / "quickstart" / "law.json")
    x, trunk = grid(evals=EVALS)
    found = design((Chinchilla, StepPenalty), x, trunk, law=law, extra=0)
    apart = design((Chinchilla, StepPenalty), x, trunk, law=[law.base, law.penalty], extra=0)
    assert [one.error for one in found.prospects] == [one.error for one in apart.prospects]


def test_kinds_of_rows_are_those_that_differ():
    x = {
        "N": np.array([2.0, 1.0, 2.0, 1.0]),
        "D": np.array([3.0, 3.0, 3.0, 4.0]),
        "P_post": np.array([np.inf, 4, np.inf, 4]),
    }
    once, kind = kinds_of(x)
    assert len(once["N"]) == 3
    for name, values in x.items():
        assert (once[name][kind] == values).all()
    pairs = list(zip(*once.values(), strict=True))
    assert pairs == sorted(pairs)
