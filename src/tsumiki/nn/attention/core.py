"""What every attention shares: who may see whom (`Mask`), the specification of attention (`Eager`), and what the
layers of one forward pass have in common (`AttentionContext`).

Axes: B batch, T query time, S key time, H query heads, K key/value heads, G = H / K queries a key head, D head width.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tsumiki.nn.dropout import dropout as drop
from tsumiki.nn.kv_cache import EMPTY
from tsumiki.nn.rope import Rotation, rotate
from tsumiki.nn.softmax import softmax


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see, as data.

    `allow` is the one place that decides. Eager's dense mask is `allow` on all pairs, FlexAttention's `mask_mod` is
    `allow` on one pair, so the two cannot drift apart.

    どのクエリがどのキーを見てよいかを、データとして表します。

    Args:
        causal: a query sees no key behind its own position.
        window: a query sees the last `window` positions, its own among them (as GPT-OSS counts; FlashAttention's
            `window_size=(n, 0)` leaves its own out, so n = window - 1 there). None: all of the past.
    """

    causal: bool = True
    window: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}, but a query sees at least itself; use 1 or more, or none.")

    def allow(self, q_pos: Tensor, k_pos: Tensor, q_doc: Tensor | None = None, k_doc: Tensor | None = None) -> Tensor:
        """True where a query at `q_pos` in document `q_doc` may see a key at `k_pos` in `k_doc`.

        The arguments broadcast against each other. Positions count within a document.
        """
        allowed = k_pos > EMPTY
        if self.causal:
            allowed = allowed & (k_pos <= q_pos)
        if self.window is not None:
            allowed = allowed & (q_pos - k_pos < self.window)
        if q_doc is not None and k_doc is not None:
            allowed = allowed & (q_doc == k_doc)
        return allowed


@runtime_checkable
class AttentionBackend(Protocol):
    """One way to compute attention. `Eager` is the specification; `tsumiki.kernels` has faster spellings of it.

    A backend that cannot do what it is asked raises `ValueError` with the reason. It never does something else instead.
    """

    @property
    def name(self) -> str:
        """The name by which a configuration picks the backend."""
        ...

    def visibility(self, mask: Mask, context: "AttentionContext", k_pos: Int[Tensor, "B S"]) -> Any:
        """What `attend` needs to know about the mask, in the backend's own form. Built once a step for each mask."""
        ...

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        visibility: Any,
        *,
        sinks: Float[Tensor, " H"] | None,
        dropout: float,
    ) -> Float[Tensor, "B T H D"]:
        """Each query's weighted mean of the values that it sees."""
        ...


@dataclass(frozen=True)
class Eager:
    """Attention as on paper: Attention(Q, K, V) = softmax(Q Kᵀ / √D) V (arXiv 1706.03762).

    Query head h reads key head h // G (grouped-query attention, arXiv 2305.13245): K = H is multi-head, K = 1
    multi-query attention. A sink is a learned logit s_h that takes part in the softmax but carries no value:
    p_ts = exp(l_ts) / (exp(s_h) + Σ_s' exp(l_ts')) (arXiv 2309.17453, GPT-OSS). The softmax is computed in fp32.

    論文どおりのアテンションです。ほかの実装はすべてこれと比べて検証します。
    """

    name: str = "eager"

    def visibility(self, mask: Mask, context: "AttentionContext", k_pos: Int[Tensor, "B S"]) -> Bool[Tensor, "B T S"]:
        """The dense mask: True where query t sees key s."""
        return dense_visibility(mask, context, k_pos)

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        visibility: Bool[Tensor, "B T S"],
        *,
        sinks: Float[Tensor, " H"] | None,
        dropout: float,
    ) -> Float[Tensor, "B T H D"]:
        """Each query's weighted mean of the values that it sees; 0 for a query that sees nothing."""
        num_kv_heads, head_dim = k.shape[2:]
        q_BTKGD = q.unflatten(2, (num_kv_heads, -1))
        scores_BKGTS = torch.einsum("btkgd,bskd->bkgts", q_BTKGD, k) / math.sqrt(head_dim)
        scores_BKGTS = scores_BKGTS.masked_fill(~visibility[:, None, None], -math.inf)
        if sinks is None:
            weights_BKGTS = softmax(scores_BKGTS, dim=-1)
        else:
            sinks_KG = sinks.unflatten(0, (num_kv_heads, -1)).to(scores_BKGTS.dtype)
            sinks_BKGT1 = sinks_KG[:, :, None, None].expand(*scores_BKGTS.shape[:-1], 1)
            weights_BKGTS = softmax(torch.cat([scores_BKGTS, sinks_BKGT1], dim=-1), dim=-1)[..., :-1]
        weights_BKGTS = drop(weights_BKGTS, dropout)
        return torch.einsum("bkgts,bskd->btkgd", weights_BKGTS, v).flatten(2, 3)


def dense_visibility(mask: Mask, context: "AttentionContext", k_pos: Int[Tensor, "B S"]) -> Bool[Tensor, "B T S"]:
    """`mask.allow` on all pairs of a query and a key."""
    q_pos, documents = context.positions, context.documents
    q_doc, k_doc = (None, None) if documents is None else (documents[:, :, None], documents[:, None, :])
    allowed = mask.allow(q_pos[:, :, None], k_pos[:, None, :], q_doc=q_doc, k_doc=k_doc)
    return allowed.expand(-1, q_pos.shape[1], -1)


@dataclass
class AttentionContext:
    """What the attention layers of one forward pass share: where each token stands, and how attention is computed.

    The model makes one for each forward pass and hands it to every layer. Layers with the same mask share one
    visibility, so that masks are built once a step and not once a layer.

    一回の順伝播で、すべてのアテンション層が共有する情報です。

    Args:
        positions: [B, T], counted within a document; EMPTY for padding.
        documents: [B, T], the id of the document that a token belongs to, in contiguous runs; None where each row is
            one document.
        rotation: RoPE's cosines and sines for `positions`; None for a model that knows positions in another way.
        backend: how attention is computed.
        aligned: every row holds positions 0, 1, 2, ... without gaps or padding, those in the cache included. Then
            "causal" needs no mask tensor, and a backend may take its fast path.
        max_documents: the caller's word that the batch holds no more documents than that, for backends that would
            otherwise have to reckon with the worst.
    """

    positions: Int[Tensor, "B T"]
    documents: Int[Tensor, "B T"] | None
    rotation: Rotation | None
    backend: AttentionBackend
    aligned: bool
    max_documents: int | None = None
    _visibility: dict[Mask, Any] = field(default_factory=dict, init=False, repr=False)

    def rotate(self, x: Float[Tensor, "B T N D"]) -> Float[Tensor, "B T N D"]:
        """Turn queries or keys by their positions; unchanged where the model has no RoPE."""
        return x if self.rotation is None else rotate(x, self.rotation)

    def attend(
        self,
        q: Float[Tensor, "B T H D"],
        k: Float[Tensor, "B S K D"],
        v: Float[Tensor, "B S K D"],
        *,
        mask: Mask,
        k_pos: Int[Tensor, "B S"],
        sinks: Float[Tensor, " H"] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "B T H D"]:
        """Attention of this step's queries over the keys at `k_pos`, under `mask`."""
        if mask not in self._visibility:
            self._visibility[mask] = self.backend.visibility(mask, self, k_pos)
        return self.backend.attend(q, k, v, self._visibility[mask], sinks=sinks, dropout=dropout)
