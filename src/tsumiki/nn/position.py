"""Positions: which place a token has, and two ways of adding that to its vector (the third way is `rope`)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module, Parameter

from tsumiki.nn.precision import as_product


def inverse_frequencies(width: int, theta: float = 10000.0) -> Float[Tensor, " half"]:
    """ωᵢ = theta^(-2i / width), i = 0, 1, ... below width / 2, in radians a position; in fp64 and on the CPU.

    The first turns once in 2π positions, the last about once in 2π · theta. A power computed in fp32 is off in several
    digits, and its error grows with the position; so whoever needs fp32 rounds the finished number.

    位置エンコーディングと RoPE が共有する角周波数です。
    """
    return theta ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)


def sinusoidal(positions: Int[Tensor, "*batch"], d_model: int) -> Float[Tensor, "*batch {d_model}"]:
    """PE(p, 2i) = sin(p ωᵢ), PE(p, 2i + 1) = cos(p ωᵢ) with ωᵢ = 10000^(-2i / d_model); fp32. arXiv 1706.03762.

    An odd `d_model` ends with a sine.

    正弦波による位置エンコーディング：学習するパラメータはありません。
    """
    angles = positions.to(torch.float32).unsqueeze(-1) * inverse_frequencies(d_model).to(
        positions.device, torch.float32
    )
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :d_model]


class LearnedPosition(Module):
    """y = W[positions]: one learned vector a position, as in GPT-2. There are none beyond `max_seq_len` (`IndexError`).

    学習する位置埋め込み：位置ごとに 1 本のベクトルを持ちます。
    """

    def __init__(self, max_seq_len: int, d_model: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.max_seq_len, self.d_model = max_seq_len, d_model
        self.weight = Parameter(torch.randn(max_seq_len, d_model) * std)

    def forward(self, positions: Int[Tensor, "B T"]) -> Float[Tensor, "B T {self.d_model}"]:
        """The vectors of the positions."""
        return as_product(torch.embedding(self.weight, positions))


def beginnings(documents: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Where a document begins: at the first token of every row, and wherever the id changes.

    文書の先頭：各行の最初のトークンと、文書 ID が変わるところです。
    """
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return begins


def positions_in_documents(documents: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The place of every token in its own document: 7 7 7 9 9 -> 0 1 2 0 1.

    `documents` holds a document id for every token. A document is an unbroken run of one id in a row.

    文書の先頭を 0 とする位置：1 行に複数の文書を詰めても、位置は文書ごとに 0 から始まります。
    """
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    beginning = torch.where(beginnings(documents), index, 0).cummax(dim=1).values
    return index - beginning
