"""Run by tests/test_devices.py in a process of its own, where XLA simulates eight devices on the processor."""

import dataclasses
import json
import sys

import jax

from simlaw.config import Precision
from simlaw.corpora import open_corpus
from simlaw.devices import DeviceMesh
from simlaw.formats import Int, PerChannel, Quantizer
from simlaw.train import compile_shape, members, shape_of, start
from tests.conftest import MODEL, tiny_run

MESHES = (None, (2, 2, 2), (1, 2, 4))
#: Four heads, so that four devices can share a model; weights are quantised, whose scales join divided inputs.
SPECS = [
    tiny_run(
        seed=seed,
        model=dataclasses.replace(MODEL, heads=4),
        precision=Precision(weights=Quantizer(format=Int(bits=4), granularity=PerChannel())),
    )
    for seed in range(8)
]


def train(sizes, steps=20):
    """The losses of the runs on a mesh, and the shapes of what one device holds of some leaves."""
    mesh = None
    if sizes is not None:
        declared = DeviceMesh(pack=sizes[0], data=sizes[1], model=sizes[2])
        declared.fit(SPECS[0].model, SPECS[0].batch, len(SPECS))
        mesh = declared.open()
    program = compile_shape(shape_of(SPECS[0]), open_corpus(SPECS[0].corpus), mesh)
    state, history = program.advance(start(SPECS), members(program, SPECS, cool=True), steps)
    block = state.params["blocks"]["blocks"][0]
    moments = state.optimizer[1].mu["blocks"]["blocks"][0]
    held = {
        "qkv": block["attention"]["qkv"],
        "down": block["feed"]["down"],
        "moment of down": moments["feed"]["down"],
        "head": state.params["head"]["head"],
        "gain": state.params["norms"]["norm"]["gain"],
    }
    return history, {name: leaf.addressable_shards[0].data.shape for name, leaf in held.items()}


if __name__ == "__main__":
    found = []
    for sizes in MESHES:
        history, held = train(sizes)
        found.append(
            {"mesh": sizes, "loss": history.loss.tolist(), "norm": history.gradient_norm.tolist(), "held": held}
        )
    json.dump({"devices": jax.device_count(), "found": found}, sys.stdout)
