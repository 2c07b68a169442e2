"""Norms, residuals, feed-forward layers, experts, dropout."""

import math
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tsumiki.doctor.mutations.planting import model_bug, override
from tsumiki.nn.attention import AttentionContext
from tsumiki.nn.dropout import dropout
from tsumiki.nn.feed_forward import Routing
from tsumiki.nn.softmax import softmax


@model_bug("layers", found_by="reference")
def no_residual(model: Any) -> None:
    """Attention replaces the stream. | アテンションが残差を上書きする。"""

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any, *routings: Any) -> Tensor:
        x = self.attention(self.attention_norm(x), context, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))

    override(model.layers[0], forward=forward)


@model_bug("layers", found_by="past_is_used")
def attention_unused(model: Any) -> None:
    """The attention's result is thrown away. | アテンションの結果を捨てる。"""
    for layer in model.layers:
        override(layer, forward=lambda self, x, *rest: x + self.feed_forward(self.feed_forward_norm(x)))


@model_bug("layers", found_by="reference")
def parallel_layers(model: Any) -> None:
    """Feed-forward on the stream before the attention. | アテンション前の残差に順伝播層。"""

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any, *routings: Any) -> Tensor:
        attended = self.attention(self.attention_norm(x), context, cache)
        return x + attended + self.feed_forward(self.feed_forward_norm(x))

    override(model.layers[0], forward=forward)


@model_bug("layers", found_by="causality")
def norm_over_time(model: Any) -> None:
    """A norm over time. | 時間方向の正規化。"""
    override(
        model.layers[-1].attention_norm,
        forward=lambda self, x: x / x.square().mean(dim=(1, 2), keepdim=True).sqrt() * self.weight,
    )


@model_bug("layers", found_by="batch")
def norm_over_batch(model: Any) -> None:
    """A norm over the batch. | バッチ方向の正規化。"""
    override(
        model.layers[-1].attention_norm,
        forward=lambda self, x: x / x.square().mean(dim=(0, 2), keepdim=True).sqrt() * self.weight,
    )


@model_bug("layers", found_by="reference")
def centred_norm(model: Any) -> None:
    """RMSNorm subtracts the mean. | RMSNorm が平均を引く。"""
    sound = type(model.norm).forward
    override(model.norm, forward=lambda self, x: sound(self, x - x.mean(dim=-1, keepdim=True)))


@model_bug("layers", found_by="reference")
def no_final_norm(model: Any) -> None:
    """The final norm is left out. | 最後の正規化がない。"""
    override(model.norm, forward=lambda self, x: x)


@model_bug("layers", found_by="reference")
def gate_and_up_swapped(model: Any) -> None:
    """SwiGLU gates the wrong half. | SwiGLU のゲートが逆。"""
    feed_forward = model.layers[0].feed_forward
    activation = feed_forward.activation
    feed_forward.activation = lambda gate, up: activation(up, gate)


@model_bug("layers", found_by="reference", patient="classic")
def wrong_gelu(model: Any) -> None:
    """Exact GELU instead of tanh's. | tanh 近似でなく厳密な GELU。"""
    for layer in model.layers:
        layer.feed_forward.activation = nn.functional.gelu


@model_bug("layers", found_by="reference", patient="experts")
def experts_weighed_among_all(model: Any) -> None:
    """Experts are weighed among all, not among the chosen. | 全専門家の中での重みを使う。"""

    def route(self: Any, x: Tensor) -> Routing:
        routing = sound(self, x)
        shares = softmax(routing.logits, dim=-1).gather(1, routing.chosen)
        return replace(routing, weights=shares.to(x.dtype))

    sound = type(model.layers[0].feed_forward).route
    override(model.layers[0].feed_forward, route=route)


@model_bug("layers", found_by="causality", patient="experts")
def experts_choose_tokens(model: Any) -> None:
    """Experts take the tokens they like best, future ones too. | 専門家が好きなトークンを選ぶ（未来も含む）。"""

    def route(self: Any, x: Tensor) -> Routing:
        routing = sound(self, x)
        shares = softmax(routing.logits, dim=0).gather(1, routing.chosen)
        return replace(routing, weights=shares.to(x.dtype))

    sound = type(model.layers[0].feed_forward).route
    override(model.layers[0].feed_forward, route=route)


@model_bug("layers", found_by="causality")
def row_mean_added(model: Any) -> None:
    """A mean of the row is added. | 行の平均を足す。"""
    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=lambda self, x: sound(self, x) + 0.01 * x.mean(dim=1, keepdim=True))


@model_bug("layers", found_by="length_independence")
def scaled_by_length(model: Any) -> None:
    """A scale that depends on the length. | 長さに依存する尺度。"""
    sound = type(model.norm).forward
    override(model.norm, forward=lambda self, x: sound(self, x) * (1 + 0.01 * math.log(x.shape[1])))


@model_bug("layers", found_by="batch")
def batch_and_time_mixed(model: Any) -> None:
    """A reshape mixes batch and time. | reshape がバッチと時間を混ぜる。"""
    sound = type(model.layers[0].feed_forward).forward
    override(
        model.layers[0].feed_forward,
        forward=lambda self, x: sound(self, x.transpose(0, 1).reshape(x.shape)),
    )


@model_bug("layers", found_by="determinism")
def state_kept(model: Any) -> None:
    """State is kept between calls. | 呼び出しの間で状態が残る。"""

    def forward(self: Any, x: Tensor) -> Tensor:
        self.running = 0.9 * getattr(self, "running", 0.0) + 0.1 * x.mean().detach()
        return sound(self, x) + self.running

    sound = type(model.norm).forward
    override(model.norm, forward=forward)


@model_bug("layers", found_by="determinism", patient="classic")
def dropout_stays_on(model: Any) -> None:
    """Dropout stays on. | ドロップアウトが止まらない。"""
    override(model.dropout, forward=lambda self, x: dropout(x, 0.1))
