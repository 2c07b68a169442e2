"""A decoder of somebody else: plain torch.nn, no tsumiki inside."""

import torch
from torch import Tensor, nn


class SomebodysDecoder(nn.Module):
    """One pre-norm layer, eleven tokens, at most 23 positions."""

    def __init__(self, *, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.tokens, self.places = nn.Embedding(11, 12), nn.Embedding(23, 12)
        self.norm, self.attention = nn.LayerNorm(12), nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 11)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.tokens(ids) + self.places(torch.arange(length))
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        y = self.norm(x)
        return self.head(x + self.attention(y, y, y, attn_mask=hidden, need_weights=False)[0])
