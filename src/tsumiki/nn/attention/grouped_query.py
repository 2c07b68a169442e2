"""Grouped-query attention, with the options that small modern decoders use."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsumiki.nn.attention.config import AttentionConfig
from tsumiki.nn.attention.core import AttentionContext, Mask
from tsumiki.nn.kv_cache import LayerCache
from tsumiki.nn.linear import Linear
from tsumiki.nn.norm import RMSNorm
from tsumiki.spec import spec


class GroupedQueryAttention(nn.Module):
    """O = concat_h(softmax(Q_h K_gᵀ / √D) V_g) W_O with g = h // (H / K) (arXiv 2305.13245).

    `num_kv_heads = num_heads` is multi-head attention (arXiv 1706.03762), `num_kv_heads = 1` multi-query attention
    (arXiv 1911.02150). Norms, RoPE's angles and the softmax are computed in fp32.

    複数のクエリヘッドが一組のキー・バリューヘッドを共有するアテンションです。

    Args:
        config: heads and options, see `Config`.
        d_model: width of the residual stream.
        window: sliding window of this layer in tokens, the query's own position included; None for all of the past.
        std: standard deviation of the initial weights.
        residual_std: the same for the output projection, which writes into the residual stream.
        dropout: probability with which an attention weight is dropped while training.
        norm_eps: added to the mean square in the norms of queries and keys.
    """

    @spec
    class Config(AttentionConfig):
        """Grouped-query attention without additions."""

        variant: Literal["grouped_query"] = "grouped_query"

    def __init__(
        self,
        config: AttentionConfig,
        *,
        d_model: int,
        window: int | None,
        std: float,
        residual_std: float,
        dropout: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.d_model, self.head_dim = d_model, config.head_dim
        self.mask = Mask(window=window)
        self.dropout = dropout
        q_width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = Linear(d_model, q_width, bias=config.bias, std=std)
        self.k_proj = Linear(d_model, kv_width, bias=config.bias, std=std)
        self.v_proj = Linear(d_model, kv_width, bias=config.bias, std=std)
        self.o_proj = Linear(q_width, d_model, bias=config.bias, std=residual_std)
        self.q_norm = RMSNorm(config.head_dim, eps=norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, eps=norm_eps) if config.qk_norm else None
        self.sinks = nn.Parameter(torch.zeros(config.num_heads)) if config.sinks else None

    def forward(
        self, x: Float[Tensor, "B T {self.d_model}"], context: AttentionContext, cache: LayerCache | None = None
    ) -> Float[Tensor, "B T {self.d_model}"]:
        """Mix each position with those that it sees.

        Args:
            x: the block's normalised input.
            context: positions, documents and backend of this step.
            cache: this layer's part of the KV cache, or None to compute all positions afresh.
        """
        return self.o_proj(self.heads(x, context, cache).flatten(2))

    def heads(
        self, x: Float[Tensor, "B T {self.d_model}"], context: AttentionContext, cache: LayerCache | None
    ) -> Float[Tensor, "B T H {self.head_dim}"]:
        """Every head's output, before they are joined and projected."""
        q_BTHD = self.q_proj(x).unflatten(-1, (-1, self.head_dim))
        k_BTKD = self.k_proj(x).unflatten(-1, (-1, self.head_dim))
        v_BTKD = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHD, k_BTKD = self.q_norm(q_BTHD), self.k_norm(k_BTKD)
        q_BTHD, k_BTKD = context.rotate(q_BTHD), context.rotate(k_BTKD)

        k_BSKD, v_BSKD, k_pos = k_BTKD, v_BTKD, context.positions
        if cache is not None:
            k_BSKD, v_BSKD, k_pos = cache.update(k_BTKD, v_BTKD, context.positions)
        return context.attend(
            q_BTHD,
            k_BSKD,
            v_BSKD,
            mask=self.mask,
            k_pos=k_pos,
            sinks=self.sinks,
            dropout=self.dropout if self.training else 0.0,
        )
