"""The arithmetic of attention."""

from typing import Any

from torch import Tensor

from tsumiki.doctor.mutations.planting import Steps, attend, attentions, model_bug, override
from tsumiki.nn.attention import AttentionContext, Eager
from tsumiki.nn.softmax import softmax


@model_bug("attention", found_by="reference")
def no_scale(model: Any) -> None:
    """Scores are not scaled. | スコアを割っていない。"""
    attend(model, scale=lambda self, scores, head_dim: scores)


@model_bug("attention", found_by="reference")
def wrong_scale(model: Any) -> None:
    """Scores are divided by D, not √D. | √D でなく D で割る。"""
    attend(model, scale=lambda self, scores, head_dim: scores / head_dim)


@model_bug("attention", found_by="causality")
def softmax_over_queries(model: Any) -> None:
    """Softmax over the queries. | クエリ方向のソフトマックス。"""
    attend(model, weigh=lambda self, scores: softmax(scores, dim=-2))


@model_bug("attention", found_by="causality", patient="classic")
def masked_after_softmax(model: Any) -> None:
    """Masked after the softmax. | ソフトマックスの後でマスクする。"""

    def hide(self: Eager, scores: Tensor, seen: Tensor) -> Tensor:
        return softmax(scores, dim=-1).masked_fill(~seen, 0)

    attend(model, hide=hide, weigh=lambda self, weights: weights)


@model_bug("attention", found_by="reference")
def wrong_head_order(model: Any) -> None:
    """Grouped heads in the wrong order. | グループ化ヘッドの順序が違う。"""
    attend(model, share=lambda self, x, group: x.repeat(1, 1, group, 1))


@model_bug("attention", found_by="reference")
def heads_joined_wrongly(model: Any) -> None:
    """Heads are joined in the wrong order. | ヘッドの結合順が違う。"""

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return out_BTHD.transpose(2, 3).reshape(out_BTHD.shape)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("attention", found_by="causality")
def heads_split_wrongly(model: Any) -> None:
    """Heads are split before time is moved. | 時間軸を動かさずヘッドを分ける。"""

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return out_BTHD.transpose(1, 2).reshape(out_BTHD.shape)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("attention", found_by="reference")
def keys_as_values(model: Any) -> None:
    """Keys are used as values. | キーをバリューとして使う。"""
    attend(model, attend=lambda self, q, k, v, seen, **options: Steps.attend(self, q, k, k, seen, **options))


@model_bug("attention", found_by="reference")
def no_sinks(model: Any) -> None:
    """The sinks are left out. | シンクがない。"""
    attend(model, weigh=lambda self, scores: softmax(scores[..., :-1], dim=-1))


@model_bug("attention", found_by="reference")
def no_qk_norm(model: Any) -> None:
    """QK-norm is left out. | QK-norm がない。"""
    for attention in attentions(model):
        override(attention.q_norm, forward=lambda self, x: x)


@model_bug("attention", found_by="reference", patient="gated")
def gate_without_projection(model: Any) -> None:
    """The gate has no projection. | ゲートに射影がない。"""

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any = None) -> Tensor:
        heads = self.heads(x, context, cache)
        return self.o_proj((heads * heads.sigmoid()).flatten(2))

    for attention in attentions(model):
        override(attention, forward=forward)


@model_bug("attention", found_by="reference", patient="gated")
def gate_on_input(model: Any) -> None:
    """The gate opens before the attention. | アテンションの前にゲートを掛ける。"""

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any = None) -> Tensor:
        return self.o_proj(self.heads(x * self.gate(x).flatten(2), context, cache).flatten(2))

    for attention in attentions(model):
        override(attention, forward=forward)
