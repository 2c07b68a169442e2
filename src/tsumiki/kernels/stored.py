"""Layers whose weights are only read: as they were trained, or in a narrower dtype than the one they compute in."""

from typing import Self

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import Module

from tsumiki.kernels.reduction import product

INT8_MAX = 127


class StoredLinear(Module):
    """y = (x Wᵀ) ⊙ s + b, with W in fp32, bf16 or int8 and a scale s for every output, if there is one.

    With int8 this is weight-only quantisation, symmetric and per channel: W ≈ s W₈. Inputs and sums keep their dtype.
    """

    stored: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        stored: Num[Tensor, "out in"],
        scale: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("stored", stored)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    @classmethod
    def rounded(cls, weight: Float[Tensor, "out in"], dtype: torch.dtype, bias: Tensor | None = None) -> Self:
        """Weights rounded to `dtype`: bf16, or int8 with max |W| of each output at 127."""
        if dtype != torch.int8:
            return cls(weight.to(dtype), None, bias, dtype=weight.dtype)
        scale = weight.float().abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / INT8_MAX
        return cls((weight.float() / scale[:, None]).round().to(torch.int8), scale, bias, dtype=weight.dtype)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """W in the dtype that the model computes in."""
        weight = self.stored.to(self.dtype)
        return weight if self.scale is None else weight * self.scale[:, None].to(self.dtype)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The weighted sums."""
        y = product(x, self.stored)
        if self.scale is not None:
            y = y * self.scale.to(y.dtype)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class StoredEmbedding(Module):
    """y = W[ids] ⊙ s[ids]: the rows of a table that is stored as in `StoredLinear`, and may be the same tensors."""

    stored: Tensor
    scale: Tensor | None

    def __init__(self, stored: Num[Tensor, "V E"], scale: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("stored", stored)
        self.register_buffer("scale", scale)
        self.dtype = dtype

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch E"]:
        """The rows of the table."""
        rows = self.stored[ids].to(self.dtype)
        return rows if self.scale is None else rows * self.scale[ids, None].to(self.dtype)
