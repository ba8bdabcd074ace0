"""Run by tests/test_devices.py in a process of its own, where XLA simulates eight devices on the processor."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from simlaw.config import Precision
from simlaw.corpora import open_corpus
from simlaw.devices import DeviceMesh
from simlaw.formats import Int, PerChannel, Quantizer
from simlaw.memory import need_of
from simlaw.run import states
from simlaw.store import Store
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_run

MESHES = (None, (2, 2, 2), (4, 1, 1))
#: Four heads, so that four devices can share a model; weights are quantised, whose scales join divided inputs.
SPECS = [
    tiny_run(
        seed=seed,
        model=dataclasses.replace(MODEL, heads=4),
        precision=Precision(weights=Quantizer(format=Int(bits=4), granularity=PerChannel())),
    )
    for seed in range(4)
]


LIKE = jax.eval_shape(lambda: jax.tree.map(lambda x: x[0], start(SPECS)))


def programs():
    """The training program on every mesh; four devices stand idle beside a mesh of four."""
    corpus = open_corpus(SPECS[0].corpus)
    made = []
    for sizes in MESHES:
        mesh = None
        if sizes is not None:
            declared = DeviceMesh(pack=sizes[0], data=sizes[1], model=sizes[2])
            declared.fit(SPECS[0].model, SPECS[0].batch)
            mesh = declared.open(jax.devices()[: declared.size])
        made.append(compile_shape(shape_of(SPECS[0]), corpus, mesh))
    return made


def train(program, state, steps, specs=SPECS):
    """The state so many steps on, with the losses and gradient norms."""
    state, history = program.advance(state, members(program, specs, cool=True), steps)
    return state, {"loss": history.loss.tolist(), "norm": history.gradient_norm.tolist()}


def held(state):
    """The shapes of what one device holds of some leaves."""
    block = state.params["blocks"]["blocks"][0]
    moments = state.optimizer[1].mu["blocks"]["blocks"][0]
    leaves = {
        "qkv": block["attention"]["qkv"],
        "down": block["feed"]["down"],
        "moment of down": moments["feed"]["down"],
        "head": state.params["head"]["head"],
        "gain": state.params["norms"]["norm"]["gain"],
    }
    return {name: leaf.addressable_shards[0].data.shape for name, leaf in leaves.items()}


#: Whose step's memory is compared with the estimate: activations of some megabytes.
WIDE = tiny_run(model=dataclasses.replace(MODEL, context=64, width=64, heads=8, hidden=192), batch=16, tokens=2**14)


def memory(*sizes):
    """Bytes of state and of the inside of a step on one device of a mesh, as XLA says and as they are estimated."""
    mesh = DeviceMesh(pack=sizes[0], data=sizes[1], model=sizes[2])
    specs = [dataclasses.replace(WIDE, seed=seed) for seed in range(2 * sizes[0])]
    program = compile_shape(shape_of(WIDE), open_corpus(WIDE.corpus), mesh.open())
    state, data = jax.eval_shape(lambda: start(specs)), members(program, specs, cool=True)
    found = program.step_pack.lower(program.shared, state, data, jnp.int32(4)).compile().memory_analysis()
    need = need_of(WIDE, (), side_by_side=True, mesh=mesh)
    true = {"state": found.argument_size_in_bytes, "step": found.temp_size_in_bytes}
    return {"true": true, "estimate": {"state": 2 * need.state, "step": 2 * need.step}}


def same(a, b):
    """Whether two trees hold the same bits."""
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


if __name__ == "__main__":
    store = Store(root=Path(sys.argv[1]))
    found, made, kept = [], programs(), None
    for sizes, program in zip(MESHES, made, strict=True):
        state, seen = train(program, start(SPECS), 20)
        found.append({"mesh": sizes, "held": held(state), **seen})
        if sizes == (2, 2, 2):
            kept = jax.tree.map(np.asarray, state)
            for i, spec in enumerate(SPECS):
                states.FILE_BYTES = 0 if i else 2**28  # the first state is a file, the others are folders
                states.save_state(store, "trunk", f"{spec.seed}/20", jax.tree.map(lambda x, i=i: x[i], state))
    # three runs where two devices share a pack: the axis is filled up
    state, uneven = train(made[1], start(SPECS[:3]), 10, SPECS[:3])
    uneven |= train(made[1], state, 10, SPECS[:3])[1] | {"first": uneven["loss"], "left": int(state.step.shape[0])}
    restored = []
    for program in made:
        each = [states.read_state(store, "trunk", f"{spec.seed}/20", LIKE, program.mesh) for spec in SPECS]
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        bits = same(state, kept)
        restored.append({"same": bits, **train(program, state, 10)[1]})
    files = [sorted(path.name for path in (store.root / "trunk" / key / "20").iterdir()) for key in "01"]
    said = {"devices": jax.device_count(), "found": found, "restored": restored, "files": files, "uneven": uneven}
    json.dump(said | {"memory": [memory(1, 8, 1), memory(2, 1, 4)]}, sys.stdout)
