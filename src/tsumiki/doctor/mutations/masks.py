"""Masks: who sees whom."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsumiki.doctor.mutations.planting import attend, attentions, change_context, model_bug, override
from tsumiki.nn.attention import AttentionContext, Eager, Mask
from tsumiki.nn.kv_cache import EMPTY, KVCache


def mask(rule: Callable[[Tensor, Tensor], Tensor], window: int | None = None) -> Mask:
    """A mask with another rule about positions; `causal` is off, so that no backend takes its short cut."""

    def allow(self: Mask, q_pos: Tensor, k_pos: Tensor, q_doc: Any = None, k_doc: Any = None) -> Tensor:
        return Mask.allow(self, q_pos, k_pos, q_doc, k_doc) & rule(q_pos, k_pos)

    return type("BrokenMask", (Mask,), {"allow": allow})(causal=False, window=window)


def see(model: Any, rule: Callable[[Tensor, Tensor], Tensor], *, layers: slice = slice(None)) -> None:
    """Let some layers see by another rule."""
    for attention in attentions(model)[layers]:
        attention.mask = mask(rule, attention.mask.window)


@model_bug("mask", found_by="causality")
def no_mask(model: Any) -> None:
    """No causal mask at all. | 因果マスクがない。"""
    see(model, lambda q, k: k == k)


@model_bug("mask", found_by="causality")
def off_by_one(model: Any) -> None:
    """Every position sees the next one, too. | 一つ先まで見える。"""
    see(model, lambda q, k: k <= q + 1)


@model_bug("mask", found_by="past_is_used")
def inverted(model: Any) -> None:
    """Inverted: only the future is seen. | 反転：未来だけが見える。"""
    see(model, lambda q, k: k >= q)


@model_bug("mask", found_by="causality")
def last_layer_only(model: Any) -> None:
    """No causal mask in the last layer. | 最後の層だけ因果マスクがない。"""
    see(model, lambda q, k: k == k, layers=slice(-1, None))


@model_bug("mask", found_by="causality")
def from_position_40(model: Any) -> None:
    """No causal mask from position 40 on. | 位置 40 以降だけ因果マスクがない。"""
    see(model, lambda q, k: (k <= q) | (q >= 40), layers=slice(-1, None))


@model_bug("mask", found_by="causality", patient="long")
def from_position_300(model: Any) -> None:
    """No causal mask past position 300 of 512. | 512 のうち位置 300 以降だけ因果マスクがない。"""
    see(model, lambda q, k: (k <= q) | (q > 300))


@model_bug("mask", found_by="causality_everywhere", patient="long")
def some_positions_only(model: Any) -> None:
    """Positions 100 to 131 of 512 see their neighbour ahead. | 512 のうち位置 100〜131 だけ一つ先が見える。"""
    see(model, lambda q, k: (k <= q) | ((k == q + 1) & (q >= 100) & (q < 132)))


@model_bug("mask", found_by="causality")
def block_causal(model: Any) -> None:
    """Causal between blocks of 16, open within. | 16 個のブロック内では未来が見える。"""
    see(model, lambda q, k: k // 16 <= q // 16)


@model_bug("mask", found_by="reference")
def self_hidden(model: Any) -> None:
    """A position does not see itself. | 自分自身が見えない。"""
    see(model, lambda q, k: (k < q) | (q == 0))


@model_bug("mask", found_by="past_is_used")
def nearest_hidden(model: Any) -> None:
    """The nearest past is hidden in every layer. | 直前の二つが見えない。"""
    see(model, lambda q, k: (k < q - 2) | (k == q))


@model_bug("mask", found_by="reference")
def window_too_wide(model: Any) -> None:
    """The window is one token too wide. | 窓が一つ広い。"""
    attentions(model)[0].mask = Mask(window=9)


@model_bug("mask", found_by="reference")
def window_ignored(model: Any) -> None:
    """The window is forgotten. | 窓を忘れている。"""
    attentions(model)[0].mask = Mask()


@model_bug("mask", found_by="causality")
def soft_mask(model: Any) -> None:
    """-5 is added to hidden scores, not -inf. | -inf の代わりに -5 を足す。"""
    attend(model, hide=lambda self, scores, seen: scores.where(seen, scores - 5))


@model_bug("mask", found_by="causality")
def zero_mask(model: Any) -> None:
    """Hidden scores are set to 0, not -inf. | -inf の代わりに 0 にする。"""
    attend(model, hide=lambda self, scores, seen: scores.where(seen, 0))


@model_bug("mask", found_by="causality")
def transposed_mask(model: Any) -> None:
    """The mask is transposed. | マスクが転置されている。"""

    def hide(self: Eager, scores: Tensor, seen: Tensor) -> Tensor:
        square = seen.shape[-2] == seen.shape[-1]
        return scores.masked_fill(~(seen.transpose(-1, -2) if square else seen), -math.inf)

    attend(model, hide=hide)


@model_bug("mask", found_by="causality")
def in_training_only(model: Any) -> None:
    """No causal mask while training. | 訓練時だけ因果マスクがない。"""

    def heads(self: Any, x: Tensor, context: AttentionContext, cache: Any) -> Tensor:
        return open_heads(self, x, context) if self.training else sound(self, x, context, cache)

    sound = type(attentions(model)[-1]).heads
    override(attentions(model)[-1], heads=heads)


def open_heads(attention: Any, x: Tensor, context: AttentionContext) -> Tensor:
    """The heads' outputs without a mask."""
    closed, attention.mask = attention.mask, mask(lambda q, k: k == k)
    out_BTHD = type(attention).__mro__[1].heads(attention, x, context, None)
    attention.mask = closed
    return out_BTHD


def leak_one_head(model: Any, share: float) -> None:
    """Let one head of the last layer give some of its weight to all positions."""

    def heads(self: Any, x: Tensor, context: AttentionContext, cache: Any) -> Tensor:
        out_BTHD = sound(self, x, context, cache)
        if cache is None:
            leak = share * (open_heads(self, x, context) - out_BTHD)[:, :, :1]
            out_BTHD = torch.cat([out_BTHD[:, :, :1] + leak, out_BTHD[:, :, 1:]], dim=2)
        return out_BTHD

    sound = type(attentions(model)[-1]).heads
    override(attentions(model)[-1], heads=heads)


@model_bug("mask", found_by="causality")
def one_head(model: Any) -> None:
    """One head of the last layer has no mask. | 最後の層の一つのヘッドにマスクがない。"""
    leak_one_head(model, 1.0)


@model_bug("mask", found_by="causality")
def one_head_a_little(model: Any) -> None:
    """One head of the last layer leaks a ten-thousandth of its weight. |
    最後の層の一つのヘッドから重みの 1 万分の 1 が漏れる。
    """
    leak_one_head(model, 1e-4)


@model_bug("mask", found_by="documents")
def documents_ignored(model: Any) -> None:
    """Packed documents see each other. | 詰め合わせた文書が互いに見える。"""

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.documents = None

    change_context(model, change)


@model_bug("mask", found_by="padding")
def padding_seen(model: Any) -> None:
    """Padding is seen. | パディングが見える。"""

    def allow(self: Mask, q_pos: Tensor, k_pos: Tensor, q_doc: Any = None, k_doc: Any = None) -> Tensor:
        seen = (k_pos <= q_pos) | (k_pos == EMPTY)
        return seen if q_doc is None else seen & (q_doc == k_doc)

    attentions(model)[-1].mask = type("BrokenMask", (Mask,), {"allow": allow})(causal=False)
