"""Mixtures: shares that are exact, parts that come whole and apart, and floors that are those of the parts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import WSD, ZRHM, Graph, Mix, Part, Step, Teach, Text, ZFact, run_id
from simlaw.corpora import open_corpus
from simlaw.corpora.array import AbstractArrayCorpus
from simlaw.corpora.lessons import make_lessons
from simlaw.corpora.mix import Quota
from simlaw.corpora.tokenizer import tokenizer_of
from simlaw.declared import decode, encode
from simlaw.errors import SimlawError
from simlaw.evaluate import measure
from simlaw.model import init
from simlaw.plan import expand
from simlaw.recipe import RECIPES, Family, RateRule
from simlaw.run.session import _enough
from simlaw.sweep import Grid, Sweep
from simlaw.teacher import Teacher
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_eval, tiny_run

GRAPH, OTHER = Graph(nodes=8, out=3), Graph(nodes=5, out=2, seed=1)
FACTS = ZFact(entities=16, relations=2, values=3, base=4)
RULES = ZRHM(symbols=4, rules=2, levels=2)
CONTEXT = 15


def mixed(*pairs, seed=0):
    return Mix(parts=tuple(Part(source=source, share=share) for source, share in pairs), seed=seed)


@pytest.fixture(scope="module")
def mix():
    return open_corpus(mixed((GRAPH, 0.4), (FACTS, 0.35), (RULES, 0.25)))


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix") / "lessons"
    teacher = Teacher.of("abc", tiny_run(), init(MODEL, jax.random.key(0)), 0)
    make_lessons(teacher, folder, tokens=16 * 60, held_out=16 * 200, seed=0)
    return Teach(folder=str(folder), vocab=16)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for i in range(20):
        (folder / f"{i:02d}.txt").write_text("".join(rng.choice(list("abcd \n"), 200)))
    return Text(folder=str(folder), suffixes=(".txt",), held_out=0.3)


def batches(corpus, steps, batch, seed=0, context=CONTEXT):
    shared, own = corpus.shared_data(), jax.device_put(corpus.seed_data(seed, context))
    step = jax.jit(lambda at: corpus.batch(shared, own, at, batch, context))
    return np.stack([np.asarray(step(jnp.int32(at))) for at in range(steps)])


SHARES = [(0.4, 0.35, 0.25), (0.5, 0.5), (0.05, 0.15, 0.3, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.999, 0.001)]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("batch", [1, 7, 32])
def test_after_any_number_of_steps_the_shares_are_exact_but_for_a_few_windows(shares, batch):
    quota = Quota.of(shares, batch)
    assert sum(quota.fixed) + quota.left == batch
    steps = np.arange(0, 100_000, 7, dtype=np.uint32)
    count = quota.dealt(steps * np.uint32(quota.left), np).astype(np.int64)
    assert (count.sum(axis=0) == steps.astype(np.int64) * quota.left).all()
    assert (np.diff(count, axis=1) >= 0).all()
    whole = steps * np.array(quota.fixed)[:, None] + count
    assert np.abs(whole - steps * batch * np.array(shares)[:, None]).max() < len(shares)
    # each of those left over goes to one part
    one = np.diff(quota.dealt(np.arange(1000, dtype=np.uint32), np).astype(np.int64), axis=1)
    assert set(one.ravel()) <= {0, 1}
    assert np.array_equal(quota.dealt(jnp.asarray(steps)), quota.dealt(steps, np))


def test_whole_products_of_32_bits():
    rng = np.random.default_rng(0)
    counts = np.append(rng.integers(0, 2**32, 1000, np.uint64), 2**32 - 1)
    for share in (1 / 3, 0.999999, 1e-9):
        quota = Quota(fixed=(0, 0), left=1, shares=(share, 1 - share))
        exact = [int(n) * round(2**32 * share) >> 32 for n in counts]
        assert quota.dealt(counts.astype(np.uint32), np)[0].tolist() == exact


def test_a_window_is_one_of_its_part_behind_its_tag(mix):
    found = batches(mix, 40, 10)
    tags = found[:, :, 0]
    share = np.bincount(tags.ravel(), minlength=3) / tags.size
    assert np.abs(share - [0.4, 0.35, 0.25]).max() < 3 / tags.size
    for i, (corpus, at) in enumerate(zip(mix.corpora, mix.spec.offsets, strict=True)):
        windows = found[tags == i]
        own = windows[:, 1:] - at
        assert own.min() >= 0
        assert own.max() < corpus.vocab
    assert found.max() < mix.vocab == 3 + 8 + 10 + 5
    assert mix.spec.offsets == (3, 11, 21)
    assert mix.spec.left_out == (0, 1, 2, 11, 21)


def test_a_parts_windows_are_its_own_by_number_and_come_without_a_gap(mix):
    found = batches(mix, 12, 10).reshape(-1, CONTEXT + 1)
    own = mix.seed_data(0, CONTEXT)
    for i, (corpus, at) in enumerate(zip(mix.corpora, mix.spec.offsets, strict=True)):
        windows = found[found[:, 0] == i]
        shared = corpus.shared_data()
        one = jax.jit(lambda n, corpus=corpus, shared=shared, i=i: corpus.batch(shared, own[i], n, 1, CONTEXT)[0])
        expected = np.stack([np.asarray(one(jnp.int32(n))) for n in range(len(windows))])
        assert sorted(map(bytes, expected[:, 1:] + at)) == sorted(map(bytes, windows[:, 1:]))


def test_an_epoch_sees_every_window_of_a_finite_part_once(lessons):
    corpus = open_corpus(mixed((GRAPH, 0.4), (lessons, 0.3), (OTHER, 0.3)))
    assert corpus.epoch_tokens(16) == 200 * 16  # 60 windows at 0.3
    found = batches(corpus, 28, 7, context=16).reshape(-1, 17)
    taught = found[found[:, 0] == 1][:, 1:] - corpus.spec.offsets[1]
    assert abs(len(taught) - 0.3 * 196) < 3
    assert len(np.unique(taught, axis=0)) == len(taught)
    there = {bytes(row) for row in corpus.corpora[1].lessons.train[:, 1:].astype(np.int64)}
    assert all(bytes(row) in there for row in taught.astype(np.int64))
    assert open_corpus(mixed((GRAPH, 0.5), (OTHER, 0.5))).epoch_tokens(16) is None


def test_parts_and_seeds_are_drawn_apart():
    twin = replace(GRAPH, seed=2)
    corpus = open_corpus(mixed((GRAPH, 0.5), (twin, 0.5)))
    keys = [tuple(np.asarray(key)) for seed in (0, 1) for key in corpus.seed_data(seed, 16)]
    other = open_corpus(mixed((GRAPH, 0.5), (twin, 0.5), seed=1))
    keys += [tuple(np.asarray(key)) for key in other.seed_data(0, 16)]
    assert len(set(keys)) == 6
    assert corpus.fingerprint != other.fingerprint
    held = corpus.held_out(16 * 100, 16)
    seen = {bytes(row) for row in batches(corpus, 20, 10, context=16).reshape(-1, 17)}
    assert not {bytes(row) for row in held} & seen


def test_the_floor_is_that_of_the_parts(mix):
    windows = mix.held_out(400 * CONTEXT, CONTEXT)
    assert np.bincount(windows[:, 0]).tolist() == [160, 140, 100]
    floor = mix.floor_nll(windows)
    for i, (corpus, at) in enumerate(zip(mix.corpora, mix.spec.offsets, strict=True)):
        rows = windows[:, 0] == i
        own = windows[rows] - at
        if i == 0:
            assert np.allclose(floor[rows, 1:], corpus.floor_nll(own[:, 1:]), rtol=1e-12)
            first = -np.log(corpus.stationary[own[:, 1]])
            assert np.allclose(floor[rows, 0], first, rtol=1e-12)
        else:
            own[:, 0] = 0
            assert np.allclose(floor[rows], corpus.floor_nll(own), rtol=1e-12)
    left = np.isin(windows[:, 1:], mix.spec.left_out)
    assert left.any()
    assert (floor[left] == 0).all()
    means = mix.floor(windows)
    graph = means[windows[:, 0] == 0]
    source = mix.corpora[0]
    p = source.stationary
    exact = (-(p * np.log(p)).sum() + (CONTEXT - 1) * source.entropy) / CONTEXT
    assert graph.mean() == pytest.approx(exact, abs=4 * graph.std() / np.sqrt(len(graph)))


def test_problems_mix_too():
    step = Step(modulus=5, least_steps=1, most_steps=2, distractors=1)
    corpus = open_corpus(mixed((step, 0.5), (FACTS, 0.5)))
    problems, _ = corpus.corpora
    context = problems.shortest
    found = batches(corpus, 2, 8, context=context).reshape(-1, context + 1)
    assert (corpus.floor_nll(found) > -1e-9).all()
    own = found[found[:, 0] == 0] - corpus.spec.offsets[0]
    own[:, 0] = 0
    assert np.allclose(corpus.floor_nll(found)[found[:, 0] == 0], problems.floor_nll(own), rtol=1e-12)


def test_a_graphs_first_step_is_drawn_as_its_first_node_is():
    graph = open_corpus(GRAPH)
    windows = graph.held_out(4000 * 2, 2)
    found = graph.floor_nll_untold(windows)
    # over all first nodes, by the definition
    joint = np.zeros((8, 8))
    np.put_along_axis(joint, graph.successors.astype(int), graph.probabilities[None], axis=1)
    second = (graph.stationary[:, None] * joint).sum(axis=0)
    assert np.allclose(found[:, 0], -np.log(second[windows[:, 1]]), atol=1e-9)
    # and which node stands there makes no difference
    assert np.array_equal(graph.floor_nll_untold(np.concatenate([windows[:, :1] * 0, windows[:, 1:]], axis=1)), found)


def test_the_entropy_is_the_mean_of_windows(mix):
    corpus = open_corpus(mixed((FACTS, 0.3), (RULES, 0.7)))
    facts, rules = corpus.corpora
    assert corpus.entropy == pytest.approx(0.3 * facts.entropy + 0.7 * rules.entropy, rel=1e-12)
    context = 30  # six facts, or strings
    floor = corpus.floor(corpus.held_out(2000 * context, context))
    assert floor.mean() == pytest.approx(corpus.entropy, abs=4 * floor.std() / np.sqrt(len(floor)) + 0.02)
    assert mix.entropy is None  # a graph's first step is from a node that is not told


def test_with_text_there_is_no_floor(text):
    corpus = open_corpus(mixed((text, 0.5), (GRAPH, 0.5)))
    windows = corpus.held_out(8 * 16, 16)
    assert corpus.floor_nll(windows) is None
    assert corpus.floor(windows) is None
    assert corpus.entropy is None
    assert "mixture, no floor, since that of <TEXT> is not known" in corpus.describe()
    assert "50 % <TEXT> text, " in corpus.describe()
    assert corpus.listing().startswith("<TEXT>\npath,bytes,sha256,part\n")
    epoch = corpus.corpora[0].epoch_tokens(16)
    assert corpus.epoch_tokens(16) == epoch * 2


def test_a_mixture_describes_its_parts(mix):
    said = mix.describe()
    assert said.startswith("mixture, exact floor, fingerprint ")
    assert "40 % <GRAPH> graph of 8 nodes" in said
    assert "35 % <ZFACT> facts: " in said


def test_tokens_have_names_that_differ(text):
    spec = mixed((GRAPH, 0.25), (replace(GRAPH, seed=1), 0.25), (RULES, 0.25), (text, 0.25))
    names = spec.names
    assert len(names) == len(set(names)) == spec.vocab == 4 + 8 + 8 + 5 + 256
    assert spec.tags == names[:4] == ("<GRAPH1>", "<GRAPH2>", "<ZRHM>", "<TEXT>")
    assert names[4:7] == ("graph1:0", "graph1:1", "graph1:2")
    assert not any(name.split() != [name] for name in names)
    tokenizer = tokenizer_of(spec, spec.vocab)
    written = tokenizer.decode(np.arange(spec.vocab))
    assert tokenizer.encode(written).tolist() == list(range(spec.vocab))
    assert decode(Mix, encode(spec)) == spec


def test_strata_of_a_part_are_moved_behind_its_tag(mix):
    moved, own = mix.strata(CONTEXT), mix.corpora[1].strata(CONTEXT)
    assert len(moved) == len(own) > 0
    assert [one.axis for one in moved] == [one.axis for one in own]
    assert (moved[0].windows[:, 0] == 1).all()
    assert np.array_equal(moved[0].windows[:, 1:], own[0].windows[:, 1:] + mix.spec.offsets[1])
    two = open_corpus(mixed((FACTS, 0.5), (replace(FACTS, seed=1), 0.5))).strata(CONTEXT)
    assert {one.axis for one in two} == {"rank of zfact1", "rank of zfact2"}


def test_a_run_trains_on_a_mixture_and_its_excess_is_against_the_floor():
    mix = open_corpus(mixed((GRAPH, 0.6), (FACTS, 0.4)))
    spec = tiny_run(corpus=mix.spec, model=replace(MODEL, vocab=mix.vocab))
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        program = compile_shape(shape_of(spec), mix)
        state, _ = program.advance(start([spec]), members(program, [spec], cool=True), 20)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    windows = mix.held_out(1024, 16)
    (found,) = measure(spec, jax.tree.map(lambda w: w[0], state.params), windows, (tiny_eval(),), mix.floor(windows))
    assert found.floor == pytest.approx(mix.floor(windows).mean())
    assert np.log(mix.vocab) > found.loss > found.floor > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: mixed((GRAPH, 0.5), (OTHER, 0.4)),
            r"the shares of Mix.parts are 0.5 \+ 0.4 = 0.9: they must sum to 1",
        ),
        (lambda: mixed((GRAPH, 1.0)), r"Mix.parts has 1: a mixture has two parts or more"),
        (lambda: mixed((GRAPH, 0.5), (GRAPH, 0.5)), r"Mix.parts holds Graph\(nodes=8, out=3, seed=0\) twice: name it"),
        (lambda: mixed((GRAPH, 0.0), (OTHER, 1.0)), r"Part.share is 0.0: it must be above 0"),
        (
            lambda: mixed((mixed((GRAPH, 0.5), (OTHER, 0.5)), 0.5), (FACTS, 0.5)),
            r"Part.source is Mix\(.*: it must be Text or Tokens or Graph",
        ),
        (
            lambda: open_corpus(mixed((FACTS, 0.5), (GRAPH, 0.5))).seed_data(0, 4),
            r"the part <ZFACT> of the mixture: the context of 4 is shorter than one item of ZFact",
        ),
        (
            lambda: open_corpus(mixed((Text(folder="nowhere"), 0.5), (GRAPH, 0.5))),
            r"the part <TEXT> of the mixture: the corpus folder 'nowhere' does not exist",
        ),
        (
            lambda: open_corpus(mixed((GRAPH, 0.5), (OTHER, 0.5))).held_out(15, 16),
            r"wants 15 tokens, less than one window of 16",
        ),
    ],
)
def test_what_is_no_mixture_gets_a_sentence(make, sentence):
    with pytest.raises(SimlawError, match=sentence):
        make()


def test_tokens_that_a_mixture_cannot_give_are_named_by_position(mix):
    windows = mix.held_out(40 * CONTEXT, CONTEXT)
    facts, graph = (int(np.flatnonzero(windows[:, 0] == part)[2]) for part in (1, 0))
    after = mix.corpora[0].successors[windows[graph, 2] - 3]
    lost = next(node for node in range(8) if node not in after)
    for row, place, token, sentence in (
        (3, 0, 5, "the token 5 at position 0 of window 3 .* a window begins with a tag, from 0 to 2"),
        # a fact of four digits' names at most, of which the relation is the third token
        (
            facts,
            2,
            3 + 8 + 5,
            rf"the token 16 at position 2 of window {facts} is none .* \(of <ZFACT>, whose tokens begin",
        ),
        (graph, 3, 3 + lost, rf"token {3 + lost} at position 3 of window {graph} .* no successor .* \(of <GRAPH>"),
        (2, 4, mix.vocab, f"the token {mix.vocab} at position 4 of window 2 is not of this vocabulary"),
        (int(np.flatnonzero(windows[:, 0] == 1)[1]), 2, 4, "the token 4 at position 2 .* <ZFACT> are from 11 to 20"),
    ):
        wrong = windows.copy()
        wrong[row, place] = token
        with pytest.raises(SimlawError, match=sentence):
            mix.floor_nll(wrong)


def test_a_part_that_is_streamed_is_refused(text, monkeypatch):
    monkeypatch.setattr(AbstractArrayCorpus, "streamed", True)
    with pytest.raises(SimlawError, match=r"the part <TEXT> of the mixture: .* streamed from the host"):
        open_corpus(mixed((text, 0.5), (GRAPH, 0.5)))


def test_a_sweep_of_a_mixture_plans_g4_and_counts_each_parts_passes(text):
    spec = mixed((text, 0.25), (GRAPH, 0.75))
    sweep = Sweep(
        corpus=spec,
        family=Family(layers=1, head_dim=8, context=16),
        rate=RateRule(rate=0.02, width=16, exponent=-1.0),
        schedule=WSD(warmup_tokens=512),
        batch=8,
        grids=(Grid(widths=(16,), tokens=(128 * 200,), recipes=(RECIPES["g4"],)),),
        eval_tokens=1024,
    )
    corpus = open_corpus(spec)
    plan = expand(sweep, corpus.fingerprint)
    assert plan.cells[0].spec.model.vocab == 2 + 256 + 8
    sentence = r"the part <TEXT> of the mixture: the longest run wants 6400 tokens .* Text\(epochs="
    with pytest.raises(SimlawError, match=sentence):
        _enough(corpus, 16, 128 * 200)
    other = replace(spec, parts=(replace(spec.parts[0], source=replace(text, epochs=9.0)), spec.parts[1]))
    _enough(open_corpus(other), 16, 128 * 200)
    assert run_id(plan.cells[0].spec, "f") == run_id(replace(plan.cells[0].spec, corpus=other), "f")
