"""All binary trees of a few operations, in the order in which they are worked out."""

import functools

import numpy as np
from jaxtyping import Int


@functools.cache
def trees(operations: int) -> Int[np.ndarray, "t s 2"]:
    """The two operands of every operation, operations in post-order, of all trees of so many operations.

    An operand is the number of an earlier operation, or -1 minus the number of a leaf, leaves counted from the left.
    The left operand is worked out whole before the right one. There are Catalan(operations) trees.
    """
    if operations == 0:
        return np.zeros((1, 0, 2), np.int8)
    found = []
    for left in range(operations):
        right = operations - 1 - left
        a, b = trees(left), trees(right)
        b = np.where(b >= 0, b + left, b - (left + 1)).astype(np.int8)
        top = np.array([left - 1 if left else -1, operations - 2 if right else -1 - operations], np.int8)
        pairs = (len(a), len(b))
        whole = np.empty((*pairs, operations, 2), np.int8)
        whole[:, :, :left] = a[:, None]
        whole[:, :, left:-1] = b[None, :]
        whole[:, :, -1] = top
        found.append(whole.reshape(-1, operations, 2))
    return np.concatenate(found)
