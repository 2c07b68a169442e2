"""The KV cache."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tsumiki.doctor.mutations.planting import Steps, change_context, model_bug, override
from tsumiki.nn.attention import AttentionContext, Mask
from tsumiki.nn.kv_cache import EMPTY, KVCache


def change_cache(model: Any, update: Callable[..., Any]) -> None:
    """Let the layers of every new cache store and give in another way: update(stored, k, v, positions)."""

    def new_cache(self: Any, *args: Any, **options: Any) -> KVCache:
        cache = sound(self, *args, **options)
        for layer in cache.layers:
            layer.update = lambda k, v, positions, stored=layer.update: update(stored, k, v, positions)
        return cache

    sound = type(model).new_cache
    override(model, new_cache=new_cache)


@model_bug("cache", found_by="cache")
def prefill_unmasked(model: Any) -> None:
    """The mask is skipped in the prefill. | プリフィルでマスクを省く。"""

    class Unmasked(Steps):
        def visibility(self, mask: Mask, context: AttentionContext, k_pos: Tensor) -> Tensor:
            return (k_pos > EMPTY)[:, None].expand(-1, context.positions.shape[1], -1)

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        if cache is not None and context.positions.shape[1] > 1:
            context.backend = Unmasked()

    change_context(model, change)


@model_bug("cache", found_by="cache")
def first_token_forgotten(model: Any) -> None:
    """The oldest token is forgotten. | 一番古いトークンを忘れる。"""

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        return tuple(part[:, -max(k.shape[1], part.shape[1] - 1) :] for part in stored(k, v, positions))

    change_cache(model, update)


@model_bug("cache", found_by="cache")
def ring_too_short(model: Any) -> None:
    """The window's ring is one token short. | 窓のリングが一つ短い。"""

    def new_cache(self: Any, *args: Any, **options: Any) -> KVCache:
        cache = sound(self, *args, **options)
        for layer in cache.layers:
            layer.capacity -= layer.ring
            layer.k, layer.v, layer.positions = (
                part[:, : layer.capacity] for part in (layer.k, layer.v, layer.positions)
            )
        return cache

    sound = type(model).new_cache
    override(model, new_cache=new_cache)


@model_bug("cache", found_by="cache")
def values_shifted(model: Any) -> None:
    """Values are stored shifted by one. | バリューを一つずらして保存する。"""

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        k, v, positions = stored(k, v, positions)
        return k, v.roll(1, dims=1), positions

    change_cache(model, update)


@model_bug("cache", found_by="cache")
def rows_share_keys(model: Any) -> None:
    """Rows of a batch share their keys. | バッチの行がキーを共有する。"""

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        return stored(k[:1].expand_as(k), v, positions)

    change_cache(model, update)
