"""simlaw's side of the trainer benchmark: waits for a line, trains for some seconds, prints tokens per second."""

import json
import sys
import time

from simlaw.run.local import pin

width, core, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
if core >= 0:
    pin(core)

from simlaw.corpora import open_corpus  # noqa: E402  # pinned first
from simlaw.plan import expand  # noqa: E402
from simlaw.sweep import load_sweep  # noqa: E402
from simlaw.train import DISPATCH_STEPS, compile_shape, members, shape_of, start  # noqa: E402

sweep = load_sweep("quickstart").sweep
corpus = open_corpus(sweep.corpus)
spec = next(cell.spec for cell in expand(sweep, corpus.fingerprint).cells if cell.spec.model.width == width)
program = compile_shape(shape_of(spec), corpus)
state, data = start([spec]), members(program, [spec], cool=False)
for _ in range(2):
    state, history = program.advance(state, data, DISPATCH_STEPS)
print("ready", flush=True)
sys.stdin.readline()
began, steps = time.perf_counter(), 0
while time.perf_counter() - began < seconds:
    state, history = program.advance(state, data, DISPATCH_STEPS)
    steps += DISPATCH_STEPS
took = time.perf_counter() - began
print(json.dumps({"tokens_per_second": steps * spec.batch_tokens / took, "loss": float(history.loss[0, -1])}))
