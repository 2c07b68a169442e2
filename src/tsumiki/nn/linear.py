"""The linear layer."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter


class Linear(Module):
    """y = x Wᵀ + b: every output is a weighted sum of all inputs.

    W starts as N(0, `std`²), b as zero. The bias is cast to the dtype of the product: under bf16 autocast the product
    is bf16, and an fp32 bias would silently lift everything after it to fp32.

    線形層：入力の重み付き和にバイアスを加えます。
    """

    def __init__(self, d_in: int, d_out: int, *, bias: bool = False, std: float = 0.02) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.weight = Parameter(torch.randn(d_out, d_in) * std)
        self.bias = Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Float[Tensor, "*batch {self.d_in}"]) -> Float[Tensor, "*batch {self.d_out}"]:
        """The weighted sums."""
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias.to(y.dtype)
