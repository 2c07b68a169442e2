"""How the next token is chosen from the model's scores: one frozen dataclass, and one function that obeys it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsumiki.nn.softmax import softmax


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of one generation, applied in the order in which they stand here.

    - `temperature` t: p = softmax(scores / t). 0 is greedy: always the likeliest token, whatever the rest says.
    - `top_k`: only the k likeliest tokens stay.
    - `top_p` (nucleus, arXiv 1904.09751): of these, only the fewest likeliest whose probabilities reach p together.
    - `min_p` (arXiv 2407.01082): of these, only tokens at least p times as probable as the likeliest.
    - `seed`: the same seed, settings and prompt give the same tokens on the same device.

    What stays is rescaled to sum to one before the next filter looks at it. `None` leaves a filter out. This is the
    order of Hugging Face transformers; llama.cpp applies the temperature last.
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature != 0 and not 1e-6 <= self.temperature < math.inf:  # below, fp32 would divide by zero
            raise ValueError(f"temperature is {self.temperature}, but must be 0 (greedy) or a number from 1e-6 upwards")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}, but must be at least 1; leave it out to keep all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p is {self.top_p}, but must be above 0 and at most 1; leave it out to keep all tokens"
            )
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is {self.min_p}, but must be between 0 and 1; leave it out to keep all tokens")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, but must be between 0 and 2**63 - 1")

    def generator(self, device: torch.device) -> torch.Generator:
        """A random number generator of its own for one generation, so that nothing else can disturb it."""
        return torch.Generator(device).manual_seed(self.seed)


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """The next token of each row of `logits` [B, V]: ids [B]. Computed in fp32, on the logits' device."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # Subtracting the maximum first keeps a tiny temperature from dividing to infinity.
    scores = logits.float()
    scores = (scores - scores.amax(dim=-1, keepdim=True)) / sampling.temperature
    if sampling.top_k is not None:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p is not None:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p is not None:
        scores = keep_min_p(scores, sampling.min_p)
    return torch.multinomial(softmax(scores, dim=-1), num_samples=1, generator=generator).squeeze(-1)


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Scores with -inf for all but the `k` highest of each row; of equal scores at the border all stay."""
    lowest_kept = scores.topk(min(k, scores.shape[-1]), dim=-1).values[..., -1:]
    return scores.masked_fill(scores < lowest_kept, -torch.inf)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """Scores with -inf for all but the fewest likeliest tokens of each row whose probabilities sum to `p` or more."""
    ordered, order = scores.sort(dim=-1, descending=True)
    probabilities = softmax(ordered, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier tokens sum to; 0 for the likeliest
    dropped = torch.empty_like(before, dtype=torch.bool).scatter(-1, order, before >= p)
    return scores.masked_fill(dropped, -torch.inf)


def keep_min_p(scores: Tensor, p: float) -> Tensor:
    """Scores with -inf for all tokens of each row less than `p` times as probable as the likeliest."""
    if p == 0:
        return scores
    # p_i >= p * p_max  <=>  score_i >= score_max + ln p: the softmax's denominator is the same on both sides
    return scores.masked_fill(scores < scores.amax(dim=-1, keepdim=True) + math.log(p), -torch.inf)
