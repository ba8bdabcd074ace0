"""Checkpoints: exact, and refused where they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from simlaw.checkpoint import from_bytes, to_bytes
from simlaw.errors import SimlawError

TREE = {"a": {"w": jnp.asarray([[1.5, -0.0], [1e-45, 3e38]], jnp.float32)}, "step": jnp.int32(7)}


def test_round_trip_is_exact():
    back = from_bytes(to_bytes(TREE), TREE)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(TREE), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ({**TREE, "extra": jnp.zeros(3)}, r"checkpoint's \['extra'\] is missing, wanted float32\[3\]"),
        ({**TREE, "step": jnp.zeros(2, jnp.int32)}, r"\['step'\] is int32\[\], wanted int32\[2\]"),
        ({**TREE, "step": jnp.float32(0)}, r"\['step'\] is int32\[\], wanted float32\[\]"),
        ({"a": TREE["a"]}, r"holds \['step'\], which is not wanted: it is of another model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(like, sentence):
    with pytest.raises(SimlawError, match=sentence):
        from_bytes(to_bytes(TREE), like)


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(SimlawError, match="is not a safetensors file"):
        from_bytes(b"not at all", TREE)


def test_a_checkpoint_of_something_else_is_refused():
    data = to_bytes(TREE, of="3fa9/00000016")
    from_bytes(data, TREE, of="3fa9/00000016")
    from_bytes(data, TREE)
    with pytest.raises(SimlawError, match="the checkpoint is of 3fa9/00000016, wanted 77aa/00000016: it was made from"):
        from_bytes(data, TREE, of="77aa/00000016")


def test_a_checkpoint_of_another_form_is_refused(monkeypatch):
    data = to_bytes(TREE)
    monkeypatch.setattr("simlaw.checkpoint.FORM", 2)
    with pytest.raises(SimlawError, match="the checkpoint has form 1, and this version reads 2: remove it"):
        from_bytes(data, TREE)


def test_what_version_0_1_wrote_is_read():
    flat, _ = jax.tree_util.tree_flatten_with_path(TREE)
    old = save({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat})
    assert from_bytes(old, TREE, of="3fa9")["step"] == 7
