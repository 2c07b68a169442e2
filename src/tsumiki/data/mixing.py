"""Numbers that look random and are a pure function of what they are for, on every machine and with every version."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def seed_of(*parts: Any) -> int:
    """64 bits that depend on all parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8")).digest()[:8], "big")


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a one-to-one map of 64 bits in which every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def permutation(size: int, seed: int) -> NDArray[np.int64]:
    """0 to size - 1 in an order that `seed` decides. `mix` is one-to-one, so there are no ties."""
    return np.argsort(mix(np.arange(size, dtype=np.uint64) + np.uint64(seed)))
