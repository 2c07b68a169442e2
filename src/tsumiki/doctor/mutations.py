"""Bugs that people make, each planted in a healthy patient: what the doctor is tested against.

`tsumiki doctor --self-test` runs every check on every mutation and prints which found it. A mutation gives an object
other methods; nothing in `nn`, `kernels` or `models` knows of it.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsumiki.doctor.messages import Language
from tsumiki.doctor.patients import ByteTokenizer, Patient, SmallData, SmallSource, train
from tsumiki.doctor.pipeline import TEXTS
from tsumiki.doctor.subject import Adapter
from tsumiki.nn.attention import AttentionContext, Eager, Mask
from tsumiki.nn.dropout import dropout
from tsumiki.nn.feed_forward import Routing
from tsumiki.nn.kv_cache import EMPTY, KVCache
from tsumiki.nn.rope import Rotation
from tsumiki.nn.softmax import softmax


@dataclass(frozen=True)
class Mutation:
    """A planted bug.

    Args:
        plant: puts the bug into a patient. Its name is the mutation's.
        group: what kind of bug it is.
        found_by: the check that must find it; others may, too.
        patient: which of `tsumiki.doctor.patients.MODELS` it is planted in.
    """

    plant: Callable[[Patient], None]
    group: str
    found_by: str
    patient: str

    def what(self, language: Language) -> str:
        """What was done."""
        english, japanese = inspect.cleandoc(self.plant.__doc__ or "").split("\n\n")
        return japanese if language == "ja" else english


MUTATIONS: dict[str, Mutation] = {}
"""All mutations, by name."""


def bug(group: str, *, found_by: str, patient: str = "modern") -> Callable[[Callable[[Patient], None]], None]:
    """Enter a function that breaks a patient into `MUTATIONS`; its docstring says what is broken, in two languages."""

    def enter(plant: Callable[[Patient], None]) -> None:
        MUTATIONS[plant.__name__] = Mutation(plant, group, found_by, patient)

    return enter


def model_bug(group: str, *, found_by: str, patient: str = "modern") -> Callable[[Callable[[Any], None]], None]:
    """The same for a function that breaks a model, and with it every new model and other backend made from it."""

    def enter(break_model: Callable[[Any], None]) -> None:
        def broken(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def make_broken(model: Any) -> Any:
                made = make(model)
                break_model(made)
                return made

            return make_broken

        @functools.wraps(break_model)
        def plant(patient: Patient) -> None:
            fresh, spellings = patient.adapter.fresh, patient.adapter.spellings
            assert fresh is not None
            assert spellings is not None
            break_model(patient.model)
            patient.adapter = replace(
                patient.adapter,
                fresh=broken(fresh),
                spellings=lambda model: {name: broken(make) for name, make in spellings(model).items()},
            )

        bug(group, found_by=found_by, patient=patient)(plant)

    return enter


def override(module: nn.Module, **methods: Callable[..., Any]) -> None:
    """Give one module other methods, by a class of its own, so that copies of it have them too."""
    module.__class__ = type(f"Broken{type(module).__name__}", (type(module),), dict(methods))


def attentions(model: Any) -> list[Any]:
    """The attention of every layer."""
    return [layer.attention for layer in model.layers]


# --- Masks: who sees whom ---------------------------------------------------------------------------------------------


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
    """No causal mask at all.

    因果マスクがない。
    """
    see(model, lambda q, k: k == k)


@model_bug("mask", found_by="causality")
def off_by_one(model: Any) -> None:
    """Every position sees the next one, too.

    一つ先まで見える。
    """
    see(model, lambda q, k: k <= q + 1)


@model_bug("mask", found_by="past_is_used")
def inverted(model: Any) -> None:
    """Inverted: only the future is seen.

    反転：未来だけが見える。
    """
    see(model, lambda q, k: k >= q)


@model_bug("mask", found_by="causality")
def last_layer_only(model: Any) -> None:
    """No causal mask in the last layer.

    最後の層だけ因果マスクがない。
    """
    see(model, lambda q, k: k == k, layers=slice(-1, None))


@model_bug("mask", found_by="causality")
def from_position_40(model: Any) -> None:
    """No causal mask from position 40 on.

    位置 40 以降だけ因果マスクがない。
    """
    see(model, lambda q, k: (k <= q) | (q >= 40), layers=slice(-1, None))


@model_bug("mask", found_by="causality", patient="long")
def from_position_300(model: Any) -> None:
    """No causal mask past position 300 of 512.

    512 のうち位置 300 以降だけ因果マスクがない。
    """
    see(model, lambda q, k: (k <= q) | (q > 300))


@model_bug("mask", found_by="causality_everywhere", patient="long")
def some_positions_only(model: Any) -> None:
    """Positions 100 to 131 of 512 see their neighbour ahead.

    512 のうち位置 100〜131 だけ一つ先が見える。
    """
    see(model, lambda q, k: (k <= q) | ((k == q + 1) & (q >= 100) & (q < 132)))


@model_bug("mask", found_by="causality")
def block_causal(model: Any) -> None:
    """Causal between blocks of 16, open within.

    16 個のブロック内では未来が見える。
    """
    see(model, lambda q, k: k // 16 <= q // 16)


@model_bug("mask", found_by="reference")
def self_hidden(model: Any) -> None:
    """A position does not see itself.

    自分自身が見えない。
    """
    see(model, lambda q, k: (k < q) | (q == 0))


@model_bug("mask", found_by="past_is_used")
def nearest_hidden(model: Any) -> None:
    """The nearest past is hidden in every layer.

    直前の二つが見えない。
    """
    see(model, lambda q, k: (k < q - 2) | (k == q))


@model_bug("mask", found_by="reference")
def window_too_wide(model: Any) -> None:
    """The window is one token too wide.

    窓が一つ広い。
    """
    attentions(model)[0].mask = Mask(window=9)


@model_bug("mask", found_by="reference")
def window_ignored(model: Any) -> None:
    """The window is forgotten.

    窓を忘れている。
    """
    attentions(model)[0].mask = Mask()


@model_bug("mask", found_by="causality")
def soft_mask(model: Any) -> None:
    """-5 is added to hidden scores, not -inf.

    -inf の代わりに -5 を足す。
    """
    attend(model, hide=lambda self, scores, seen: scores.where(seen, scores - 5))


@model_bug("mask", found_by="causality")
def zero_mask(model: Any) -> None:
    """Hidden scores are set to 0, not -inf.

    -inf の代わりに 0 にする。
    """
    attend(model, hide=lambda self, scores, seen: scores.where(seen, 0))


@model_bug("mask", found_by="causality")
def transposed_mask(model: Any) -> None:
    """The mask is transposed.

    マスクが転置されている。
    """

    def hide(self: Eager, scores: Tensor, seen: Tensor) -> Tensor:
        square = seen.shape[-2] == seen.shape[-1]
        return scores.masked_fill(~(seen.transpose(-1, -2) if square else seen), -math.inf)

    attend(model, hide=hide)


@model_bug("mask", found_by="causality")
def in_training_only(model: Any) -> None:
    """No causal mask while training.

    訓練時だけ因果マスクがない。
    """

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
    """One head of the last layer has no mask.

    最後の層の一つのヘッドにマスクがない。
    """
    leak_one_head(model, 1.0)


@model_bug("mask", found_by="causality")
def one_head_a_little(model: Any) -> None:
    """One head of the last layer leaks a ten-thousandth of its weight.

    最後の層の一つのヘッドから重みの 1 万分の 1 が漏れる。
    """
    leak_one_head(model, 1e-4)


@model_bug("mask", found_by="documents")
def documents_ignored(model: Any) -> None:
    """Packed documents see each other.

    詰め合わせた文書が互いに見える。
    """

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.documents = None

    change_context(model, change)


@model_bug("mask", found_by="padding")
def padding_seen(model: Any) -> None:
    """Padding is seen.

    パディングが見える。
    """

    def allow(self: Mask, q_pos: Tensor, k_pos: Tensor, q_doc: Any = None, k_doc: Any = None) -> Tensor:
        seen = (k_pos <= q_pos) | (k_pos == EMPTY)
        return seen if q_doc is None else seen & (q_doc == k_doc)

    attentions(model)[-1].mask = type("BrokenMask", (Mask,), {"allow": allow})(causal=False)


# --- Positions --------------------------------------------------------------------------------------------------------


def change_context(model: Any, change: Callable[[AttentionContext, KVCache | None], None]) -> None:
    """Change what the attention layers of a forward pass share."""

    def attention_context(self: Any, ids: Tensor, *, cache: KVCache | None, **options: Any) -> AttentionContext:
        context = sound(self, ids, cache=cache, **options)
        change(context, cache)
        return context

    sound = type(model).attention_context
    override(model, attention_context=attention_context)


def place(model: Any, positions: Callable[[Tensor, KVCache | None], Tensor | None]) -> None:
    """Let a model count positions in another way, where nobody gives them."""

    def attention_context(
        self: Any, ids: Tensor, *, documents: Any, positions: Any, cache: KVCache | None
    ) -> AttentionContext:
        positions = place(ids, cache) if positions is None else positions
        return sound(self, ids, documents=documents, positions=positions, cache=cache)

    place, sound = positions, type(model).attention_context
    override(model, attention_context=attention_context)


def counted(ids: Tensor, start: int = 0) -> Tensor:
    """Positions from `start` on."""
    return torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape)


@model_bug("positions", found_by="reference")
def no_rope(model: Any) -> None:
    """RoPE is left out.

    RoPE がない。
    """
    model.rope = None


@model_bug("positions", found_by="reference")
def keys_not_rotated(model: Any) -> None:
    """Queries are rotated and keys are not.

    キーだけ回転していない。
    """

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        rotate = context.rotate
        context.rotate = lambda x: x if x.shape[2] == model.config.attention.num_kv_heads else rotate(x)

    change_context(model, change)


@model_bug("positions", found_by="reference")
def rope_interleaved(model: Any) -> None:
    """Neighbours are paired, not halves.

    半分ずつでなく隣同士を組にする。
    """

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        rotate = context.rotate
        context.rotate = lambda x: rotate(x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2))

    change_context(model, change)


@model_bug("positions", found_by="reference")
def rope_in_bfloat16(model: Any) -> None:
    """Angles are computed in bfloat16.

    角度を bfloat16 で計算する。
    """

    def rotation(self: Any, positions: Tensor) -> Rotation:
        angles = positions.bfloat16().unsqueeze(-1) * self.inverse_frequencies.bfloat16()
        return Rotation(cos=angles.cos().float(), sin=angles.sin().float())

    override(model.rope, rotation=rotation)


@model_bug("positions", found_by="reference")
def wrong_theta(model: Any) -> None:
    """Another theta than the configuration's.

    設定と異なる theta。
    """
    sound = type(model.rope)._frequencies
    override(model.rope, _frequencies=lambda self, device: sound(self, device) ** 1.1)
    model.rope.inverse_frequencies = model.rope._frequencies(model.unembedding.device)


@model_bug("positions", found_by="length_independence", patient="classic")
def counted_from_end(model: Any) -> None:
    """Counted from the end of the row.

    行の末尾から数える。
    """

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.positions = context.positions.flip(1)

    change_context(model, change)
    see(model, lambda q, k: k >= q)


@model_bug("positions", found_by="documents", patient="classic")
def positions_run_on(model: Any) -> None:
    """Do not restart in packed documents.

    詰め合わせた文書で 0 に戻らない。
    """
    place(model, lambda ids, cache: counted(ids, 0 if cache is None else cache.length))


@model_bug("positions", found_by="padding", patient="classic")
def padding_counted(model: Any) -> None:
    """Count padding.

    パディングも数える。
    """

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.positions = torch.where(context.positions == EMPTY, EMPTY, counted(context.positions))

    change_context(model, change)


@model_bug("positions", found_by="cache")
def positions_restart(model: Any) -> None:
    """Restart with every chunk.

    チャンクごとに 0 に戻る。
    """
    place(model, lambda ids, cache: counted(ids))


# --- Attention --------------------------------------------------------------------------------------------------------


class Steps(Eager):
    """Attention in small steps, of which a mutation replaces one."""

    def scale(self, scores: Tensor, head_dim: int) -> Tensor:
        """Divide by √D."""
        return scores / math.sqrt(head_dim)

    def hide(self, scores: Tensor, seen: Tensor) -> Tensor:
        """Take away what is not seen."""
        return scores.masked_fill(~seen, -math.inf)

    def share(self, x_BSKD: Tensor, group: int) -> Tensor:
        """Give every query head its key or value head."""
        return x_BSKD.repeat_interleave(group, dim=2)

    def weigh(self, scores: Tensor) -> Tensor:
        """From scores to weights."""
        return softmax(scores, dim=-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visibility: Any, *, sinks: Any, dropout: float) -> Tensor:
        """As `Eager`, without dropout."""
        group = q.shape[2] // k.shape[2]
        k, v = self.share(k, group), self.share(v, group)
        scores_BHTS = self.scale(torch.einsum("bthd,bshd->bhts", q, k), q.shape[-1])
        scores_BHTS = self.hide(scores_BHTS, visibility[:, None])
        if sinks is not None:
            sinks_BHT1 = sinks.to(q.dtype)[:, None, None].expand(*scores_BHTS.shape[:-1], 1)
            scores_BHTS = torch.cat([scores_BHTS, sinks_BHT1], dim=-1)
        weights_BHTS = self.weigh(scores_BHTS)[..., : k.shape[1]]
        return torch.einsum("bhts,bshd->bthd", weights_BHTS, v)


def attend(model: Any, **steps: Callable[..., Any]) -> None:
    """Let a model attend with some of the steps replaced."""
    backend = type("BrokenSteps", (Steps,), dict(steps))()

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        context.backend = backend

    change_context(model, change)


@model_bug("attention", found_by="reference")
def no_scale(model: Any) -> None:
    """Scores are not scaled.

    スコアを割っていない。
    """
    attend(model, scale=lambda self, scores, head_dim: scores)


@model_bug("attention", found_by="reference")
def wrong_scale(model: Any) -> None:
    """Scores are divided by D, not √D.

    √D でなく D で割る。
    """
    attend(model, scale=lambda self, scores, head_dim: scores / head_dim)


@model_bug("attention", found_by="causality")
def softmax_over_queries(model: Any) -> None:
    """Softmax over the queries.

    クエリ方向のソフトマックス。
    """
    attend(model, weigh=lambda self, scores: softmax(scores, dim=-2))


@model_bug("attention", found_by="causality", patient="classic")
def masked_after_softmax(model: Any) -> None:
    """Masked after the softmax.

    ソフトマックスの後でマスクする。
    """

    def hide(self: Eager, scores: Tensor, seen: Tensor) -> Tensor:
        return softmax(scores, dim=-1).masked_fill(~seen, 0)

    attend(model, hide=hide, weigh=lambda self, weights: weights)


@model_bug("attention", found_by="reference")
def wrong_head_order(model: Any) -> None:
    """Grouped heads in the wrong order.

    グループ化ヘッドの順序が違う。
    """
    attend(model, share=lambda self, x, group: x.repeat(1, 1, group, 1))


@model_bug("attention", found_by="reference")
def heads_joined_wrongly(model: Any) -> None:
    """Heads are joined in the wrong order.

    ヘッドの結合順が違う。
    """

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return out_BTHD.transpose(2, 3).reshape(out_BTHD.shape)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("attention", found_by="causality")
def heads_split_wrongly(model: Any) -> None:
    """Heads are split before time is moved.

    時間軸を動かさずヘッドを分ける。
    """

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return out_BTHD.transpose(1, 2).reshape(out_BTHD.shape)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("attention", found_by="reference")
def keys_as_values(model: Any) -> None:
    """Keys are used as values.

    キーをバリューとして使う。
    """
    attend(model, attend=lambda self, q, k, v, seen, **options: Steps.attend(self, q, k, k, seen, **options))


@model_bug("attention", found_by="reference")
def no_sinks(model: Any) -> None:
    """The sinks are left out.

    シンクがない。
    """
    attend(model, weigh=lambda self, scores: softmax(scores[..., :-1], dim=-1))


@model_bug("attention", found_by="reference")
def no_qk_norm(model: Any) -> None:
    """QK-norm is left out.

    QK-norm がない。
    """
    for attention in attentions(model):
        override(attention.q_norm, forward=lambda self, x: x)


@model_bug("attention", found_by="reference", patient="gated")
def gate_without_projection(model: Any) -> None:
    """The gate has no projection.

    ゲートに射影がない。
    """

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any = None) -> Tensor:
        heads = self.heads(x, context, cache)
        return self.o_proj((heads * heads.sigmoid()).flatten(2))

    for attention in attentions(model):
        override(attention, forward=forward)


@model_bug("attention", found_by="reference", patient="gated")
def gate_on_input(model: Any) -> None:
    """The gate opens before the attention.

    アテンションの前にゲートを掛ける。
    """

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any = None) -> Tensor:
        return self.o_proj(self.heads(x * self.gate(x).flatten(2), context, cache).flatten(2))

    for attention in attentions(model):
        override(attention, forward=forward)


# --- Norms, residuals, feed-forward -----------------------------------------------------------------------------------


@model_bug("layers", found_by="reference")
def no_residual(model: Any) -> None:
    """Attention replaces the stream.

    アテンションが残差を上書きする。
    """

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any, *routings: Any) -> Tensor:
        x = self.attention(self.attention_norm(x), context, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))

    override(model.layers[0], forward=forward)


@model_bug("layers", found_by="past_is_used")
def attention_unused(model: Any) -> None:
    """The attention's result is thrown away.

    アテンションの結果を捨てる。
    """
    for layer in model.layers:
        override(layer, forward=lambda self, x, *rest: x + self.feed_forward(self.feed_forward_norm(x)))


@model_bug("layers", found_by="reference")
def parallel_layers(model: Any) -> None:
    """Feed-forward on the stream before the attention.

    アテンション前の残差に順伝播層。
    """

    def forward(self: Any, x: Tensor, context: AttentionContext, cache: Any, *routings: Any) -> Tensor:
        attended = self.attention(self.attention_norm(x), context, cache)
        return x + attended + self.feed_forward(self.feed_forward_norm(x))

    override(model.layers[0], forward=forward)


@model_bug("layers", found_by="causality")
def norm_over_time(model: Any) -> None:
    """A norm over time.

    時間方向の正規化。
    """
    override(
        model.layers[-1].attention_norm,
        forward=lambda self, x: x / x.square().mean(dim=(1, 2), keepdim=True).sqrt() * self.weight,
    )


@model_bug("layers", found_by="batch")
def norm_over_batch(model: Any) -> None:
    """A norm over the batch.

    バッチ方向の正規化。
    """
    override(
        model.layers[-1].attention_norm,
        forward=lambda self, x: x / x.square().mean(dim=(0, 2), keepdim=True).sqrt() * self.weight,
    )


@model_bug("layers", found_by="reference")
def centred_norm(model: Any) -> None:
    """RMSNorm subtracts the mean.

    RMSNorm が平均を引く。
    """
    sound = type(model.norm).forward
    override(model.norm, forward=lambda self, x: sound(self, x - x.mean(dim=-1, keepdim=True)))


@model_bug("layers", found_by="reference")
def no_final_norm(model: Any) -> None:
    """The final norm is left out.

    最後の正規化がない。
    """
    override(model.norm, forward=lambda self, x: x)


@model_bug("layers", found_by="reference")
def gate_and_up_swapped(model: Any) -> None:
    """SwiGLU gates the wrong half.

    SwiGLU のゲートが逆。
    """
    feed_forward = model.layers[0].feed_forward
    activation = feed_forward.activation
    feed_forward.activation = lambda gate, up: activation(up, gate)


@model_bug("layers", found_by="reference", patient="classic")
def wrong_gelu(model: Any) -> None:
    """Exact GELU instead of tanh's.

    tanh 近似でなく厳密な GELU。
    """
    for layer in model.layers:
        layer.feed_forward.activation = nn.functional.gelu


@model_bug("layers", found_by="reference", patient="experts")
def experts_weighed_among_all(model: Any) -> None:
    """Experts are weighed among all, not among the chosen.

    全専門家の中での重みを使う。
    """

    def route(self: Any, x: Tensor) -> Routing:
        routing = sound(self, x)
        shares = softmax(routing.logits, dim=-1).gather(1, routing.chosen)
        return replace(routing, weights=shares.to(x.dtype))

    sound = type(model.layers[0].feed_forward).route
    override(model.layers[0].feed_forward, route=route)


@model_bug("layers", found_by="causality", patient="experts")
def experts_choose_tokens(model: Any) -> None:
    """Experts take the tokens they like best, future ones too.

    専門家が好きなトークンを選ぶ（未来も含む）。
    """

    def route(self: Any, x: Tensor) -> Routing:
        routing = sound(self, x)
        shares = softmax(routing.logits, dim=0).gather(1, routing.chosen)
        return replace(routing, weights=shares.to(x.dtype))

    sound = type(model.layers[0].feed_forward).route
    override(model.layers[0].feed_forward, route=route)


@model_bug("layers", found_by="causality")
def row_mean_added(model: Any) -> None:
    """A mean of the row is added.

    行の平均を足す。
    """
    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=lambda self, x: sound(self, x) + 0.01 * x.mean(dim=1, keepdim=True))


@model_bug("layers", found_by="length_independence")
def scaled_by_length(model: Any) -> None:
    """A scale that depends on the length.

    長さに依存する尺度。
    """
    sound = type(model.norm).forward
    override(model.norm, forward=lambda self, x: sound(self, x) * (1 + 0.01 * math.log(x.shape[1])))


@model_bug("layers", found_by="batch")
def batch_and_time_mixed(model: Any) -> None:
    """A reshape mixes batch and time.

    reshape がバッチと時間を混ぜる。
    """
    sound = type(model.layers[0].feed_forward).forward
    override(
        model.layers[0].feed_forward,
        forward=lambda self, x: sound(self, x.transpose(0, 1).reshape(x.shape)),
    )


@model_bug("layers", found_by="determinism")
def state_kept(model: Any) -> None:
    """State is kept between calls.

    呼び出しの間で状態が残る。
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        self.running = 0.9 * getattr(self, "running", 0.0) + 0.1 * x.mean().detach()
        return sound(self, x) + self.running

    sound = type(model.norm).forward
    override(model.norm, forward=forward)


@model_bug("layers", found_by="determinism", patient="classic")
def dropout_stays_on(model: Any) -> None:
    """Dropout stays on.

    ドロップアウトが止まらない。
    """
    override(model.dropout, forward=lambda self, x: dropout(x, 0.1))


# --- Cache ------------------------------------------------------------------------------------------------------------


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
    """The mask is skipped in the prefill.

    プリフィルでマスクを省く。
    """

    class Unmasked(Steps):
        def visibility(self, mask: Mask, context: AttentionContext, k_pos: Tensor) -> Tensor:
            return (k_pos > EMPTY)[:, None].expand(-1, context.positions.shape[1], -1)

    def change(context: AttentionContext, cache: KVCache | None) -> None:
        if cache is not None and context.positions.shape[1] > 1:
            context.backend = Unmasked()

    change_context(model, change)


@model_bug("cache", found_by="cache")
def first_token_forgotten(model: Any) -> None:
    """The oldest token is forgotten.

    一番古いトークンを忘れる。
    """

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        return tuple(part[:, -max(k.shape[1], part.shape[1] - 1) :] for part in stored(k, v, positions))

    change_cache(model, update)


@model_bug("cache", found_by="cache")
def ring_too_short(model: Any) -> None:
    """The window's ring is one token short.

    窓のリングが一つ短い。
    """

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
    """Values are stored shifted by one.

    バリューを一つずらして保存する。
    """

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        k, v, positions = stored(k, v, positions)
        return k, v.roll(1, dims=1), positions

    change_cache(model, update)


@model_bug("cache", found_by="cache")
def rows_share_keys(model: Any) -> None:
    """Rows of a batch share their keys.

    バッチの行がキーを共有する。
    """

    def update(stored: Any, k: Tensor, v: Tensor, positions: Tensor) -> Any:
        return stored(k[:1].expand_as(k), v, positions)

    change_cache(model, update)


# --- Loss and gradient ------------------------------------------------------------------------------------------------


def change_loss(model: Any, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Let a model compute its loss on other ids and targets."""
    sound = type(model).loss
    override(model, loss=lambda self, ids, targets, **options: sound(self, *change(ids, targets), **options))


@model_bug("loss", found_by="loss")
def labels_shifted_twice(model: Any) -> None:
    """Labels are shifted twice.

    ラベルを二重にずらす。
    """
    change_loss(model, lambda ids, targets: (ids, targets.roll(-1, dims=1)))


@model_bug("loss", found_by="loss")
def labels_not_shifted(model: Any) -> None:
    """Labels are not shifted.

    ラベルをずらしていない。
    """
    change_loss(model, lambda ids, targets: (ids, ids.where(targets >= 0, targets)))


@model_bug("loss", found_by="loss")
def padding_is_target(model: Any) -> None:
    """Padding counts as a target.

    パディングも正解に数える。
    """
    change_loss(model, lambda ids, targets: (ids, targets.clamp(min=0)))


@model_bug("loss", found_by="accumulation")
def mean_of_micro_batch(model: Any) -> None:
    """A mean within the micro-batch.

    マイクロバッチ内の平均。
    """

    def loss(self: Any, ids: Tensor, targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        nats, count = sound(self, ids, targets, **options)
        return nats / count, torch.ones_like(count)

    sound = type(model).loss
    override(model, loss=loss)


@model_bug("loss", found_by="noise_floor")
def targets_fed_in(model: Any) -> None:
    """The targets are fed in.

    正解を入力に混ぜる。
    """
    change_loss(model, lambda ids, targets: (targets.where(targets >= 0, ids), targets))


@model_bug("gradient", found_by="gradient_reach")
def layer_detached(model: Any) -> None:
    """A layer is detached.

    ある層が切り離されている。
    """
    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=lambda self, x: sound(self, x).detach())


@model_bug("gradient", found_by="gradient_is_derivative")
def head_detached(model: Any) -> None:
    """One head is detached.

    一つのヘッドが切り離されている。
    """

    def heads(self: Any, *args: Any) -> Tensor:
        out_BTHD = sound(self, *args)
        return torch.cat([out_BTHD[:, :, :1].detach(), out_BTHD[:, :, 1:]], dim=2)

    sound = type(attentions(model)[0]).heads
    override(attentions(model)[0], heads=heads)


@model_bug("gradient", found_by="gradient_reach")
def queries_detached(model: Any) -> None:
    """Queries are detached.

    クエリが切り離されている。
    """
    sound = type(attentions(model)[0].q_proj).forward
    override(attentions(model)[0].q_proj, forward=lambda self, x: sound(self, x).detach())


@model_bug("gradient", found_by="gradient_is_derivative")
def wrong_backward(model: Any) -> None:
    """A custom backward pass has the wrong sign.

    自作の逆伝播の符号が逆。
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        y = sound(self, x)
        return 2 * y.detach() - y

    sound = type(model.layers[0].feed_forward).forward
    override(model.layers[0].feed_forward, forward=forward)


@bug("gradient", found_by="gradient_reach")
def unused_parameter(patient: Patient) -> None:
    """A parameter is not used.

    使われないパラメータ。
    """
    patient.model.register_parameter("extra", nn.Parameter(torch.ones(3)))
    change_adapter(patient, spellings=None)


# --- What stands around the model -------------------------------------------------------------------------------------


def change_adapter(patient: Patient, **changes: Any) -> None:
    """Let the patient be asked in another way."""
    adapter: Adapter = replace(patient.adapter, **changes)
    patient.adapter = adapter


@bug("initialisation", found_by="initial_loss")
def weights_too_large(patient: Patient) -> None:
    """Initial weights fifty times too large.

    初期値が 50 倍。
    """
    make = patient.adapter.fresh
    assert make is not None

    def fresh(model: Any) -> Any:
        large = make(model)
        with torch.no_grad():
            for parameter in large.parameters():
                parameter.mul_(50)
        return large

    change_adapter(patient, fresh=fresh)


@bug("backend", found_by="backends")
def backend_without_scale(patient: Patient) -> None:
    """Another backend does not scale.

    別のバックエンドが割らない。
    """
    spellings = patient.adapter.spellings
    assert spellings is not None

    def unscaled(model: Any) -> Any:
        other = spellings(model)["eager"](model)
        attend(other, scale=lambda self, scores, head_dim: scores)
        return other

    change_adapter(patient, spellings=lambda model: {"eager": unscaled})


@bug("backend", found_by="backends")
def backend_without_gradient(patient: Patient) -> None:
    """Another backend loses gradients.

    別のバックエンドが勾配を失う。
    """
    spellings = patient.adapter.spellings
    assert spellings is not None

    def detached(model: Any) -> Any:
        other = spellings(model)["eager"](model)
        override(attentions(other)[0].k_proj, forward=lambda self, x: (x @ self.weight.T).detach())
        return other

    change_adapter(patient, spellings=lambda model: {"eager": detached})


@bug("optimizer", found_by="update_size")
def parameters_forgotten(patient: Patient) -> None:
    """The optimizer was not given the norms.

    オプティマイザーに渡し忘れ。
    """
    change_adapter(
        patient,
        optimizer=lambda model: torch.optim.AdamW([p for p in model.parameters() if p.ndim > 1], lr=1e-3),
    )


@bug("optimizer", found_by="update_size")
def step_uphill(patient: Patient) -> None:
    """Steps go up the gradient.

    勾配を登る。
    """
    change_adapter(patient, optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3, maximize=True))


@bug("training", found_by="resume")
def moments_not_saved(patient: Patient) -> None:
    """A checkpoint does not hold the optimizer's moments.

    チェックポイントにオプティマイザーの状態がない。
    """

    def forgetful(model: Any, saved: Any, steps: int) -> Any:
        kept = train(model, saved, steps)
        return {**kept, "optimizer": {**kept["optimizer"], "state": {}}}

    change_adapter(patient, train=forgetful)


@bug("training", found_by="resume")
def step_not_saved(patient: Patient) -> None:
    """A resumed training counts its steps from 0, and so does its schedule.

    再開した訓練がステップを 0 から数え直す。
    """
    change_adapter(patient, train=lambda model, saved, steps: {**train(model, saved, steps), "step": 0})


@bug("data", found_by="targets")
def targets_not_shifted(patient: Patient) -> None:
    """Targets are the inputs.

    正解が入力と同じ。
    """
    change_batches(patient, lambda batch, step: replace(batch, targets=batch.ids))


@bug("data", found_by="targets")
def targets_two_ahead(patient: Patient) -> None:
    """Targets are two tokens ahead.

    正解が二つ先。
    """
    change_batches(patient, lambda batch, step: replace(batch, targets=batch.targets.roll(-1, dims=1)))


@bug("data", found_by="targets")
def document_ids_late(patient: Patient) -> None:
    """Document ids change one token late.

    文書番号の切り替わりが一つ遅い。
    """
    change_batches(
        patient,
        lambda batch, step: replace(
            batch, documents=torch.cat([batch.documents[:, :1], batch.documents[:, :-1]], dim=1)
        ),
    )


@bug("data", found_by="targets")
def steps_not_repeatable(patient: Patient) -> None:
    """A step asked for again gives other tokens.

    同じステップが別のトークンになる。
    """
    stream, asked = patient.pipeline.stream, []

    class Forgetful:
        def batch(self, step: int, batch_size: int) -> Any:
            asked.append(step)
            return stream.batch(step + len(asked), batch_size)

    patient.pipeline.stream = Forgetful()


def change_batches(patient: Patient, change: Callable[[Any, int], Any]) -> None:
    """Let the training stream give other batches."""
    stream = patient.pipeline.stream

    class Changed:
        def batch(self, step: int, batch_size: int) -> Any:
            return change(stream.batch(step, batch_size), step)

    patient.pipeline.stream = Changed()


@bug("data", found_by="round_trip")
def lower_casing(patient: Patient) -> None:
    """The tokenizer lower-cases.

    トークナイザーが小文字にする。
    """

    class LowerCasing(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.lower())

    patient.pipeline.tokenizer = LowerCasing()


@bug("data", found_by="byte_accounting")
def special_tokens_counted(patient: Patient) -> None:
    """Special tokens count as bytes.

    特殊トークンもバイト数に数える。
    """

    class Counting(ByteTokenizer):
        def token_bytes(self, id: int) -> bytes:
            return super().token_bytes(id) or b"<|endoftext|>"

    patient.pipeline.tokenizer = Counting()


@bug("data", found_by="held_out")
def validated_on_training(patient: Patient) -> None:
    """The validation text is the training text.

    検証用の文が訓練用と同じ。
    """
    patient.pipeline.data = SmallData(
        validation=(SmallSource(TEXTS),),
        manifest={"overlap": [{"source": "small", "documents": 3, "copies": 3, "sharing": 3, "passage": "13 words"}]},
    )
