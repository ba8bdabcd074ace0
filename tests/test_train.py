"""Training: numbers do not depend on how the work is cut or packed; quantised training; divergence stays visible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.arithmetic import Plain
from simlaw.config import SGD, WSD, AdamW, Cosine, Muon, Precision
from simlaw.evaluate import measure
from simlaw.formats import Int, PerChannel, Quantizer
from simlaw.history import join
from simlaw.model import init, logits, losses
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import tiny_eval, tiny_run

#: Nats by which losses of 20 steps differ where members run side by side: other orders of summation, float32.
SIDE_BY_SIDE = 1e-5


def train(program, specs, cuts, cool=False):
    """The states after dispatches of these lengths, and the losses on the way."""
    state, data, seen = start(specs), members(program, specs, cool), []
    for steps in cuts:
        state, history = program.advance(state, data, steps)
        seen.append(history)
    return jax.tree.map(np.asarray, state), join(seen).loss


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_loss_falls_to_the_floor(program):
    _, losses = train(program, [tiny_run()], [64, 64, 64])
    assert losses[0, 0] > 2.5  # ln 16 = 2.77, and more from the random head
    assert losses[0, -8:].mean() < program.corpus.entropy + 0.15
    assert losses[0, -8:].mean() > program.corpus.entropy - 0.05


def test_every_step_has_the_norm_of_its_gradient_before_clipping(corpus, program):
    spec = tiny_run(optimizer=AdamW(rate=0.02, clip=1e-3))  # far below the norms, which it must not touch
    tight = compile_shape(shape_of(spec), corpus)
    state, data = start([spec]), members(tight, [spec], cool=False)
    params = jax.tree.map(lambda x: np.asarray(x[0]), state.params)
    _, history = tight.advance(state, data, 3)
    own = jax.tree.map(lambda x: x[0], data.corpus)
    windows = corpus.batch(tight.shared, own, jnp.int32(0), spec.batch, spec.model.context)
    grads = jax.grad(lambda tree: losses(spec.model, tree, windows).mean())(params)
    truth = np.sqrt(sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in jax.tree.leaves(grads)))
    assert history.gradient_norm.shape == history.loss.shape == (1, 3)
    assert history.gradient_norm[0, 0] == pytest.approx(truth, rel=1e-5)
    assert truth > 0.1


def test_cuts_do_not_change_a_bit(program):
    once, losses = train(program, [tiny_run()], [20])
    cut, pieces = train(program, [tiny_run()], [1, 7, 12])
    assert same(once, cut)
    assert np.array_equal(losses, pieces)


def test_a_pack_gives_each_member_what_it_gets_alone(program):
    specs = [tiny_run(seed=s, optimizer=AdamW(rate=0.02, rate_multiple=m)) for s, m in ((0, 1.0), (1, 1.0), (0, 2.0))]
    together, losses = train(program, specs, [20], cool=True)
    for i, spec in enumerate(specs):
        alone, own = train(program, [spec], [20], cool=True)
        assert same(jax.tree.map(lambda x, i=i: x[i], together), jax.tree.map(lambda x: x[0], alone))
        assert np.array_equal(losses[i], own[0])
    assert len(np.unique(losses[:, -1])) == 3  # and they are three different runs


def test_a_trunk_and_its_branch_part_at_the_branch(program):
    spec = tiny_run()
    assert (spec.branch_step, spec.steps) == (16, 20)
    trunk, before = train(program, [spec], [16])
    branch, whole = train(program, [spec], [20], cool=True)
    assert np.array_equal(before, whole[:, :16])
    state, _ = program.advance(jax.tree.map(np.asarray, trunk), members(program, [spec], cool=True), 4)
    assert same(jax.tree.map(np.asarray, state), branch)


def quantised(bits, **changes):
    quantizer = Quantizer(format=Int(bits=bits), granularity=PerChannel())
    return tiny_run(precision=Precision(weights=quantizer), **changes)


@pytest.fixture(scope="module")
def of_bits(corpus):
    """The program of all runs with quantised weights: bits are data."""
    assert shape_of(quantised(2)) == shape_of(quantised(8))
    return compile_shape(shape_of(quantised(2)), corpus)


@pytest.fixture(scope="module")
def side_by_side(corpus):
    """The same, as it runs on an accelerator."""
    return compile_shape(shape_of(quantised(2)), corpus, side_by_side=True)


#: A pack whose members differ in everything that is data: seed, rate, warm-up, bits.
DIFFERENT = [
    quantised(3),
    quantised(8, seed=1, optimizer=AdamW(rate=0.02, rate_multiple=0.5)),
    quantised(5, seed=2, schedule=WSD(warmup_tokens=1024)),
]


def test_members_that_differ_in_everything_that_is_data_get_what_they_get_alone(of_bits):
    together, losses = train(of_bits, DIFFERENT, [20], cool=True)
    for i, spec in enumerate(DIFFERENT):
        alone, own = train(of_bits, [spec], [20], cool=True)
        assert same(jax.tree.map(lambda x, i=i: x[i], together), jax.tree.map(lambda x: x[0], alone))
        assert np.array_equal(losses[i], own[0])
    assert len(np.unique(losses[:, -1])) == 3


def test_side_by_side_they_get_the_same_to_rounding(of_bits, side_by_side):
    _, one_by_one = train(of_bits, DIFFERENT, [20], cool=True)
    _, losses = train(side_by_side, DIFFERENT, [20], cool=True)
    assert np.allclose(losses, one_by_one, rtol=0, atol=SIDE_BY_SIDE)
    assert not np.allclose(losses, losses[::-1], rtol=0, atol=100 * SIDE_BY_SIDE)  # members are further apart


@pytest.mark.parametrize("path", ["of_bits", "side_by_side"])
def test_a_diverged_member_never_touches_its_neighbours(path, request):
    program = request.getfixturevalue(path)
    wild = quantised(8, seed=1, optimizer=AdamW(rate=0.02, rate_multiple=1e30))
    calm, before = train(program, DIFFERENT, [20], cool=True)
    state, losses = train(program, [DIFFERENT[0], wild, DIFFERENT[2]], [20], cool=True)
    assert not np.isfinite(losses[1, -1])
    for i in (0, 2):
        assert np.array_equal(losses[i], before[i])
        assert same(*(jax.tree.map(lambda x, i=i: x[i], tree) for tree in (state, calm)))


def test_quantised_training_uses_rounded_weights_and_keeps_full_ones(of_bits):
    state, losses = train(of_bits, [quantised(2), quantised(3), quantised(8)], [64])
    weights = state.params["blocks"]["blocks"][0]["feed"]["down"]
    assert all(len(np.unique(weights[i])) > 500 for i in range(3))
    final = losses[:, -8:].mean(axis=1)
    assert final[0] > final[1] + 0.02 > final[2]


def test_parts_of_a_batch_add_up(corpus, program, monkeypatch):
    monkeypatch.setattr("simlaw.train.CPU_PART_TOKENS", 32)
    split = compile_shape(shape_of(tiny_run()), corpus)
    _, whole = train(program, [tiny_run()], [3])
    _, parts = train(split, [tiny_run()], [3])
    assert np.allclose(whole, parts, atol=1e-5)


def test_a_diverged_member_stays_so_and_takes_no_other_with_it(program):
    wild = tiny_run(optimizer=AdamW(rate=0.02, rate_multiple=1e30))
    _, losses = train(program, [wild, tiny_run()], [20])
    bad = ~np.isfinite(losses[0])
    assert bad[-1]
    assert bad[np.argmax(bad) :].all()
    assert np.isfinite(losses[1]).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_depends_on_its_seed(program, seed):
    a, _ = train(program, [tiny_run(seed=seed)], [1])
    b, _ = train(program, [tiny_run(seed=seed)], [1])
    c, _ = train(program, [tiny_run(seed=seed + 1)], [1])
    assert same(a, b)
    assert not same(a, c)


def test_one_step_of_a_run_with_z_loss_by_hand(corpus):
    """Plain descent on the cross-entropy plus 0.1 times the squared log-normaliser; histories hold the former."""
    sgd = SGD(rate=0.5, momentum=0.0, weight_decay=0.0, clip=1e9)
    spec = tiny_run(optimizer=sgd, schedule=WSD(warmup_tokens=0), z_loss=0.1)
    program = compile_shape(shape_of(spec), corpus)
    params = init(spec.model, jax.random.key(spec.seed))
    data = jax.tree.map(lambda x: x[0], members(program, [spec], cool=False).corpus)
    windows = corpus.batch(program.shared, data, jnp.int32(0), spec.batch, spec.model.context)

    def objective(params):
        z = logits(spec.model, params, windows[:, :-1])
        normalizer = jnp.log(jnp.exp(z).sum(axis=2))
        target = (z * jax.nn.one_hot(windows[:, 1:], 16)).sum(axis=2)
        return (normalizer - target).mean() + 0.1 * (normalizer**2).mean(), (normalizer - target).mean()

    slopes, plain = jax.jit(jax.grad(objective, has_aux=True))(params)
    state, history = train(program, [spec], [1])
    assert history[0, 0] == pytest.approx(float(plain), abs=1e-5)
    for w, g, got in zip(*map(jax.tree.leaves, (params, slopes, state.params)), strict=True):
        assert np.allclose(got[0], w - 0.5 * g, atol=1e-6)


def test_muon_under_both_schedules_in_one_pack(corpus):
    """A pack whose members differ in schedule is one program, and gives each what it gets alone."""
    muon = Muon(rate=0.02)
    specs = [tiny_run(optimizer=muon), tiny_run(optimizer=muon, schedule=Cosine(warmup_tokens=256))]
    assert shape_of(specs[0]) == shape_of(specs[1])
    program = compile_shape(shape_of(specs[0]), corpus)
    together, seen = train(program, specs, [20], cool=True)
    alone, own = train(program, specs[1:], [20], cool=True)
    assert same(jax.tree.map(lambda x: x[1], together), jax.tree.map(lambda x: x[0], alone))
    assert np.array_equal(seen[1], own[0])
    assert np.array_equal(seen[0, :2], seen[1, :2])  # the warm-up is shared, and then they part
    assert (seen[0, 4:] != seen[1, 4:]).all()
    assert (seen[:, -1] < seen[:, 0] - 0.3).all()


def test_a_bfloat16_run_is_near_a_float32_one_and_keeps_float32_weights(corpus, program):
    spec = tiny_run(dtype="bfloat16")
    state, coarse = train(compile_shape(shape_of(spec), corpus), [spec], [20])
    _, fine = train(program, [tiny_run()], [20])
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.optimizer))} <= {
        np.dtype(np.float32),
        np.dtype(np.int32),
    }
    assert (coarse != fine).all()
    assert np.allclose(coarse, fine, atol=0.02)
    # evaluated in the arithmetic that it trained in
    params, windows = jax.tree.map(lambda x: jnp.asarray(x[0]), state.params), corpus.held_out(1024, spec.model.context)
    (found,) = measure(spec, params, windows, [tiny_eval()], None)
    expected, other = (
        losses(spec.model, params, jnp.asarray(windows), Plain(dtype=d)).mean() for d in ("bfloat16", "float32")
    )
    assert found.loss == pytest.approx(float(expected), abs=1e-6)
    assert abs(found.loss - float(other)) > 1e-5
