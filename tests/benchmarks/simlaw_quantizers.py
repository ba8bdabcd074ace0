"""simlaw's side of the quantizers' benchmark: one task in a fresh process, timed without its imports; prints JSON.

Argument: "layer" (GPTQ of one layer: the first call, each bit-width warm, all in one call), "small" (the same of a
matrix that qwix can do), "qwix" (that by qwix), "numpy" (the layer by a loop over its inputs), "grid" (every method on
a checkpoint).
"""

import functools
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

BITS, REPEATS = (2, 3, 4, 5, 6, 7, 8), 20


def layer(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square matrix and the second moments of inputs that are correlated."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * size, size)) @ (rng.normal(size=(size, size)) * np.geomspace(0.3, 3, size))
    return rng.normal(size=(size, size)).astype(np.float32), (x.T @ x / len(x)).astype(np.float32)


def timed(call, repeats: int = REPEATS) -> float:
    """The median of seconds of a call."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def gptq_layer(size: int) -> dict[str, float]:
    """GPTQ of a layer: with compilation, warm at each bit-width, and all bit-widths in one call."""
    import jax
    import jax.numpy as jnp

    from simlaw.config import GPTQ
    from simlaw.formats import Int, Quantizer
    from simlaw.ptq.gptq import gptq
    from simlaw.quantize import numbers

    jax.block_until_ready(jnp.zeros(1) + 1)  # the backend starts
    scaling = Quantizer(format=Int(bits=4)).scaling
    w, hessian = (jnp.asarray(part) for part in layer(size))
    each = [numbers(Int(bits=bits).levels) for bits in BITS]
    one = jax.jit(lambda levels: gptq(w, hessian, levels, scaling, GPTQ()).w)
    began = time.perf_counter()
    jax.block_until_ready(one(each[0]))
    first = time.perf_counter() - began
    warm = [timed(lambda levels=levels: jax.block_until_ready(one(levels))) for levels in each]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *each)
    every = jax.jit(jax.vmap(one))
    jax.block_until_ready(every(stacked))
    return {"first": first, "warm": max(warm), "all": timed(lambda: jax.block_until_ready(every(stacked)))}


def qwix_layer(size: int) -> dict[str, float]:
    """GPTQ of a layer at int4 by qwix."""
    import jax
    import jax.numpy as jnp
    from qwix._src.core.qarray import HowToQuantize
    from qwix.contrib.gptq_core import quantize_weight

    jax.block_until_ready(jnp.zeros(1) + 1)
    w, hessian = (jnp.asarray(part) for part in layer(size))
    call = functools.partial(quantize_weight, w.T, hessian, HowToQuantize(qtype=jnp.int4, channelwise_axes=(0,)))
    began = time.perf_counter()
    jax.block_until_ready(call()[0].qvalue)
    first = time.perf_counter() - began
    return {"first": first, "warm": timed(lambda: jax.block_until_ready(call()[0].qvalue), 3)}


def numpy_layer(size: int) -> dict[str, float]:
    """GPTQ of a layer at 4 bits by a loop over its inputs, corrections of later blocks of 128 at the end of each."""
    given, hessian = layer(size)

    def run() -> np.ndarray:
        w, found = given.copy(), np.zeros_like(given)
        scale = np.abs(w).max(0) / 7
        damped = hessian + 0.01 * np.diag(hessian).mean() * np.eye(size, dtype=np.float32)
        upper = np.linalg.cholesky(np.linalg.inv(damped)).T
        for start in range(0, size, 128):
            end = min(start + 128, size)
            block, errors = w[start:end], np.zeros((end - start, size), np.float32)
            for i in range(end - start):
                found[start + i] = np.clip(np.round(block[i] / scale), -7, 7) * scale
                errors[i] = (block[i] - found[start + i]) / upper[start + i, start + i]
                block[i + 1 :] -= np.outer(upper[start + i, start + i + 1 : end], errors[i])
            w[end:] -= upper[start:end, end:].T @ errors
        return found

    run()
    return {"warm": timed(run)}


def grid() -> dict[str, float]:
    """Five methods at seven bit-widths on a checkpoint of 1.06M block parameters, evaluated on 2,048 tokens."""
    import jax

    from simlaw.config import AWQ, GPTQ, PTQ, RTN, WSD, AdamW, EvalSpec, ModelSpec, RunSpec, SmoothQuant, Tender, Text
    from simlaw.evaluate import measure
    from simlaw.formats import Int, PerToken, Quantizer
    from simlaw.model import init

    spec = RunSpec(
        corpus=Text(),
        model=ModelSpec(vocab=256, context=128, width=128, layers=5, heads=8, hidden=384),
        optimizer=AdamW(rate=0.01),
        schedule=WSD(warmup_tokens=0),
        batch=16,
        tokens=16 * 128,
    )
    params = init(spec.model, jax.random.key(0))
    text = np.random.default_rng(0).integers(0, 256, (128 + 16, 129)).astype(np.int32)
    tokens = Quantizer(format=Int(bits=8), granularity=PerToken())
    evals = [
        EvalSpec(
            tokens=2048,
            ptq=PTQ(
                method=method,
                quantizer=Quantizer(format=Int(bits=bits)),
                activations=tokens if isinstance(method, SmoothQuant | Tender) else None,
            ),
        )
        for method in (RTN(), GPTQ(), AWQ(), SmoothQuant(), Tender())
        for bits in BITS
    ]
    began = time.perf_counter()
    measure(spec, params, text[128:], evals, None, lambda how: text[: how.sequences, :-1])
    return {"first": time.perf_counter() - began}


TASKS = {
    "layer": functools.partial(gptq_layer, 256),
    "small": functools.partial(gptq_layer, 64),
    "qwix": functools.partial(qwix_layer, 64),
    "numpy": functools.partial(numpy_layer, 256),
    "grid": grid,
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))
    found = TASKS[sys.argv[1]]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "peak_bytes": peak}))
