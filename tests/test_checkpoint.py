"""Checkpoints: exact, and refused where they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    ],
)
def test_a_checkpoint_of_another_model_is_refused(like, sentence):
    with pytest.raises(SimlawError, match=sentence):
        from_bytes(to_bytes(TREE), like)


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(SimlawError, match="is not a safetensors file"):
        from_bytes(b"not at all", TREE)
