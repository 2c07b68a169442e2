"""The engine's KV cache: memory of a fixed shape for many rows, each with a length of its own.

`KVCache` counts its tokens in Python and returns what it holds so far, so every step has another shape. Here every
step has the same shape, and where a token stands is a tensor: what a compiled or captured step needs. Keys lie
transposed, [B, K, D, S], so that a step's scores are computed for neighbouring slots at once.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tsumiki.models import LanguageModel
from tsumiki.nn.kv_cache import EMPTY, KVCache, LayerCache

SPARE = 16
"""Slots behind the last one. The first of them takes what idle rows write; the others keep rows aligned in memory."""


class StaticLayer(LayerCache):
    """One layer's keys and values of all rows. A token at position p lies in slot p, in a ring in slot p mod window.

    So the positions of the slots need not be stored: they follow from the position of the query.
    """

    def __init__(
        self, batch_size: int, capacity: int, *, ring: bool, num_kv_heads: int, head_dim: int, like: Tensor
    ) -> None:
        self.capacity = capacity
        self.ring = ring
        num_slots = capacity + SPARE
        self.k = like.new_zeros(batch_size, num_kv_heads, head_dim, num_slots)
        self.v = like.new_zeros(batch_size, num_kv_heads, num_slots, head_dim)
        self.rows = torch.arange(batch_size, device=like.device)
        self.slots = torch.arange(capacity, device=like.device)

    def update(
        self, k: Float[Tensor, "B 1 K D"], v: Float[Tensor, "B 1 K D"], positions: Int[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, "B S K D"], Float[Tensor, "B S K D"], Int[Tensor, "B S"]]:
        """Store one token of every row whose position is not EMPTY; return the visible slots and their positions."""
        slot = torch.where(positions > EMPTY, positions % self.capacity, self.capacity)[:, 0]
        self.k[self.rows, :, :, slot] = k[:, 0].to(self.k.dtype)
        self.v[self.rows, :, slot] = v[:, 0].to(self.v.dtype)
        num_slots = len(self.slots)
        # The last position up to the query's own that belongs into the slot; below 0 where there was none yet.
        k_pos = positions - (positions - self.slots) % self.capacity if self.ring else self.slots.expand(len(k), -1)
        k_all, v_all = self.k[..., :num_slots].permute(0, 3, 1, 2), self.v[:, :, :num_slots].transpose(1, 2)
        return k_all.to(k.dtype), v_all.to(v.dtype), k_pos


class StaticCache(KVCache):
    """The caches of all layers. Its user says where every token stands; nothing is counted here.

    Args:
        model: whose keys and values are kept.
        batch_size: rows.
        capacity: tokens that a row may hold.
        dtype: of the stored keys and values; the model's if left out.
    """

    def __init__(
        self, model: LanguageModel, batch_size: int, capacity: int, *, dtype: torch.dtype | None = None
    ) -> None:
        self.capacity = capacity
        self.length = 0
        weight, attention = model.unembedding, model.config.attention
        like = torch.empty(0, dtype=weight.dtype if dtype is None else dtype, device=weight.device)
        layers = [
            StaticLayer(
                batch_size,
                capacity if window is None else min(window, capacity),
                ring=window is not None,
                num_kv_heads=attention.num_kv_heads,
                head_dim=attention.head_dim,
                like=like,
            )
            for window in model.config.windows
        ]
        self.layers: list[LayerCache] = list(layers)
        self._full_layers = [layer for layer in layers if not layer.ring]

    def advance(self, num_tokens: int, *, aligned: bool) -> bool:
        """Rows have lengths of their own, so no mask can be left out."""
        return False

    def show(self, slots: Int[Tensor, " S"]) -> None:
        """Let the layers without a window attend to these slots: at least as many as the longest row holds."""
        for layer in self._full_layers:
            layer.slots = slots

    def rows(self, first: int, last: int) -> KVCache:
        """The rows first, ..., last - 1 as an ordinary, empty cache, for reading prompts of equal length."""
        layers = [
            RowsOfLayer(
                layer.k[first:last, ..., : layer.capacity], layer.v[first:last, :, : layer.capacity], layer.ring
            )
            for layer in self.layers
        ]
        return RowsOfCache(layers, self.capacity)


class RowsOfLayer(LayerCache):
    """Some rows of a static layer, as `LayerCache` sees memory."""

    def __init__(self, k: Float[Tensor, "B K D S"], v: Float[Tensor, "B K S D"], ring: bool) -> None:
        self.k, self.v = k.permute(0, 3, 1, 2), v.transpose(1, 2)
        self.capacity = self.k.shape[1]
        self.ring = ring
        self.seen = 0
        self.positions = torch.full(self.k.shape[:2], EMPTY, dtype=torch.int64, device=k.device)


class RowsOfCache(KVCache):
    """Some rows of a static cache."""

    def __init__(self, layers: Sequence[LayerCache], capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.aligned = True
        self.layers = list(layers)
