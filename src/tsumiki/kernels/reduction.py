"""Products and sums in place of matrix products: what a step that computes one token is made of.

A matrix times one vector reads every weight once and does next to nothing with it, so memory sets the pace. Libraries
for matrix products are made for the other case. `torch.compile` turns a product and a sum into one loop over memory,
joined with what comes before and after.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from tsumiki.nn.attention import AttentionContext, Mask, dense_visibility
from tsumiki.nn.precision import at_least_fp32


def product(x: Float[Tensor, "*batch d_in"], weight: Num[Tensor, "d_out d_in"]) -> Float[Tensor, "*batch d_out"]:
    """x Wᵀ, summed in fp32 for a single vector in a compiled model, otherwise as a matrix product in the dtype of x.

    `weight` may be stored in a narrower dtype than x, integers included; it is widened while it is read.
    """
    if x.numel() > x.shape[-1] or not torch.compiler.is_compiling():
        return x @ weight.to(x.dtype).T
    terms = at_least_fp32(computed_once(x))[..., None, :] * at_least_fp32(weight)
    return terms.sum(dim=-1).to(x.dtype)


def computed_once(x: Tensor) -> Tensor:
    """`x` itself, and in a compiled model a tensor of its own: not computed anew for each of the sums that read it."""
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())


@dataclass(frozen=True)
class Reduction:
    """Attention as products and sums, for one query a row: what decoding from a cache of fixed size is compiled from.

    The formula is that of `Eager`, with the softmax's denominator divided out last. Right for any number of queries,
    but it then holds T · S · D products in memory unless compiled. Scores and sums are fp32.
    """

    name: str = "reduction"

    def visibility(self, mask: Mask, context: AttentionContext, k_pos: Int[Tensor, "B S"]) -> Bool[Tensor, "B T S"]:
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
        if dropout > 0:
            raise ValueError(
                "reduction cannot drop attention weights; set dropout to 0 or the attention backend to sdpa."
            )
        num_kv_heads, head_dim = k.shape[2:]
        q_BKGTD = at_least_fp32(q).unflatten(2, (num_kv_heads, -1)).permute(0, 2, 3, 1, 4) / math.sqrt(head_dim)
        k_BKSD, v_BKSD = at_least_fp32(k).transpose(1, 2), at_least_fp32(v).transpose(1, 2)
        scores_BKGTS = (computed_once(q_BKGTD)[..., None, :] * k_BKSD[:, :, None, None]).sum(dim=-1)
        scores_BKGTS = scores_BKGTS.masked_fill(~visibility[:, None, None], -math.inf)
        sink_logits = torch.full_like(q[0, 0, :, 0], -math.inf) if sinks is None else sinks
        sinks_KG11 = at_least_fp32(sink_logits).unflatten(0, (num_kv_heads, -1))[:, :, None, None]
        peak_BKGT1 = torch.maximum(scores_BKGTS.amax(dim=-1, keepdim=True), sinks_KG11)
        peak_BKGT1 = peak_BKGT1.clamp(min=torch.finfo(scores_BKGTS.dtype).min)  # of a query that sees nothing: -inf
        weights_BKGTS = (scores_BKGTS - peak_BKGT1).exp()
        total_BKGT1 = weights_BKGTS.sum(dim=-1, keepdim=True) + (sinks_KG11 - peak_BKGT1).exp()
        sums_BKGTD = (weights_BKGTS[..., None] * v_BKSD[:, :, None, None]).sum(dim=-2)
        out_BKGTD = sums_BKGTD / total_BKGT1.clamp(min=1)  # the peak alone gives 1, so this acts on seeing nothing only
        return out_BKGTD.permute(0, 3, 1, 2, 4).flatten(2, 3).to(q.dtype)
