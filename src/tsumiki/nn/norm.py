"""Normalisation: vectors of a steady size, whatever the layers before have done.

Both norms compute in fp32 (fp64 stays fp64), and multiply with the gain before the result is cast back to the dtype of
the input.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter

from tsumiki.nn.precision import at_least_fp32


class LayerNorm(Module):
    """y = (x - mean(x)) / √(var(x) + eps) · g + b, over the last axis. arXiv 1607.06450.

    var is the mean of the squared deviations (divided by n, not n - 1). g starts as one, b as zero.

    層正規化：平均を 0、分散を 1 にそろえてから、学習する倍率と平行移動を掛けます。
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.d_model, self.eps = d_model, eps
        self.weight = Parameter(torch.ones(d_model))
        self.bias = Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*batch {self.d_model}"]) -> Float[Tensor, "*batch {self.d_model}"]:
        """Centre, scale, multiply with the gain."""
        x32 = at_least_fp32(x)
        deviation = x32 - x32.mean(dim=-1, keepdim=True)
        variance = deviation.square().mean(dim=-1, keepdim=True)
        y = deviation * torch.rsqrt(variance + self.eps) * self.weight
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype)


class RMSNorm(Module):
    """y = x / √(mean(x²) + eps) · g, over the last axis. arXiv 1910.07467.

    LayerNorm without the mean and without the bias. g starts as one.

    RMS 正規化：平均を引かず、二乗平均平方根だけで大きさをそろえます。
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.d_model, self.eps = d_model, eps
        self.weight = Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch {self.d_model}"]) -> Float[Tensor, "*batch {self.d_model}"]:
        """Scale, multiply with the gain."""
        x32 = at_least_fp32(x)
        mean_square = x32.square().mean(dim=-1, keepdim=True)
        return (x32 * torch.rsqrt(mean_square + self.eps) * self.weight).to(x.dtype)
