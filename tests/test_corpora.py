"""Corpora: exact entropies, splits by file, batches as a function of (seed, step), refusals."""

import csv
import hashlib
import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import Graph, Text
from simlaw.corpora import GraphCorpus, TextCorpus
from simlaw.corpora.order import hashed, order
from simlaw.errors import SimlawError


def test_the_order_is_the_published_generator():
    # the first outputs of splitmix64 from state 1234567 (Vigna's reference): checked through our stream's own start
    def reference(state, count):
        for _ in range(count):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
            yield z ^ (z >> 31)

    assert list(reference(1234567, 2)) == [6457827717110365317, 3203168211198807973]
    start = next(reference(7 * 0x9E3779B97F4A7C15 % 2**64, 1))
    assert hashed(7, 5).tolist() == list(reference(start, 5))


def test_orders_are_permutations_that_differ_by_seed():
    assert sorted(order(0, 1000)) == list(range(1000))
    assert (order(0, 1000) == order(1, 1000)).mean() < 0.01


@pytest.fixture(scope="module")
def graph():
    return GraphCorpus.build(Graph(nodes=16, out=4))


def test_graph_entropy_is_that_of_its_transitions(graph):
    weights = np.array([1, 1 / 2, 1 / 3, 1 / 4])
    p = weights / weights.sum()
    assert graph.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-15)
    assert all(len(set(row)) == 4 for row in graph.successors)


def test_graph_starts_in_its_stationary_distribution(graph):
    transition = np.zeros((16, 16))
    for i, j in itertools.product(range(16), range(4)):
        transition[i, graph.successors[i, j]] += graph.probabilities[j]
    assert np.allclose(graph.stationary @ transition, graph.stationary, atol=1e-12)


def test_graph_walks_follow_the_graph_with_its_frequencies(graph):
    windows = graph.held_out(64 * 512, 64)
    choice = [
        np.flatnonzero(graph.successors[a] == b).item()
        for a, b in zip(windows[:, :-1].ravel(), windows[:, 1:].ravel(), strict=True)
    ]
    frequency = np.bincount(choice, minlength=4) / len(choice)
    assert np.allclose(frequency, graph.probabilities, atol=4 * np.sqrt(0.25 / len(choice)))
    start = np.bincount(windows[:, 0], minlength=16) / len(windows)
    assert np.allclose(start, graph.stationary, atol=4 * np.sqrt(0.25 / len(windows)))


def test_graph_floor_is_the_exact_loss_of_the_source(graph):
    windows = graph.held_out(64 * 512, 64)
    floor = graph.floor(windows)
    assert floor.mean() == pytest.approx(graph.entropy, abs=4 * floor.std() / np.sqrt(len(floor)))
    by_hand = [
        -np.log(graph.probabilities[list(graph.successors[a]).index(b)]) for a, b in itertools.pairwise(windows[0])
    ]
    assert floor[0] == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_graph_names_a_token_that_no_walk_has_by_position(graph):
    windows = graph.held_out(6 * 10, 10).copy()
    lost = next(node for node in range(16) if node not in graph.successors[windows[2, 3]])
    for token, sentence in (
        (16, "token 16 at position 4 of window 2 is not of"),
        (-1, "token -1 at position 4"),
        (lost, f"token {lost} at position 4 of window 2 is none .* no successor of the node before"),
    ):
        windows[2, 4] = token
        for floor in (graph.floor_nll, graph.floor_nll_untold):
            with pytest.raises(SimlawError, match=sentence):
                floor(windows)


def test_graph_batches_depend_on_seed_and_step_alone(graph):
    def batch(seed, step):
        return np.asarray(graph.batch(graph.shared_data(), graph.seed_data(seed, 16), jnp.int32(step), 8, 16))

    assert batch(0, 3).shape == (8, 17)
    assert np.array_equal(batch(0, 3), batch(0, 3))
    assert not np.array_equal(batch(0, 3), batch(0, 4))
    assert not np.array_equal(batch(0, 3), batch(1, 3))


def test_graph_walks_and_initial_parameters_of_a_seed_are_drawn_apart(graph):
    initial = jax.random.key_data(jax.random.key(3))
    assert not np.array_equal(graph.seed_data(3, 16), initial)


def test_graph_refuses_more_successors_than_nodes():
    with pytest.raises(SimlawError, match=r"Graph.out is 5: a node has at most 4 successors"):
        Graph(nodes=4, out=5)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        (tmp_path / f"{i:02d}.txt").write_text("".join(rng.choice(list("abcdé \n"), 500)))
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "zero.txt").write_bytes(b"a\x00b")
    (tmp_path / "other.dat").write_text("not asked for")
    return tmp_path


def read(folder, **fields):
    return TextCorpus.read(Text(folder=str(folder), suffixes=(".txt",), held_out=0.2, **fields))


def test_text_splits_by_file_and_skips_what_is_no_text(folder):
    corpus = read(folder)
    assert len(corpus.files) == 40
    assert corpus.skipped == (("latin.txt", "not UTF-8"), ("zero.txt", "holds a zero byte"))
    assert ", 1 skipped: not UTF-8, 1 skipped: holds a zero byte, " in corpus.describe()
    held = [file for file in corpus.files if file.held_out]
    assert 0 < len(held) < 20
    assert corpus.test.size == sum(file.size + 1 for file in held)
    assert corpus.train.size + corpus.test.size == sum(file.size + 1 for file in corpus.files)
    assert bytes(corpus.test[: held[0].size]) == (folder / held[0].path).read_bytes()


def test_text_skips_what_cannot_be_read(folder):
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    assert read(folder).skipped[0] == ("gone.txt", "unreadable (No such file or directory)")
    assert len(read(folder).files) == 40


def test_text_that_is_all_held_out_or_no_folder_says_so(folder):
    with pytest.raises(
        SimlawError, match=r"all 40 files of the corpus folder .* are held out \(whole files are, by the"
    ):
        TextCorpus.read(Text(folder=str(folder), suffixes=(".txt",), held_out=1.0))
    with pytest.raises(SimlawError, match=r"00\.txt' is a file: give Text"):
        TextCorpus.read(Text(folder=str(folder / "00.txt")))
    for i in range(40):
        (folder / f"{i:02d}.txt").unlink()
    with pytest.raises(SimlawError, match=r"to train on \(latin.txt: not UTF-8; zero.txt: holds a zero byte\): add"):
        read(folder)


def test_text_lists_what_its_fingerprint_stands_for(folder):
    corpus = read(folder)
    lines = list(csv.DictReader(io.StringIO(corpus.listing())))
    files = [line for line in lines if line["sha256"]]
    hashed = "\n".join(f"{line['sha256']} {line['path']}" for line in files)
    assert hashlib.sha256(hashed.encode()).hexdigest()[:16] == corpus.fingerprint
    assert sum(int(line["bytes"]) + 1 for line in files if line["part"] == "train") == corpus.train.size
    assert lines[-1] == {"path": "zero.txt", "bytes": "", "sha256": "", "part": "holds a zero byte"}


def test_text_fingerprint_follows_content_and_paths(folder, tmp_path_factory):
    before = read(folder).fingerprint
    elsewhere = tmp_path_factory.mktemp("copy")
    for path in folder.glob("*"):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    assert read(elsewhere).fingerprint == before
    (folder / "00.txt").write_text("changed")
    assert read(folder).fingerprint != before


def test_text_windows_are_seen_once_in_an_epoch(folder):
    corpus = read(folder)
    shared, own = corpus.shared_data(), corpus.seed_data(3, 16)
    count = corpus.epoch_tokens(16) // 16
    seen = np.concatenate([np.asarray(corpus.batch(shared, own, jnp.int32(s), 1, 16)) for s in range(count)])
    everything = np.stack([corpus.train[i * 16 : i * 16 + 17] for i in range(count)])
    assert np.array_equal(np.sort(seen, axis=0), np.sort(everything.astype(np.int32), axis=0))
    again = np.asarray(corpus.batch(shared, own, jnp.int32(count), 1, 16))
    assert np.array_equal(again, seen[:1])  # beyond an epoch it repeats


def test_text_held_out_windows_are_the_same_for_every_run(folder):
    windows = read(folder).held_out(16 * 20, 16)
    assert windows.shape == (20, 17)
    assert np.array_equal(windows, read(folder).held_out(16 * 20, 16))


def test_the_default_is_the_standard_library_of_this_machine():
    corpus = TextCorpus.read(Text())
    paths = {file.path for file in corpus.files}
    assert {"os.py", "json/decoder.py"} <= paths
    assert not any("site-packages" in path or "_sysconfigdata" in path for path in paths)
    assert corpus.train.size > 5e6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: TextCorpus.read(Text(folder=str(f / "no"))), "no' does not exist: give Text"),
        (
            lambda f: TextCorpus.read(Text(folder=str(f), suffixes=(".rst",))),
            r"holds no UTF-8 file ending in .rst to train on \(none skipped\): add files",
        ),
        (lambda f: read(f).held_out(10**6, 16), "the evaluation wants 1000000 tokens in windows of 16, and the held"),
        (lambda f: read(f).seed_data(0, 10**6), "less than one window of 1000001: add text"),
    ],
)
def test_text_refusals(folder, change, sentence):
    with pytest.raises(SimlawError, match=sentence):
        change(folder)
