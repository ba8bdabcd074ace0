"""Streams: a text that stays on the host trains to the same bits as one that lies on the device."""

import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import Text
from simlaw.corpora import Stream, open_corpus
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_run


@pytest.fixture
def text(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"line {i} of many\n" * (10 + i))
    return open_corpus(Text(folder=str(tmp_path), suffixes=(".txt",), held_out=0.2))


def test_streamed_windows_are_those_of_the_program(text):
    own = text.seed_data(3, 16)
    for step in (0, 7, 100):  # the last of another epoch
        inside = text.batch(text.shared_data(), own, jnp.int32(step), 8, 16)
        assert np.array_equal(text.gather(np.asarray(own), step, 2, 8, 16)[0], inside)


def test_a_stream_gathers_ahead_and_what_does_not_follow_too(text, monkeypatch):
    here = {}
    real = type(text).gather

    def gather(*args):
        here[args[2]] = threading.current_thread() is threading.main_thread()
        return real(*args)

    monkeypatch.setattr(type(text), "gather", gather)
    stream, orders = Stream(text, 4, 8, 16), np.asarray(text.seed_data(0, 16))[None]
    for step in (0, 4, 8, 10):
        assert np.array_equal(stream.take(orders, step)[0], real(text, orders[0], step, 4, 8, 16))
    assert {step: here[step] for step in (0, 4, 8, 10)} == {0: True, 4: False, 8: False, 10: True}


def test_a_streamed_text_trains_to_the_same_bits(text, monkeypatch):
    specs = [tiny_run(seed=seed, corpus=text.spec, model=dataclasses.replace(MODEL, vocab=256)) for seed in (0, 1)]

    def train():
        program = compile_shape(shape_of(specs[0]), text)
        data, state, seen = members(program, specs, cool=True), start(specs), []
        for steps in (64, 5, 64):
            state, history = program.advance(state, data, steps)
            seen.append(history.loss)
        return program, jax.tree.map(np.asarray, state), np.concatenate(seen, axis=1)

    _, resident, losses = train()
    monkeypatch.setattr("simlaw.corpora.array.RESIDENT_BYTES", text.train.size - 1)
    program, streamed, same = train()
    assert program.shared == ()
    assert np.array_equal(losses, same)
    jax.tree.map(np.testing.assert_array_equal, resident, streamed)
