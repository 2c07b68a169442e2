"""How the next token is chosen from the model's scores: one frozen dataclass, and functions that obey it.

Every function here works on many rows at once, each with settings of its own, and waits for nothing: what a captured
step on a GPU needs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tsumiki.nn.softmax import softmax


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of one generation, applied in the order in which they stand here.

    - `repetition_penalty` r (arXiv 1909.05858): scores of tokens that the prompt or the text holds are divided by r if
      positive, multiplied by r if negative. 1 changes nothing.
    - `presence_penalty` a: what is subtracted from the scores of tokens that the text holds.
    - `valid_utf8`: only tokens that continue the bytes so far to valid UTF-8; the text ends with a whole character.
    - `temperature` t: p = softmax(scores / t). 0 is greedy: always the likeliest token, whatever follows says.
    - `top_k`: only the k likeliest tokens stay.
    - `top_p` (nucleus, arXiv 1904.09751): of these, only the fewest likeliest whose probabilities reach p together.
    - `min_p` (arXiv 2407.01082): of these, only tokens at least p times as probable as the likeliest.
    - `seed`: the same seed, settings and prompt give the same tokens on the same device.

    What stays is rescaled to sum to one before the next filter looks at it. `None` leaves a filter out. This is the
    order of Hugging Face transformers; llama.cpp applies the temperature last.
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    valid_utf8: bool = False
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}, but must be above 0; 1 changes nothing")
        if not -math.inf < self.presence_penalty < math.inf:
            raise ValueError(f"presence_penalty is {self.presence_penalty}, but must be a finite number")
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

    @property
    def filters(self) -> bool:
        """Whether any filter is set."""
        return self.top_k is not None or self.top_p is not None or self.min_p is not None

    @property
    def penalises(self) -> bool:
        """Whether tokens are penalised for having occurred."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0


def choose(logits: Float[Tensor, "B V"], sampling: Sampling, generator: torch.Generator) -> Int[Tensor, " B"]:
    """The next token of each row, with the same settings for all. Penalties need to know the text, see `penalise`."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    scores = tempered(logits, sampling.temperature)
    if sampling.top_k is not None:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p is not None:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p is not None:
        scores = keep_min_p(scores, sampling.min_p)
    return draw(scores, torch.rand(len(logits), generator=generator, device=logits.device))


def tempered(logits: Float[Tensor, "B V"], temperature: float | Tensor) -> Float[Tensor, "B V"]:
    """Scores in fp32, divided by the temperature. Less the maximum: a tiny temperature must not divide to infinity."""
    scores = logits.float()
    return (scores - scores.amax(dim=-1, keepdim=True)) / temperature


def penalise(
    logits: Float[Tensor, "B V"],
    seen: Bool[Tensor, "B V"],
    written: Bool[Tensor, "B V"],
    repetition: Float[Tensor, "B 1"],
    presence: Float[Tensor, "B 1"],
) -> Float[Tensor, "B V"]:
    """Lower scores for tokens that prompt or text hold (`seen`), and for those that the text holds (`written`)."""
    scores = logits.float()
    repeated = torch.where(scores > 0, scores / repetition, scores * repetition)
    return torch.where(seen, repeated, scores) - presence * written


def keep_top_k(scores: Tensor, k: int | Tensor) -> Tensor:
    """Scores with -inf for all but the `k` highest of each row; of equal scores at the border all stay.

    As a tensor, k is [B, 1], one number a row.
    """
    if isinstance(k, int):
        lowest_kept = scores.topk(min(k, scores.shape[-1]), dim=-1).values[..., -1:]
    else:
        ordered = scores.sort(dim=-1, descending=True).values
        lowest_kept = ordered.gather(-1, k.clamp(max=scores.shape[-1]) - 1)
    return scores.masked_fill(scores < lowest_kept, -torch.inf)


def keep_top_p(scores: Tensor, p: float | Tensor) -> Tensor:
    """Scores with -inf for all but the fewest likeliest tokens of each row whose probabilities sum to `p` or more.

    As a tensor, p is [B, 1], one number a row.
    """
    ordered, order = scores.sort(dim=-1, descending=True)
    probabilities = softmax(ordered, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier tokens sum to; 0 for the likeliest
    dropped = torch.empty_like(before, dtype=torch.bool).scatter(-1, order, before >= p)
    return scores.masked_fill(dropped, -torch.inf)


def keep_min_p(scores: Tensor, p: float | Tensor) -> Tensor:
    """Scores with -inf for all tokens of each row less than `p` times as probable as the likeliest.

    As a tensor, p is [B, 1], one number a row.
    """
    # p_i >= p * p_max  <=>  score_i >= score_max + ln p: the softmax's denominator is the same on both sides
    log_p = torch.as_tensor(p, dtype=scores.dtype, device=scores.device).log()
    return scores.masked_fill(scores < scores.amax(dim=-1, keepdim=True) + log_p, -torch.inf)


def draw(scores: Float[Tensor, "B V"], uniform: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The token into whose share of [0, 1) each row's number falls, the shares being softmax(scores).

    One number a token decides, so a row's text depends on its own numbers only. Sums are fp64: rounded in fp32, the
    borders of 8,192 shares would be off by more than the rarest tokens' shares.
    """
    shares = softmax(scores.double(), dim=-1)
    borders = shares.cumsum(dim=-1)
    beyond = (borders > uniform.double()[:, None] * borders[:, -1:]) & (shares > 0)
    return beyond.to(torch.uint8).argmax(dim=-1)
