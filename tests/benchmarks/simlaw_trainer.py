"""simlaw's side of the trainer benchmark: for each line it reads, trains for some seconds and prints tokens per second.

Arguments: width, layers, context, batch, core (-1: all), seconds. With 0 seconds it makes one dispatch of one step and
prints how long that took since the process began, with the compilation cache in the folder SIMLAW_STORE.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

width, layers, context, batch, core = map(int, sys.argv[1:6])
seconds = float(sys.argv[6])
from simlaw.run.cores import pin  # noqa: E402

if core >= 0:
    pin(core)

from simlaw.config import WSD, AdamW, ModelSpec, RunSpec, Text  # noqa: E402  # pinned first
from simlaw.corpora import open_corpus  # noqa: E402
from simlaw.run.worker import prepare  # noqa: E402
from simlaw.store import Store  # noqa: E402
from simlaw.train import DISPATCH_STEPS, compile_shape, members, shape_of, start  # noqa: E402


def age() -> float:
    """Seconds since this process began."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


spec = RunSpec(
    corpus=Text(),
    model=ModelSpec(vocab=256, context=context, width=width, layers=layers, heads=width // 16, hidden=3 * width),
    optimizer=AdamW(rate=0.01),
    schedule=WSD(warmup_tokens=0),
    batch=batch,
    tokens=batch * context,
)
if not seconds:
    prepare(Store(root=Path(os.environ["SIMLAW_STORE"])), "cpu")
corpus = open_corpus(spec.corpus)
program = compile_shape(shape_of(spec), corpus)
state, data = start([spec]), members(program, [spec], cool=False)
if not seconds:
    program.advance(state, data, 1)
    print(json.dumps({"first_step": age()}))
    sys.exit()
# long steps in small dispatches, so that the clock is looked at often enough
steps_at_once = DISPATCH_STEPS if layers == 2 else 2
for _ in range(2):
    state, history = program.advance(state, data, steps_at_once)
print("ready", flush=True)
for _ in sys.stdin:
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        state, history = program.advance(state, data, steps_at_once)
        steps += steps_at_once
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens_per_second": steps * spec.batch_tokens / took, "peak_bytes": peak}), flush=True)
