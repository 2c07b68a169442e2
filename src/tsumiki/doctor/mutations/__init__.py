"""Bugs that people make, each planted in a healthy patient: what the doctor is tested against.

`tsumiki doctor --self-test` runs every check on every mutation and prints which found it. Nothing in `nn`, `kernels` or
`models` knows of this.
"""

from tsumiki.doctor.mutations import attention, cache, data, layers, masks, positions, training
from tsumiki.doctor.mutations.planting import MUTATIONS, Mutation

__all__ = ["MUTATIONS", "Mutation", "attention", "cache", "data", "layers", "masks", "positions", "training"]
