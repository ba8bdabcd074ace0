"""Memory: estimates against what XLA says that compiled programs take."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from simlaw.arithmetic import FLOAT32
from simlaw.config import EMA, LAWA, PTQ, SGD, AdamW, ModelSpec
from simlaw.corpora import open_corpus
from simlaw.evaluate import _losses
from simlaw.formats import Int, Quantizer
from simlaw.memory import activations, need_of
from simlaw.model import losses, matrices
from simlaw.plan import shapes_of
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import tiny_eval, tiny_run

#: The estimate is right within this factor.
FACTOR = 2.0
MODEL = ModelSpec(vocab=16, context=64, width=64, layers=4, heads=4, hidden=192)
PTQS = tuple(PTQ(quantizer=Quantizer(format=Int(bits=bits))) for bits in range(2, 9))
SPEC = tiny_run(model=MODEL, batch=16, tokens=1024 * 20)


def within(estimate, truth):
    assert truth / FACTOR < estimate < truth * FACTOR, (estimate, truth)


@pytest.mark.parametrize("averages", [(), (EMA(tokens=1024), LAWA(count=3, every_tokens=1024))])
@pytest.mark.parametrize("optimizer", [AdamW(rate=0.1), SGD(rate=0.1)])
def test_the_state_is_counted_to_the_byte(optimizer, averages):
    spec = dataclasses.replace(SPEC, optimizer=optimizer, averages=averages)
    truth = jax.tree.leaves(jax.eval_shape(lambda: start([spec])))
    counters = 8  # two steps, of 4 bytes
    assert need_of(spec, ()).state == pytest.approx(sum(leaf.size * 4 for leaf in truth), abs=counters)


def test_a_step_takes_what_is_estimated():
    program = compile_shape(shape_of(SPEC), open_corpus(SPEC.corpus))
    state, data = jax.eval_shape(lambda: start([SPEC])), members(program, [SPEC], cool=True)
    found = program.step_pack.lower(program.shared, state, data, jnp.int32(4)).compile().memory_analysis()
    need = need_of(SPEC, ())
    within(need.step, found.temp_size_in_bytes)
    within(need.pack(1) - need.state, found.temp_size_in_bytes + found.argument_size_in_bytes)


@pytest.mark.parametrize("remat", [False, True])
def test_what_the_backward_pass_keeps(remat):
    windows = jax.ShapeDtypeStruct((16, 65), jnp.int32)
    pull = jax.jit(jax.grad(lambda params, w: losses(MODEL, params, w, remat=remat).mean()))
    found = pull.lower(shapes_of(MODEL), windows).compile().memory_analysis()
    # XLA's CPU compiler keeps nearly all that rematerialisation would free, so that it counts on accelerators alone
    within(16 * 64 * activations(MODEL), found.temp_size_in_bytes)
    assert activations(MODEL, remat=True) < activations(MODEL) / 2


def test_an_evaluation_takes_what_is_estimated():
    tree = shapes_of(MODEL)
    stacks = tuple(
        {place: jax.ShapeDtypeStruct((n, *w.shape), jnp.float32) for place, w in matrices(tree).items()} for n in (1, 7)
    )
    windows = jax.ShapeDtypeStruct((64, 65), jnp.int32)
    found = _losses.lower(MODEL, FLOAT32, tree, stacks, windows, None, ()).compile().memory_analysis()
    evals = (tiny_eval(), *(tiny_eval(ptq=ptq) for ptq in PTQS))
    within(need_of(SPEC, evals).evaluation, found.temp_size_in_bytes)


def test_a_pack_side_by_side_takes_as_many_times_the_inside_of_a_step():
    one, many = need_of(SPEC, ()), need_of(SPEC, (), side_by_side=True)
    assert many.step > one.step  # its batch is not cut into parts
    assert many.pack(8) == 8 * many.pack(1)
    assert one.pack(8) < 8 * one.pack(1) + 8 * one.state


def test_the_windows_of_a_stream_are_there_three_times():
    resident, streamed = (need_of(SPEC, (), streamed=streamed) for streamed in (False, True))
    assert streamed.step - resident.step == 3 * 64 * 16 * 65  # steps, sequences of a batch, context and one more
