"""A pseudo-random order that is the same with every version of every library: splitmix64, by hand."""

import numpy as np
from jaxtyping import Int, UInt64

#: The step of the stream: 2^64 divided by the golden ratio.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed(seed: int, count: int) -> UInt64[np.ndarray, " n"]:
    """`count` independent-looking 64-bit numbers of the stream `seed` (Steele, Lea and Flood 2014, SplitMix64)."""
    start = mix(np.asarray([seed], np.uint64) * GOLDEN + GOLDEN)
    return mix(start + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)


def order(seed: int, count: int) -> Int[np.ndarray, " n"]:
    """The numbers 0 .. count-1 in the order of the stream `seed`, as int32."""
    # no two hashes are equal, for each step of the hash can be undone: every sort gives the same, this one soonest
    return np.argsort(hashed(seed, count)).astype(np.int32)


def mix(z: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """The numbers with their bits mixed, each into another; the last step of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
