"""Softmax and its logarithm: from scores to probabilities.

Both compute in fp32 (fp64 stays fp64) and return the dtype of the input.

A score of -inf is a masked place: its probability is 0. Where everything is masked, the textbook formula says 0 / 0.
Here such a row gets probability 0 everywhere (log-probability -inf) and finite gradients, so that a padded row of
attention reads nothing instead of spreading NaN.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tsumiki.nn.precision import at_least_fp32


def _below_peak(x: Tensor, dim: int) -> Tensor:
    """x - max(x): softmax does not change when a constant is added to x, and no exponent is above 0 any more.

    The peak is a constant for autograd, since it cancels. A peak of -inf is replaced by the lowest finite number:
    -inf - (-inf) would be NaN.
    """
    peak = x.detach().amax(dim=dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min)
    return x - peak


def _sum_of_exp(x: Tensor, dim: int) -> Tensor:
    """Σ exp(x) where max(x) = 0, hence at least exp(0) = 1; the clamp acts on nothing but fully masked rows."""
    return x.exp().sum(dim=dim, keepdim=True).clamp(min=1.0)


def softmax(x: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """softmax(x)ᵢ = exp(xᵢ) / Σⱼ exp(xⱼ) = exp(xᵢ - max x) / Σⱼ exp(xⱼ - max x), along `dim`.

    softmax：スコアを、合計が 1 になる確率に変えます（最大値を引くので、あふれません）。
    """
    below = _below_peak(at_least_fp32(x), dim)
    return (below.exp() / _sum_of_exp(below, dim)).to(x.dtype)


def log_softmax(x: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """log softmax(x)ᵢ = (xᵢ - max x) - log Σⱼ exp(xⱼ - max x), along `dim`.

    Not log(softmax(x)): a probability too small for a float would become log 0 = -inf.

    softmax の対数：確率が小さすぎて 0 に丸められても、対数は正しく求まります。
    """
    below = _below_peak(at_least_fp32(x), dim)
    return (below - _sum_of_exp(below, dim).log()).to(x.dtype)
