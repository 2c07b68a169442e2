"""Gated attention: a sigmoid gate on the heads' outputs."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsumiki.nn.activation import sigmoid
from tsumiki.nn.attention.config import AttentionConfig
from tsumiki.nn.attention.core import AttentionContext
from tsumiki.nn.attention.grouped_query import GroupedQueryAttention
from tsumiki.nn.kv_cache import LayerCache
from tsumiki.nn.linear import Linear
from tsumiki.nn.precision import at_least_fp32
from tsumiki.spec import spec


class GatedAttention(GroupedQueryAttention):
    """O = (Y ⊙ σ(X W_θ)) W_O: Y the heads' outputs, X the block's normalised input (arXiv 2505.06708, position G1).

    The gate is head-specific and multiplicative. `elementwise` gates each of the H·D output values, `headwise` each
    head as a whole. With `gate_input: query` the gate depends on the token, which is what the paper proposes; with
    `none` it is a learned constant, the paper's ablation. Weights start as those of every other projection do, so
    that σ ≈ 1/2 and attention begins at half strength; the paper names no other initialisation. σ is computed in fp32.

    各ヘッドの出力に、入力から計算したシグモイドのゲートを掛けます。
    """

    @spec
    class Config(AttentionConfig):  # pyright: ignore[reportIncompatibleVariableOverride] - its own tag, its own options
        """Grouped-query attention and its gate."""

        variant: Literal["gated"] = "gated"
        gate: Literal["elementwise", "headwise"] = "elementwise"
        gate_input: Literal["query", "none"] = "query"

    def __init__(
        self,
        config: Config,
        *,
        d_model: int,
        window: int | None,
        std: float,
        residual_std: float,
        dropout: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(
            config,
            d_model=d_model,
            window=window,
            std=std,
            residual_std=residual_std,
            dropout=dropout,
            norm_eps=norm_eps,
        )
        self.gates_per_head = config.head_dim if config.gate == "elementwise" else 1
        num_gates = config.num_heads * self.gates_per_head
        self.gate_proj = Linear(d_model, num_gates, std=std) if config.gate_input == "query" else Constant(num_gates)

    def forward(
        self, x: Float[Tensor, "B T {self.d_model}"], context: AttentionContext, cache: LayerCache | None = None
    ) -> Float[Tensor, "B T {self.d_model}"]:
        """Mix each position with those that it sees, as much as the gate lets through."""
        gated_BTHD = self.heads(x, context, cache) * self.gate(x)
        return self.o_proj(gated_BTHD.flatten(2))

    def gate(self, x: Float[Tensor, "B T {self.d_model}"]) -> Float[Tensor, "B T H {self.gates_per_head}"]:
        """How much of each head's output passes, between 0 and 1."""
        gate = sigmoid(at_least_fp32(self.gate_proj(x))).to(x.dtype)
        return gate.unflatten(-1, (-1, self.gates_per_head))


class Constant(nn.Module):
    """A learned vector that takes no notice of its input: a projection without the input.

    入力によらない、学習されるベクトルです。
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T N"]:
        """The vector, at each of x's positions."""
        return self.value.expand(*x.shape[:-1], -1)
