"""Steps of one model in several training precisions, in turn; prints seconds of a step by precision as JSON.

Argument: rounds.
"""

import json
import sys
import time

from simlaw.run.cores import pin

pin(0)

from simlaw.config import WSD, AdamW, ModelSpec, Precision, RunSpec, Text  # noqa: E402  # pinned first
from simlaw.corpora import open_corpus  # noqa: E402
from simlaw.formats import FLOATS, Int, PerChannel, PerGroup, PerTensor, PerToken, PowerOfTwo, Quantizer  # noqa: E402
from simlaw.train import compile_shape, members, shape_of, start  # noqa: E402

STEPS = 16
INT4, E2M1 = Int(bits=4), FLOATS["e2m1"]
WEIGHTS, TOKENS = (Quantizer(format=INT4, granularity=each) for each in (PerChannel(), PerToken()))
FLOAT_WEIGHTS, FLOAT_TOKENS = (Quantizer(format=E2M1, granularity=each) for each in (PerChannel(), PerToken()))
PRECISIONS = {
    "full": Precision(),
    "W4": Precision(weights=WEIGHTS),
    "A4 per token": Precision(activations=TOKENS),
    "KV4": Precision(kv=TOKENS),
    "W4 A4 KV4": Precision(weights=WEIGHTS, activations=TOKENS, kv=TOKENS),
    "the same in e2m1": Precision(weights=FLOAT_WEIGHTS, activations=FLOAT_TOKENS, kv=FLOAT_TOKENS),
    "A4, one scale for the batch": Precision(activations=Quantizer(format=INT4, granularity=PerTensor())),
    "gradients in MXFP8": Precision(
        gradients=Quantizer(format=FLOATS["e4m3fn"], granularity=PerGroup(size=32), scale=PowerOfTwo())
    ),
    "W4 A4, rotated": Precision(weights=WEIGHTS, activations=TOKENS, rotate=True),
    "W4, learned steps": Precision(weights=WEIGHTS, learned_steps=True),
}

corpus = open_corpus(Text())
model = ModelSpec(vocab=256, context=64, width=64, layers=2, heads=4, hidden=192)
programs, states, data, seconds = {}, {}, {}, {name: [] for name in PRECISIONS}
for name, precision in PRECISIONS.items():
    spec = RunSpec(
        corpus=Text(),
        model=model,
        precision=precision,
        optimizer=AdamW(rate=0.01),
        schedule=WSD(warmup_tokens=0),
        batch=32,
        tokens=32 * 64 * 4096,
    )
    programs[name] = compile_shape(shape_of(spec), corpus)
    states[name], data[name] = start([spec]), members(programs[name], [spec], cool=False)
    states[name], _ = programs[name].advance(states[name], data[name], STEPS)
for _ in range(int(sys.argv[1]) * 3):
    for name, program in programs.items():
        began = time.perf_counter()
        states[name], _ = program.advance(states[name], data[name], STEPS)
        seconds[name].append((time.perf_counter() - began) / STEPS)
print(json.dumps(seconds))
