"""The embedding: from token ids to vectors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module, Parameter

from tsumiki.nn.precision import as_product


class Embedding(Module):
    """y = W[ids]: row `id` of a learned table, which is a one-hot vector times W without the multiplication.

    W starts as N(0, `std`²). `torch.embedding` is the look-up W[ids] with two differences that matter: a negative id is
    an `IndexError` instead of counting from the end, and the gradients of a token that occurs many times are added in a
    fixed order, so that a run on the CPU can be repeated bit for bit. Under autocast the result has the dtype of any
    other matrix product.

    埋め込み層：トークン ID に対応する行ベクトルを表から取り出します。
    """

    def __init__(self, vocab_size: int, d_model: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.vocab_size, self.d_model = vocab_size, d_model
        self.weight = Parameter(torch.randn(vocab_size, d_model) * std)

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch {self.d_model}"]:
        """The rows of the table."""
        return as_product(torch.embedding(self.weight, ids))
