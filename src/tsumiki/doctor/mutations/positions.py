"""Positions, learned and rotary."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsumiki.doctor.mutations.masks import see
from tsumiki.doctor.mutations.planting import change_context, model_bug, override
from tsumiki.nn.attention import AttentionContext
from tsumiki.nn.kv_cache import EMPTY, KVCache
from tsumiki.nn.rope import Rotation


def place(model: Any, positions: Callable[[Tensor, KVCache | None], Tensor | None]) -> None:
    """Let a model count positions in another way, where nobody gives them."""

    def attention_context(
        self: Any, ids: Tensor, *, positions: Any, cache: KVCache | None, **options: Any
    ) -> AttentionContext:
        positions = place(ids, cache) if positions is None else positions
        return sound(self, ids, positions=positions, cache=cache, **options)

    place, sound = positions, type(model).attention_context
    override(model, attention_context=attention_context)


def counted(ids: Tensor, start: int = 0) -> Tensor:
    """Positions from `start` on."""
    return torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape)


@model_bug("positions", found_by="reference")
def no_rope(model: Any) -> None:
    """RoPE is left out. | RoPE がない。"""
    model.rope = None


@model_bug("positions", found_by="reference")
def keys_not_rotated(model: Any) -> None:
    """Queries are rotated and keys are not. | キーだけ回転していない。"""

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        rotate = context.rotate
        context.rotate = lambda x: x if x.shape[2] == model.config.attention.num_kv_heads else rotate(x)

    change_context(model, change)


@model_bug("positions", found_by="reference")
def rope_interleaved(model: Any) -> None:
    """Neighbours are paired, not halves. | 半分ずつでなく隣同士を組にする。"""

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        rotate = context.rotate
        context.rotate = lambda x: rotate(x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2))

    change_context(model, change)


@model_bug("positions", found_by="reference")
def rope_in_bfloat16(model: Any) -> None:
    """Angles are computed in bfloat16. | 角度を bfloat16 で計算する。"""

    def rotation(self: Any, positions: Tensor) -> Rotation:
        angles = positions.bfloat16().unsqueeze(-1) * self.inverse_frequencies.bfloat16()
        return Rotation(cos=angles.cos().float(), sin=angles.sin().float())

    override(model.rope, rotation=rotation)


@model_bug("positions", found_by="reference")
def wrong_theta(model: Any) -> None:
    """Another theta than the configuration's. | 設定と異なる theta。"""
    sound = type(model.rope)._frequencies
    override(model.rope, _frequencies=lambda self, device: sound(self, device) ** 1.1)
    model.rope.inverse_frequencies = model.rope._frequencies(model.unembedding.device)


@model_bug("positions", found_by="length_independence", patient="classic")
def counted_from_end(model: Any) -> None:
    """Counted from the end of the row. | 行の末尾から数える。"""

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.positions = context.positions.flip(1)

    change_context(model, change)
    see(model, lambda q, k: k >= q)


@model_bug("positions", found_by="documents", patient="classic")
def positions_run_on(model: Any) -> None:
    """Do not restart in packed documents. | 詰め合わせた文書で 0 に戻らない。"""
    place(model, lambda ids, cache: counted(ids, 0 if cache is None else cache.length))


@model_bug("positions", found_by="padding", patient="classic")
def padding_counted(model: Any) -> None:
    """Count padding. | パディングも数える。"""

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.positions = torch.where(context.positions == EMPTY, EMPTY, counted(context.positions))

    change_context(model, change)


@model_bug("positions", found_by="cache")
def positions_restart(model: Any) -> None:
    """Restart with every chunk. | チャンクごとに 0 に戻る。"""
    place(model, lambda ids, cache: counted(ids))
