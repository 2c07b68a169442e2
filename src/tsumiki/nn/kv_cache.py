"""The KV cache: keys and values of the tokens so far, so that a step computes its own only.

The caller owns it and hands it to the model; no module keeps state. It holds un-expanded K/V heads after RoPE, in
buffers that are allocated once. A layer with a sliding window holds its window only, as a ring.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

EMPTY = -1
"""The position of a slot that holds no token: an unused slot of a cache, padding. No query sees it."""


class LayerCache:
    """One layer's keys, values and positions.

    一つの層のキー・バリューと、その位置を保持します。

    Args:
        batch_size: rows.
        capacity: tokens that the buffers hold.
        ring: when full, overwrite the oldest token (sliding window) instead of raising.
        num_kv_heads, head_dim: as in the attention layer.
    """

    def __init__(
        self,
        batch_size: int,
        capacity: int,
        *,
        ring: bool,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.capacity = capacity
        self.ring = ring
        self.seen = 0
        self.k = torch.zeros(batch_size, capacity, num_kv_heads, head_dim, dtype=dtype, device=device)
        self.v = torch.zeros_like(self.k)
        self.positions = torch.full((batch_size, capacity), EMPTY, dtype=torch.int64, device=device)

    def update(
        self, k: Float[Tensor, "B T K D"], v: Float[Tensor, "B T K D"], positions: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B S K D"], Float[Tensor, "B S K D"], Int[Tensor, "B S"]]:
        """Store this step's keys and values; return all that its queries may need, with their positions.

        A chunk of several tokens in a ring is attended together with what the ring held before: the chunk's first
        queries still need the old tokens that its last ones overwrite.

        Raises:
            ValueError: the buffers are full and this is no ring.
        """
        num_new = k.shape[1]
        if not self.ring and self.seen + num_new > self.capacity:
            room = self.capacity - self.seen
            raise ValueError(f"The cache holds {self.capacity} tokens and has room for {room} more, not {num_new}.")
        new = (k.to(self.k.dtype), v.to(self.v.dtype), positions)
        if self.ring and num_new > 1:
            k_all, v_all, positions_all = (torch.cat(pair, dim=1) for pair in zip(self._filled(), new, strict=True))
            self._write(*new)
        else:
            self._write(*new)
            k_all, v_all, positions_all = self._filled()
        return k_all.to(k.dtype), v_all.to(v.dtype), positions_all

    def _write(self, k: Tensor, v: Tensor, positions: Tensor) -> None:
        num_new = k.shape[1]
        num_kept = min(num_new, self.capacity)
        slots = torch.arange(self.seen + num_new - num_kept, self.seen + num_new, device=k.device) % self.capacity
        self.k[:, slots] = k[:, -num_kept:]
        self.v[:, slots] = v[:, -num_kept:]
        self.positions[:, slots] = positions[:, -num_kept:]
        self.seen += num_new

    def _filled(self) -> tuple[Tensor, Tensor, Tensor]:
        filled = min(self.seen, self.capacity)
        return self.k[:, :filled], self.v[:, :filled], self.positions[:, :filled]


class KVCache:
    """The caches of all layers.

    全層分の KV キャッシュです。呼び出し側が所有し、モジュールは状態を持ちません。

    Args:
        windows: for each layer its sliding window in tokens, or None for a layer that sees all of the past.
        batch_size: rows.
        capacity: tokens a row may reach.
        num_kv_heads, head_dim: as in the attention layers.
    """

    def __init__(
        self,
        windows: Sequence[int | None],
        *,
        batch_size: int,
        capacity: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.capacity = capacity
        self.length = 0
        """Tokens that every row holds, padding included."""
        self.aligned = True
        """No row holds padding, so token number n stands at position n."""
        self.layers = [
            LayerCache(
                batch_size,
                capacity if window is None else min(window, capacity),
                ring=window is not None,
                num_kv_heads=num_kv_heads,
                head_dim=head_dim,
                dtype=dtype,
                device=device,
            )
            for window in windows
        ]

    def advance(self, num_tokens: int, *, aligned: bool) -> bool:
        """Count a step's tokens before the layers store them.

        Args:
            aligned: the step itself holds no padding.

        Returns:
            Whether that is true of the whole cache.
        """
        self.length += num_tokens
        self.aligned = self.aligned and aligned
        return self.aligned

    @property
    def num_bytes(self) -> int:
        """Memory of the keys and values, in bytes."""
        return sum(layer.k.nbytes + layer.v.nbytes for layer in self.layers)
