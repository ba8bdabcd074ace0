"""Precision that begins on the way, learned steps, and what is measured of runs in low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import simlaw as sl
from simlaw.config import PTQ, WSD, Cosine, Precision, run_id, trunk_id
from simlaw.errors import SimlawError
from simlaw.evaluate import as_trained, measure
from simlaw.formats import Int, PerChannel, PerTensor, PerToken, Quantizer
from simlaw.model import init, losses
from simlaw.plan import Pack, expand, packs
from simlaw.recipe import Family, RateRule
from simlaw.run.found import stored_steps
from simlaw.store import Store
from simlaw.sweep import Grid, Sweep
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_eval, tiny_run
from tests.test_work import Clerk, assert_same

WEIGHTS = Quantizer(format=Int(bits=2), granularity=PerChannel())
TOKENS = Quantizer(format=Int(bits=3), granularity=PerToken())
COOLDOWN = Precision(weights=WEIGHTS, begins="cooldown")
FULL = tiny_run(tokens=40 * 128)  # cools down from step 32 on


def low(begins=None, **how):
    return tiny_run(tokens=40 * 128, precision=Precision(weights=WEIGHTS, begins=begins, **how))


@pytest.fixture(scope="module")
def done(tmp_path_factory, corpus, program):
    """A clerk who has trained the same run at full precision and with precisions that begin on the way, in one pack."""
    clerk = Clerk(Store(root=tmp_path_factory.mktemp("begins")), corpus, program)
    runs = tuple(sorted((FULL, low(0.5), low("cooldown"), low(0.9)), key=lambda spec: spec.branch_step))
    clerk.do(Pack(members=(runs,), evals=(tiny_eval(),)))
    return clerk


@pytest.mark.parametrize(("begins", "branch", "begin"), [(0.5, 20, 20), ("cooldown", 32, 32), (0.9, 32, 36)])
def test_until_it_begins_a_run_is_the_run_at_full_precision_bit_for_bit(done, begins, branch, begin):
    spec = low(begins)
    assert (spec.branch_step, spec.begin_step) == (branch, begin)
    assert spec.trunk == FULL.trunk
    own, plain = done.losses(spec), done.losses(FULL)
    assert np.array_equal(own[:begin], plain[:begin])
    assert own[begin] != plain[begin]
    (row,) = done.rows(spec).values()
    assert row["train_begins"] == begin / 40
    assert row["train_weights_bits"] == 2
    assert row["trunk_id"] == trunk_id(FULL.trunk, done.corpus.fingerprint)


def test_behind_it_is_what_the_two_programs_make_one_after_the_other(done, program):
    spec = low(0.9)
    state, _ = program.advance(start([FULL]), members(program, [FULL], cool=True), 36)
    rounding = compile_shape(shape_of(spec), done.corpus)
    state, history = rounding.advance(state, members(rounding, [spec], cool=True), 4)
    assert np.array_equal(history.loss[0], done.losses(spec)[36:])
    found = done.params(spec)
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[0], other), state.params, found)


def test_all_share_one_trunk_which_is_trained_once(done):
    trunk = trunk_id(FULL.trunk, done.corpus.fingerprint)
    assert stored_steps(done.store, [trunk]) == [(20, "trunk"), (32, "trunk")]


def test_stopped_on_its_way_it_goes_on_where_it_was(done, tmp_path, corpus, program, monkeypatch):
    monkeypatch.setattr("simlaw.run.work.DISPATCH_STEPS", 2)
    clerk, spec = Clerk(Store(root=tmp_path / "again"), corpus, program), low(0.9)
    for at in (34, 38):  # before it begins, and behind
        clerk.do(
            Pack(members=((spec,),), evals=(tiny_eval(),)),
            stop_when=lambda at=at: (at, "partial") in stored_steps(clerk.store, [clerk.id(spec)]),
        )
        assert not clerk.store.has("run", clerk.id(spec))
    clerk.do(Pack(members=((spec,),), evals=(tiny_eval(),)))
    assert_same(clerk, done, (spec,))


def test_a_plan_puts_them_into_the_pack_of_their_trunk():
    sweep = Sweep(
        corpus=FULL.corpus,
        family=Family(layers=1, head_dim=8, hidden_ratio=3, context=16),
        rate=RateRule(rate=0.02, width=16, exponent=0.0),
        schedule=WSD(warmup_tokens=256),
        batch=8,
        grids=(
            Grid(
                widths=(16,),
                tokens=(40 * 128, 80 * 128),
                seeds=(0, 1),
                precisions=(Precision(), Precision(weights=WEIGHTS, begins="cooldown"), Precision(weights=WEIGHTS)),
            ),
        ),
        eval_tokens=1024,
    )
    cells = expand(sweep, "f").cells
    made = packs(cells, 2)
    assert sorted(len(pack.members[0]) for pack in made) == [2, 4]
    for pack in made:
        for rung in zip(*pack.members, strict=True):
            assert len({shape_of(spec) for spec in rung}) == 1
    runs = {run_id(spec, "f") for pack in made for member in pack.members for spec in member}
    assert runs == {cell.run_id for cell in cells}


def test_a_cosine_changes_its_precision_on_its_own_curve(done, tmp_path, corpus, program):
    plain = tiny_run(tokens=20 * 128, schedule=Cosine(warmup_tokens=256))
    spec = tiny_run(tokens=20 * 128, schedule=plain.schedule, precision=Precision(weights=WEIGHTS, begins=0.5))
    assert (spec.branch_step, spec.begin_step) == (0, 10)
    clerk = Clerk(Store(root=tmp_path / "cosine"), corpus, program)
    for one in (plain, spec):
        clerk.do(Pack(members=((one,),), evals=(tiny_eval(),)))
    assert np.array_equal(clerk.losses(spec)[:10], clerk.losses(plain)[:10])
    assert clerk.losses(spec)[10] != clerk.losses(plain)[10]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"schedule": Cosine(warmup_tokens=256), "precision": COOLDOWN}, "has none: take a WSD with one"),
        ({"schedule": WSD(warmup_tokens=0, cooldown=0.0), "precision": COOLDOWN}, "has none"),
        ({"precision": Precision(weights=WEIGHTS, begins=0.01)}, "step 0 of 20: it must leave a step before"),
        ({"precision": Precision(weights=WEIGHTS, begins=0.99)}, "step 20 of 20"),
    ],
)
def test_a_begin_that_leaves_no_step_is_refused(how, says):
    with pytest.raises(SimlawError, match=says):
        tiny_run(**how)


def test_a_run_with_learned_steps_is_stored_measured_and_quantized(tmp_path, corpus, program):
    clerk = Clerk(Store(root=tmp_path / "learned"), corpus, program)
    spec = low(learned_steps=True)
    ptq = tiny_eval(ptq=PTQ(quantizer=Quantizer(format=Int(bits=8))))
    clerk.do(Pack(members=((spec,),), evals=(tiny_eval(), ptq)))
    as_it_is, at_eight = sorted(clerk.rows(spec).values(), key=lambda row: row["ptq_bits"] or 0)
    assert as_it_is["status"] == at_eight["status"] == "done"
    assert as_it_is["train_settings"] == '["straight_through",false,true,["weights",' + (
        '{"calibration":{"type":"AbsMax"},"granularity":{"type":"PerChannel"},"rounding":"nearest",'
        '"scale":{"type":"Float16"},"type":"Scaling"}]]'
    )
    assert clerk.do(Pack(members=((spec,),), evals=(tiny_eval(), ptq))) == []
    four = sl.load_model(clerk.id(spec), store=clerk.store.root).quantized(Quantizer(format=Int(bits=4)))
    four.save(tmp_path / "four.safetensors")
    tokens = np.arange(16)
    assert np.allclose(sl.load_quantized(tmp_path / "four.safetensors")(tokens), four(tokens), atol=0.02)


PARAMS = init(MODEL, jax.random.key(1))


@pytest.fixture(scope="module")
def windows(corpus):
    return corpus.held_out(1024, MODEL.context)


@pytest.mark.parametrize("inputs", [PerToken(), PerTensor()])
def test_a_run_is_measured_in_the_precision_that_it_trained_in(windows, inputs):
    activations = Quantizer(format=Int(bits=3), granularity=inputs)
    roles = Precision(weights=WEIGHTS, activations=activations, kv=TOKENS)
    run = tiny_run(precision=roles)
    trained = as_trained(run, PARAMS)
    batches = windows.reshape(-1, run.batch, windows.shape[1])
    each = [losses(MODEL, trained.params, jnp.asarray(batch), trained.arithmetic) for batch in batches]
    same, other = PTQ(quantizer=WEIGHTS), PTQ(quantizer=Quantizer(format=Int(bits=4)), kv=TOKENS)
    evals = (tiny_eval(), tiny_eval(ptq=same), tiny_eval(ptq=other))
    plain, rounded, kv = measure(run, PARAMS, windows, evals, None)
    assert plain.loss == pytest.approx(float(np.mean(np.concatenate(each))), rel=1e-6)
    # what a run was trained with costs it nothing afterwards
    assert rounded.loss == plain.loss
    assert rounded.delta == 0
    # weights on four bits, and the rest as it was trained
    four = Precision(weights=other.quantizer, activations=activations, kv=TOKENS)
    (wanted,) = measure(tiny_run(precision=four), PARAMS, windows, (tiny_eval(),), None)
    assert kv.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert kv.delta != 0


def test_turned_inputs_are_turned_for_quantized_weights_too(windows):
    roles = Precision(activations=TOKENS, rotate=True)
    fine = tiny_eval(ptq=PTQ(quantizer=Quantizer(format=Int(bits=16))))
    plain, rounded = measure(tiny_run(precision=roles), PARAMS, windows, (tiny_eval(), fine), None)
    assert rounded.delta == pytest.approx(0, abs=1e-3)
    assert plain.loss == pytest.approx(rounded.loss, abs=1e-3)


def test_weights_that_were_rounded_at_random_are_measured_to_nearest():
    drawn = Precision(weights=Quantizer(format=Int(bits=2), granularity=PerChannel(), rounding="stochastic"))
    found = as_trained(tiny_run(precision=drawn), PARAMS).params
    nearest = as_trained(tiny_run(precision=Precision(weights=WEIGHTS)), PARAMS).params
    jax.tree.map(np.testing.assert_array_equal, found, nearest)
