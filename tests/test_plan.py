"""Plans: expansion, identities, cost, packs, and refusals before anything is launched."""

import dataclasses

import pytest

from simlaw.config import EMA, GPTQ, LAWA, WSD, Curvature, Outliers, Precision
from simlaw.declared import decode, encode
from simlaw.errors import SimlawError
from simlaw.formats import Int, Quantizer
from simlaw.plan import Pack, expand, packs, shared_work, steps_left
from simlaw.sweep import Grid, PTQGrid, Sweep, TokensPerParameter, load_sweep
from simlaw.train import shape_of
from tests.conftest import ROOT, tiny_eval, tiny_run

SMOKE = load_sweep(str(ROOT / "sweeps" / "smoke")).sweep
QUICKSTART = load_sweep(str(ROOT / "sweeps" / "quickstart")).sweep


def change(sweep: Sweep, **fields: object) -> Sweep:
    return dataclasses.replace(sweep, **fields)


def test_the_smoke_plan():
    plan = expand(SMOKE, "f")
    assert len(plan.cells) == 2 * 3 * 3
    assert len({cell.run_id for cell in plan.cells}) == 18
    assert len({e for cell in plan.cells for e in cell.eval_ids}) == 18 * 7
    assert {cell.counts.blocks for cell in plan.cells} == {13 * 8**2, 13 * 16**2}
    cell = plan.cells[-1]
    assert cell.flops_train == 6 * 13 * 16**2 * 80 * 128


def test_the_quickstart_has_compute_matched_cells():
    plan = expand(QUICKSTART, "f")
    assert {cell.counts.blocks for cell in plan.cells} == {6656, 26624, 106496}
    budgets: dict[float, set[int]] = {}
    for cell in plan.cells:
        if cell.spec.optimizer.rate_multiple == 1:
            budgets.setdefault(cell.flops_train, set()).add(cell.counts.blocks)
    assert sum(len(sizes) == 3 for sizes in budgets.values()) == 2
    assert sum(len(sizes) >= 2 for sizes in budgets.values()) == 5
    # four times the size at a quarter of the tokens, with three rates for each size
    rates = {(c.spec.model.width, c.spec.optimizer.rate_multiple) for c in plan.cells}
    assert {multiple for width, multiple in rates if width == 32} == {0.5, 1.0, 2.0}


def test_identity_follows_the_corpus_but_not_the_other_cells():
    one, other = expand(SMOKE, "f"), expand(SMOKE, "g")
    assert not {c.run_id for c in one.cells} & {c.run_id for c in other.cells}
    grown = change(SMOKE, grids=(*SMOKE.grids, Grid(widths=(16,), tokens=(160 * 128,), seeds=(0,))))
    assert {c.run_id for c in one.cells} < {c.run_id for c in expand(grown, "f").cells}


def test_a_run_in_two_grids_is_one_run():
    assert len(expand(change(SMOKE, grids=SMOKE.grids * 2), "f").cells) == 18


def test_tokens_per_parameter_are_rounded_to_batches():
    grid = Grid(widths=(16,), tokens=TokensPerParameter(ratios=(1.0, 0.001)), schedules=(WSD(warmup_tokens=0),))
    sweep = change(SMOKE, grids=(grid,))
    assert [cell.spec.tokens for cell in expand(sweep, "f").cells] == [26 * 128, 128]  # 3328 = 26 batches


def test_packs_hold_alike_trunks_and_start_with_the_dearest():
    cells = expand(SMOKE, "f").cells
    single = packs(cells, 1)
    assert len(single) == 6
    assert [pack.members[0][0].model.width for pack in single] == [16, 16, 16, 8, 8, 8]
    assert all([run.steps for run in pack.members[0]] == [20, 40, 80] for pack in single)
    triple = packs(cells, 4)
    assert [len(pack.members) for pack in triple] == [3, 3]
    assert {run.seed for runs in triple[0].members for run in runs} == {0, 1, 2}
    wide, narrow = (shape_of(pack.members[0][0]) for pack in triple)
    assert [len(pack.members) for pack in packs(cells, {wide: 1, narrow: 3})] == [1, 1, 1, 3]


def test_a_grid_may_be_quantized_in_more_ways_than_the_sweep():
    also = PTQGrid(methods=(GPTQ(),), bits=(4,))
    grids = (Grid(widths=(16,), tokens=(2560, 5120)), Grid(widths=(16,), tokens=(5120,), ptq=(also,)))
    plan = expand(change(SMOKE, grids=grids, ptq=(PTQGrid(bits=(3,)),)), "f")
    assert [[e.ptq and type(e.ptq.method).__name__ for e in cell.evals] for cell in plan.cells] == [
        [None, "RTN"],
        [None, "RTN", "GPTQ"],
    ]
    (pack,) = packs(plan.cells, 1)
    assert [pack.measured(rung) for rung in (0, 1)] == [cell.evals for cell in plan.cells]
    assert decode(Pack, encode(pack)) == pack


def test_outliers_and_curvature_are_measured_beside_and_change_no_other_identity():
    plain = expand(change(SMOKE, ptq=(PTQGrid(bits=(3, 4)),)), "f")
    both = expand(change(SMOKE, ptq=(PTQGrid(bits=(3, 4), outliers=(None, Outliers(factor=8.0))),)), "f")
    for one, other in zip(plain.cells, both.cells, strict=True):
        assert one.run_id == other.run_id
        assert set(one.eval_ids) < set(other.eval_ids)
        planted = [e.ptq.outliers for e in other.evals if e not in one.evals]
        assert planted == [Outliers(factor=8.0)] * 2
    curved = expand(change(SMOKE, ptq=(PTQGrid(bits=(3, 4)),), curvature=Curvature(windows=8)), "f")
    for one, other in zip(plain.cells, curved.cells, strict=True):
        assert one.run_id == other.run_id
        assert not set(one.eval_ids) & set(other.eval_ids)
        assert {e.curvature for e in other.evals} == {Curvature(windows=8)}


def test_packs_of_one_kind_are_as_equal_as_can_be():
    grid = dataclasses.replace(SMOKE.grids[0], widths=(16,), seeds=tuple(range(9)))
    cells = expand(change(SMOKE, grids=(grid,)), "f").cells
    assert [[len(pack.members) for pack in packs(cells, size)] for size in (8, 4, 16)] == [[5, 4], [3, 3, 3], [9]]


def test_a_pack_may_differ_in_all_that_is_data():
    bits = [Precision(weights=Quantizer(format=Int(bits=b))) for b in (3, 4, 8)]
    grid = dataclasses.replace(
        SMOKE.grids[0],
        widths=(16,),
        precisions=(Precision(), *bits),
        rate_multiples=(0.5, 1.0),
        schedules=tuple(WSD(warmup_tokens=w, cooldown=c) for w in (128, 256) for c in (0.2, 0.5)),
    )
    made = packs(expand(change(SMOKE, grids=(grid,)), "f").cells, 1000)
    # branches of both cool-downs share a trunk; 3 seeds, 2 rates, 2 warm-ups, and 3 bits where there are any
    assert sorted(len(pack.members) for pack in made) == [3 * 2 * 2, 3 * 2 * 2 * 3]
    for pack in made:
        assert len({shape_of(run) for runs in pack.members for run in runs}) == 1
        for runs in pack.members:
            assert [(run.branch_step, run.steps) for run in runs] == sorted(
                (n - round(c * n), n) for n in (20, 40, 80) for c in (0.2, 0.5)
            )


def test_a_pack_evaluates_only_averages_that_its_runs_keep():
    kept, other = EMA(tokens=1280), LAWA(count=2, every_tokens=256)
    spec = tiny_run(averages=(kept,))
    Pack(members=((spec,),), evals=(tiny_eval(average=kept),))
    with pytest.raises(SimlawError, match=r"the evaluation wants LAWA\(.*, which the run of 2560 tokens does not keep"):
        Pack(members=((spec,),), evals=(tiny_eval(average=other),))


def test_steps_left_counts_trunks_once_and_what_is_stored_not_at_all():
    runs = [tiny_run(tokens=steps * 128) for steps in (20, 40, 80)]
    # trunk to 64; branches of 4, 8 and 16
    assert steps_left(runs, ()) == 64 + 4 + 8 + 16
    assert steps_left(runs, (16, 32)) == 32 + 28
    assert steps_left(runs[2:], (16, 32)) == 48
    assert steps_left(runs, (16, 32, 64), {runs[2]: 70}) == 4 + 8 + 10
    assert steps_left([tiny_run(schedule=WSD(warmup_tokens=0, cooldown=0.0))], ()) == 20


@pytest.mark.parametrize(
    ("ratio", "rungs", "most"),
    # five rungs a factor 2 apart, and ten of 2^0.5: with ever more rungs the share goes to 0.6 and 0.434
    [(2.0, 5, 0.62), (2.0, 8, 0.62), (2**0.5, 10, 0.45)],
)
def test_shared_trunks_save_what_was_computed_by_hand(ratio, rungs, most):
    steps = [round(40 * ratio**k) for k in range(rungs)]
    grid = dataclasses.replace(SMOKE.grids[0], tokens=tuple(n * 128 for n in steps))
    cooldowns = sum(round(0.2 * n) for n in steps)
    shared = (steps[-1] - round(0.2 * steps[-1]) + cooldowns) / sum(steps)
    found = shared_work(expand(change(SMOKE, grids=(grid,)), "f").cells)
    assert found == pytest.approx(shared)
    assert found <= most


def test_runs_that_share_nothing_save_nothing():
    one = dataclasses.replace(SMOKE.grids[0], tokens=(20 * 128,))
    assert shared_work(expand(change(SMOKE, grids=(one,)), "f").cells) == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"grids": (Grid(widths=(16,), tokens=(64,)),)},
            "RunSpec.tokens is 64: a run needs at least one batch of 8 x 16",
        ),
        ({"grids": (Grid(widths=(16,), tokens=(200,)),)}, "must be whole batches of 128; take 256"),
        (
            {"schedule": WSD(warmup_tokens=3000)},
            "the warm-up of 3000 tokens is longer than the 2048 before the cool-down",
        ),
        ({"eval_tokens": 31}, "Sweep.eval_tokens is 31: errors are .* windows of 16 tokens, so it must be at least 32"),
    ],
)
def test_a_plan_that_cannot_run_is_refused(fields, sentence):
    with pytest.raises(SimlawError, match=sentence):
        expand(change(SMOKE, **fields), "f")
