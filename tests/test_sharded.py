"""Sharded checkpoints: exact, adopted whole, and refused where they do not fit; eight devices are in test_devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from simlaw.errors import SimlawError
from simlaw.run import states
from simlaw.sharded import FORM, read_folder, sprawls, write_folder

TREE = {"a": {"w": jnp.asarray([[1.5, -0.0], [1e-45, 3e38]], jnp.float32)}, "b.c/d": jnp.int32(7)}


def read(folder, like):
    return read_folder(folder, like, jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), like))


def assert_same(back):
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(TREE), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_round_trip_is_exact(tmp_path):
    write_folder(tmp_path, TREE)
    assert_same(read(tmp_path, TREE))


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ({**TREE, "extra": jnp.zeros(3)}, r"checkpoint's \['extra'\] is missing, wanted float32\[3\]"),
        ({**TREE, "b.c/d": jnp.zeros(2, jnp.int32)}, r"\['b.c/d'\] is int32\[\], wanted int32\[2\]"),
        ({**TREE, "b.c/d": jnp.float32(0)}, r"\['b.c/d'\] is int32\[\], wanted float32\[\]"),
        ({"a": TREE["a"]}, r"holds \['b.c/d'\], which is not wanted: it is of another model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, like, sentence):
    write_folder(tmp_path, TREE)
    with pytest.raises(SimlawError, match=sentence):
        read(tmp_path, like)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    write_folder(tmp_path, TREE)
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about | {"form": FORM + 1}))
    with pytest.raises(SimlawError, match=f"has form {FORM + 1}, and this version reads {FORM}: remove it"):
        read(tmp_path, TREE)


def test_a_checkpoint_of_another_spec_is_refused(tmp_path):
    write_folder(tmp_path, TREE, "a/1")
    with pytest.raises(SimlawError, match="the checkpoint is of a/1, wanted b/1: it was made from another spec"):
        read_folder(tmp_path, TREE, TREE, "b/1")


def test_only_large_or_spread_trees_are_folders():
    assert not sprawls(TREE, 20)
    assert sprawls(TREE, 19)


def test_a_large_state_is_a_folder_in_the_store(store, monkeypatch):
    monkeypatch.setattr(states, "FILE_BYTES", 19)
    states.save_state(store, "trunk", "k/1", TREE)
    assert not list((store.root / "tmp").iterdir())
    assert (store.root / "trunk" / "k" / "1" / "about.json").is_file()
    assert_same(states.read_state(store, "trunk", "k/1", TREE, None))
    monkeypatch.setattr(states, "FILE_BYTES", 20)
    states.save_state(store, "trunk", "k/2", TREE)
    assert list(store.get("trunk", "k/2")) == ["state.safetensors"]
    assert_same(states.read_state(store, "trunk", "k/2", TREE, None))


@pytest.mark.parametrize("damage", ["altered", "of another model"])
def test_a_folder_that_does_not_fit_is_set_aside(store, monkeypatch, damage):
    monkeypatch.setattr(states, "FILE_BYTES", 0)
    states.save_state(store, "trunk", "k/1", TREE)
    if damage == "altered":
        victim = next(path for path in (store.root / "trunk").rglob("d/*") if path.is_file())
        victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    like = TREE if damage == "altered" else {"a": TREE["a"]}
    assert states.read_state(store, "trunk", "k/1", like, None) is None
    assert store.keys("trunk") == []
    assert len(list((store.root / "aside").iterdir())) == 1
