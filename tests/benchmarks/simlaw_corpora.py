"""simlaw's corpora on one core: for each line it reads, measures the corpus that the line names and prints JSON.

Argument: core. A corpus that is named for the first time is compiled, and the answer is "ready"; every other answer has
tokens per second of generation and of exact floors, and seconds of the windows of one training batch and of a whole
training step of a model of 25k block parameters. Compiled programs are kept in the folder SIMLAW_STORE.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simlaw.run.cores import pin

pin(int(sys.argv[1]))

import jax  # noqa: E402  # pinned first
import jax.numpy as jnp  # noqa: E402

from simlaw.config import WSD, ZRHM, AdamW, Digits, Graph, Mix, ModelSpec, Part, RunSpec, Step, ZFact  # noqa: E402
from simlaw.corpora import open_corpus  # noqa: E402
from simlaw.run.worker import prepare  # noqa: E402
from simlaw.store import Store  # noqa: E402
from simlaw.train import compile_shape, members, shape_of, start  # noqa: E402

#: Batches made in one call, training steps in one, and sequences of each.
BATCHES, STEPS, BATCH = 16, 4, 32
#: Seconds of each of the three measurements, and tokens whose floors are worked out at once.
SECONDS, FLOORS = 0.25, 32_768
_MIXED = ((ZRHM(), 0.4), (ZFact(), 0.25), (Step(), 0.2), (Digits(), 0.15))
#: Each corpus at the context of a training run: whole items, and where they are long, the longest.
CORPORA = {
    "zfact": (ZFact(), 56),
    "graph": (Graph(nodes=64, out=8), 64),
    "zrhm": (ZRHM(), 68),
    "step": (Step(), 195),
    "words": (Step(form="words"), 263),
    "digits": (Digits(), 69),
    "mix": (Mix(parts=tuple(Part(source=source, share=share) for source, share in _MIXED)), 195),
}


def seconds(call: Callable[[int], Any]) -> float:
    """Seconds of one of several calls, which are numbered."""
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        call(calls)
        calls += 1
    return (time.perf_counter() - began) / calls


class Measured:
    """A corpus with all that is measured of it compiled, and warm."""

    def __init__(self, name: str) -> None:
        spec, context = CORPORA[name]
        self.tokens = BATCH * context
        corpus = open_corpus(spec)
        model = ModelSpec(vocab=corpus.vocab, context=context, width=32, layers=2, heads=2, hidden=96)
        run = RunSpec(
            corpus=spec,
            model=model,
            optimizer=AdamW(rate=0.01),
            schedule=WSD(warmup_tokens=0),
            batch=BATCH,
            tokens=self.tokens * 2**20,
        )
        program = compile_shape(shape_of(run), corpus)
        state, data = start([run]), members(program, [run], cool=False)
        shared, own = corpus.shared_data(), corpus.seed_data(0, context)

        @jax.jit
        def windows(shared: Any, own: Any, first: Any) -> Any:
            return jax.lax.scan(
                lambda step, _: (step + 1, corpus.batch(shared, own, step, BATCH, context)), first, length=BATCHES
            )[1]

        held_out = corpus.held_out(FLOORS // context * context, context)

        def step(_: int) -> None:
            nonlocal state
            state, _ = program.advance(state, data, STEPS)  # its history is on the host: it is done

        self._calls = (
            lambda at: windows(shared, own, jnp.int32(BATCHES * at)).block_until_ready(),
            step,
            lambda _: corpus.floor_nll(held_out),
        )
        self._floors = FLOORS // context * context
        for call in self._calls:
            call(0)

    def measure(self) -> dict[str, float]:
        """Seconds and tokens per second."""
        windows, step, floors = map(seconds, self._calls)
        return {
            "generated": self.tokens * BATCHES / windows,
            "floors": self._floors / floors,
            "windows": windows / BATCHES,
            "step": step / STEPS,
        }


prepare(Store(root=Path(os.environ["SIMLAW_STORE"])), "cpu")
there: dict[str, Measured] = {}
for line in sys.stdin:
    name = line.strip()
    if name not in there:
        there[name] = Measured(name)
        print("ready", flush=True)
    else:
        print(json.dumps(there[name].measure()), flush=True)
