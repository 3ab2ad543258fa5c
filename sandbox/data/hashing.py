"""Random numbers that are functions of (seed, index, attempt, field): no stream, no order, no state.

A counter-based hash: the splitmix64 finaliser (Steele, Lea and Flood 2014), chained over its arguments.
"""

import numpy as np
from jaxtyping import Float64, Int64, UInt64


def _mix(words: UInt64[np.ndarray, "*s"]) -> UInt64[np.ndarray, "*s"]:
    """The splitmix64 finaliser after one golden-ratio step; arithmetic is modulo 2^64."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64[np.ndarray, "*s"] = words ^ (words >> np.uint64(31))
    return mixed


def random_bits(
    seed: int, indices: Int64[np.ndarray, " n"], attempt: int, fields: int
) -> UInt64[np.ndarray, "n fields"]:
    """64 random bits for each index and field; chained, so that swapping two of the arguments gives other bits."""
    key = _mix(_mix(np.full(1, seed, dtype=np.uint64)) ^ indices.astype(np.uint64))
    key = _mix(key ^ np.uint64(attempt))
    return _mix(key[:, None] ^ np.arange(fields, dtype=np.uint64))


def below(bits: UInt64[np.ndarray, "*s"], span: int | Int64[np.ndarray, "#*s"]) -> Int64[np.ndarray, "*s"]:
    """Integers uniform in 0 .. span - 1 from the upper 32 bits (unequal by less than span / 2^32)."""
    return (((bits >> np.uint64(32)) * np.asarray(span, np.uint64)) >> np.uint64(32)).astype(np.int64)


def uniform(bits: UInt64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s"]:
    """Numbers uniform in [0, 1), multiples of 2^-53."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def check_seed(seed: int) -> None:
    """Raises `ValueError` where the seed is not in 0 .. 2^64 - 1."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; allowed are 0 to 2^64 - 1")


def check_indices(indices: Int64[np.ndarray, " n"], below: int | None = None) -> None:
    """Raises `ValueError` naming the first index that is negative, or not below ``below``."""
    outside = indices[(indices < 0) | (indices >= (below if below is not None else np.iinfo(np.int64).max))]
    if outside.size:
        allowed = "0 and above" if below is None else f"0 to {below - 1}"
        raise ValueError(f"index {outside[0]} is not in the data; allowed are {allowed}")
