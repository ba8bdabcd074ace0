"""Amounts: what is a number above 0, and what is none."""

import numpy as np
import pytest

from simlaw.decision.amounts import require_amount, require_amounts
from simlaw.errors import SimlawError


def test_numbers_above_0_are_amounts():
    assert require_amount("flops", 3) == 3.0
    assert require_amount("flops", np.float32(2.5)) == 2.5
    assert require_amount("serve_tokens", 0, zero=True) == 0.0


@pytest.mark.parametrize("value", ["1e9", None, [1e9], True, float("nan"), float("inf"), 0, -1.0, np.array([1.0])])
def test_anything_else_is_none(value):
    with pytest.raises(SimlawError, match=r"^bytes=.*: it must be a number above 0$"):
        require_amount("bytes", value)


def test_a_number_is_a_list_of_one():
    assert list(require_amounts("at", 1e10)) == [1e10]
    assert list(require_amounts("at", [1, 2.5])) == [1.0, 2.5]


@pytest.mark.parametrize("values", [[], [np.nan], "abc", None, [1, "x"], [[1.0], [2.0]], [1, 0], [[1], [2, 3]]])
def test_lists_of_anything_else_are_none(values):
    with pytest.raises(SimlawError, match=r"^at.*: give one number above 0, or a list of them$"):
        require_amounts("at", values)
