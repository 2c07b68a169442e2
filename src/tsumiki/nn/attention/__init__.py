"""Attention, one file a variant.

To add a variant: write a file with its `@spec Config` and a plain `forward`, and name it in `VARIANTS`. The contract
suite then tests it, and configurations can choose it.
"""

from typing import Any

from tsumiki.nn.attention.config import AttentionConfig
from tsumiki.nn.attention.core import AttentionBackend, AttentionContext, Eager, Mask, dense_visibility
from tsumiki.nn.attention.gated import GatedAttention
from tsumiki.nn.attention.grouped_query import GroupedQueryAttention

VARIANTS: dict[str, type[Any]] = {
    "grouped_query": GroupedQueryAttention,
    "gated": GatedAttention,
}
"""Name in a configuration -> block."""

__all__ = [
    "VARIANTS",
    "AttentionBackend",
    "AttentionConfig",
    "AttentionContext",
    "Eager",
    "GatedAttention",
    "GroupedQueryAttention",
    "Mask",
    "dense_visibility",
]
