"""Dropout: random zeros while training."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module


def dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """y = x m / (1 - p), where m is 0 with probability p and else 1. arXiv 1207.0580.

    The division keeps the mean of y equal to x, so nothing has to change when dropout is switched off after training.

    ドロップアウト：値を確率 p で 0 にし、残りを 1 / (1 - p) 倍します。
    """
    if p == 0.0:
        return x
    # Drawn in fp32: bf16 knows only a few hundred numbers between 0 and 1, and p would be off by up to 0.2 %.
    keep = torch.rand(x.shape, device=x.device, dtype=torch.float32) >= p
    return x * keep / (1.0 - p)


class Dropout(Module):
    """`dropout` while training, the identity in eval mode.

    学習中だけドロップアウトを行い、評価時は何もしません。

    Raises:
        ValueError: "dropout is 1.0, but must be 0 or more and below 1."
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout is {p}, but must be 0 or more and below 1.")
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drop while training."""
        return dropout(x, self.p) if self.training else x
