"""The loss, from hidden states to nats: -log softmax(capped(h Wᵀ))[target], summed over the targets.

`tsumiki.nn.loss` says what must be computed. Logits are by far the largest tensor of a small model: V numbers a token
where the hidden state has E. So the product with the unembedding belongs to the loss, and `chunked` never holds more
than a slice of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsumiki.nn.activation import softcap
from tsumiki.nn.loss import IGNORE, cross_entropy
from tsumiki.nn.precision import as_product, at_least_fp32

LOGITS_AT_ONCE = 2**27
"""How many logits `chunked` holds at a time: 256 MiB of bf16, and 512 MiB while they are fp32."""

ALIGNMENT = 64
"""`chunked` multiplies with a vocabulary that is a multiple of this, because a GPU's fast kernels want rows of logits
that begin at aligned addresses; with cl100k's 100,277 tokens none but the first would."""

LinearCrossEntropy = Callable[[Tensor, Tensor, Tensor, float | None], Tensor]
"""(hidden [N, E], unembedding [V, E], targets [N], cap of the logits) -> nats, a scalar in fp32 or fp64."""


def eager_sum(
    hidden: Float[Tensor, "N E"], unembedding: Float[Tensor, "V E"], targets: Int[Tensor, " N"], cap: float | None
) -> Float[Tensor, ""]:
    """As `tsumiki.nn` spells it."""
    logits = hidden @ unembedding.T
    return cross_entropy(logits if cap is None else softcap(logits, cap), targets, reduction="sum")


def torch_sum(
    hidden: Float[Tensor, "N E"], unembedding: Float[Tensor, "V E"], targets: Int[Tensor, " N"], cap: float | None
) -> Float[Tensor, ""]:
    """With PyTorch's own cross-entropy."""
    logits = hidden @ unembedding.T
    logits = at_least_fp32(logits if cap is None else softcap(logits, cap))
    return functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")


def chunked_sum(
    hidden: Float[Tensor, "N E"], unembedding: Float[Tensor, "V E"], targets: Int[Tensor, " N"], cap: float | None
) -> Float[Tensor, ""]:
    """A slice of the tokens at a time; the gradients are computed on the way, while the slice's logits are at hand.

    The logits take a slice's memory instead of the whole batch's, and the work is the same three matrix products.
    """
    return _ChunkedSum.apply(as_product(hidden), as_product(unembedding), targets, cap)


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, unembedding: Tensor, targets: Tensor, cap: float | None) -> Tensor:
        # nats = lse(z) - z[target],  so  d nats / d z = softmax(z) - onehot(target);  with a cap c, z = c tanh(y / c)
        # and dz / dy = 1 - (z / c)². A token without a target adds nothing to either.
        num_tokens = len(unembedding)
        rows = max(1, LOGITS_AT_ONCE // num_tokens)
        num_padded = -num_tokens % ALIGNMENT
        padded_PE = functional.pad(unembedding, (0, 0, 0, num_padded))  # rows of zeros, whose logits are cut off
        nats, hidden_gradients = [], []
        unembedding_gradient = torch.zeros_like(padded_PE, dtype=torch.promote_types(padded_PE.dtype, torch.float32))
        for hidden_NE, targets_N in zip(hidden.split(rows), targets.split(rows), strict=True):
            real_N1 = (targets_N != IGNORE).unsqueeze(1)
            targets_N1 = targets_N.unsqueeze(1).clamp(min=0)
            logits_NV = at_least_fp32((hidden_NE @ padded_PE.T)[:, :num_tokens])
            if cap is not None:
                logits_NV = softcap(logits_NV, cap)
            lse_N1 = logits_NV.logsumexp(dim=1, keepdim=True)
            nats.append(torch.where(real_N1, lse_N1 - logits_NV.gather(1, targets_N1), 0.0).sum())
            gradient_NV = (logits_NV - lse_N1).exp() - (
                torch.arange(num_tokens, device=hidden.device) == targets_N1
            ).to(logits_NV.dtype)
            if cap is not None:
                gradient_NV = gradient_NV * (1 - (logits_NV / cap).square())
            gradient_NV = torch.where(real_N1, gradient_NV, 0.0).to(hidden.dtype)
            gradient_NP = functional.pad(gradient_NV, (0, num_padded))
            hidden_gradients.append(gradient_NP @ padded_PE)
            unembedding_gradient = unembedding_gradient + gradient_NP.T @ hidden_NE
        ctx.save_for_backward(torch.cat(hidden_gradients), unembedding_gradient[:num_tokens].to(unembedding.dtype))
        return torch.stack(nats).sum()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator changes its type
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        (gradient,) = gradients
        # Multiplied in fp32: rounded to bf16 first, the factor would be wrong by the same share for every weight.
        scaled = [(at_least_fp32(tensor) * gradient).to(tensor.dtype) for tensor in ctx.saved_tensors]
        return scaled[0], scaled[1], None, None


CROSS_ENTROPIES: dict[str, LinearCrossEntropy] = {"eager": eager_sum, "torch": torch_sum, "chunked": chunked_sum}
"""Name in a configuration -> the summed loss."""
