"""What the device knows about the texts being written: a row a text, and nothing that Python has to be asked for."""

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tsumiki.generate.sampling import Sampling, draw, keep_min_p, keep_top_k, keep_top_p, penalise, tempered
from tsumiki.generate.utf8 import FREE, NEVER, START
from tsumiki.nn.softmax import log_softmax

EVERYTHING = 2.0
"""A top_p that no sum of probabilities reaches, rounding errors included."""


class Needs(NamedTuple):
    """Which parts of choosing a token the present texts need. A step is compiled or captured for each combination."""

    sampling: bool = False
    filters: bool = False
    penalties: bool = False
    valid_utf8: bool = False

    @classmethod
    def of(cls, *settings: Sampling) -> Self:
        """What these settings need together."""
        return cls(
            sampling=any(sampling.temperature > 0 for sampling in settings),
            filters=any(sampling.temperature > 0 and sampling.filters for sampling in settings),
            penalties=any(sampling.penalises for sampling in settings),
            valid_utf8=any(sampling.valid_utf8 for sampling in settings),
        )


@dataclass
class Rows:
    """The state of B texts, and the settings that each is written with.

    Attributes:
        ids: the token that is read next.
        positions: where that token stands.
        ends: the position at which the row stops reading; rows with `positions >= ends` are idle.
        uniforms: the random number that chooses the token at each position, drawn from the text's own seed. So a
            text depends neither on its neighbours nor on when it was written.
        seen, written: which tokens prompt and text hold, and the text alone.
        utf8: the state of `tsumiki.generate.utf8`.
        temperature, top_k, top_p, min_p, repetition, presence: the settings; filters left out are ones that keep all.
    """

    ids: Int[Tensor, " B"]
    positions: Int[Tensor, " B"]
    ends: Int[Tensor, " B"]
    uniforms: Float[Tensor, "B C"]
    seen: Bool[Tensor, "B V"]
    written: Bool[Tensor, "B V"]
    utf8: Int[Tensor, " B"]
    temperature: Float[Tensor, " B"]
    top_k: Int[Tensor, " B"]
    top_p: Float[Tensor, " B"]
    min_p: Float[Tensor, " B"]
    repetition: Float[Tensor, " B"]
    presence: Float[Tensor, " B"]

    @classmethod
    def idle(cls, num_rows: int, context: int, vocab_size: int, device: torch.device) -> Self:
        """Rows that hold no text."""
        integers = ("ids", "positions", "ends")
        numbers = ("temperature", "top_p", "min_p", "repetition", "presence")
        return cls(
            **{name: torch.zeros(num_rows, dtype=torch.int64, device=device) for name in integers},
            uniforms=torch.zeros(num_rows, context + 1, device=device),
            seen=torch.zeros(num_rows, vocab_size, dtype=torch.bool, device=device),
            written=torch.zeros(num_rows, vocab_size, dtype=torch.bool, device=device),
            utf8=torch.full((num_rows,), FREE, dtype=torch.int64, device=device),
            top_k=torch.full((num_rows,), vocab_size, dtype=torch.int64, device=device),
            **{name: torch.ones(num_rows, device=device) for name in numbers},
        )

    def part(self, first: int, last: int) -> Self:
        """The rows first, ..., last - 1, in the same memory."""
        return type(self)(**{field.name: getattr(self, field.name)[first:last] for field in fields(self)})

    def begin(self, row: int, prompt: list[int], limit: int, sampling: Sampling) -> None:
        """Let a row begin a text of at most `limit` tokens. Its prompt counts as read up to the last token."""
        vocab_size = self.seen.shape[1]
        last = len(prompt) - 1
        self.positions[row] = last
        self.ends[row] = last + limit
        uniforms = torch.rand(limit, generator=sampling.generator(torch.device("cpu")))
        self.uniforms[row, last + 1 : last + 1 + limit] = uniforms.to(self.uniforms.device)
        self.seen[row] = False
        self.seen[row, torch.tensor(prompt, device=self.seen.device)] = True
        self.written[row] = False
        self.utf8[row] = START if sampling.valid_utf8 else FREE
        self.temperature[row] = sampling.temperature
        self.top_k[row] = vocab_size if sampling.top_k is None else sampling.top_k
        self.top_p[row] = EVERYTHING if sampling.top_p is None else sampling.top_p
        self.min_p[row] = 0 if sampling.min_p is None else sampling.min_p
        self.repetition[row] = sampling.repetition_penalty
        self.presence[row] = sampling.presence_penalty

    def stop(self, row: int) -> None:
        """Let a row be idle."""
        self.ends[row] = 0

    def take(self, logits: Float[Tensor, "B V"], needs: Needs, follow: Int[Tensor, "9 V"]) -> tuple[Tensor, Tensor]:
        """Choose each row's next token and make it the one to be read; nothing changes for idle rows.

        Args:
            logits: scores of the token after the position that was read.
            needs: what to consider; at least what the rows' settings ask for.
            follow: the table of `tsumiki.generate.utf8`.

        Returns:
            The tokens, and the logarithms of the probabilities that the model itself gave them.
        """
        going = self.positions < self.ends
        tokens = self.choose(logits, needs, follow)
        log_probabilities = log_softmax(logits.float(), dim=-1).gather(1, tokens[:, None])[:, 0]
        if needs.penalties:
            chosen = torch.zeros_like(self.seen).scatter(1, tokens[:, None], going[:, None])
            self.seen.logical_or_(chosen)
            self.written.logical_or_(chosen)
        if needs.valid_utf8:
            self.utf8.copy_(torch.where(going, follow[self.utf8, tokens], self.utf8))
        self.ids.copy_(torch.where(going, tokens, self.ids))
        self.positions.add_(going.to(torch.int64))
        return tokens, log_probabilities

    def choose(self, logits: Float[Tensor, "B V"], needs: Needs, follow: Int[Tensor, "9 V"]) -> Int[Tensor, " B"]:
        """Each row's next token, by its settings."""
        scores = logits.float()
        if needs.penalties:
            scores = penalise(scores, self.seen, self.written, self.repetition[:, None], self.presence[:, None])
        if needs.valid_utf8:
            scores = scores.masked_fill(follow[self.utf8] == NEVER, -torch.inf)
        likeliest = scores.argmax(dim=-1)
        if not needs.sampling:
            return likeliest
        greedy = self.temperature == 0
        scores = tempered(scores, torch.where(greedy, 1.0, self.temperature)[:, None])
        if needs.filters:
            scores = keep_top_k(scores, self.top_k[:, None])
            scores = keep_top_p(scores, self.top_p[:, None])
            scores = keep_min_p(scores, self.min_p[:, None])
        next_position = (self.positions + 1).clamp(max=self.uniforms.shape[1] - 1)
        uniform = self.uniforms.gather(1, next_position[:, None])[:, 0]
        return torch.where(greedy, likeliest, draw(scores, uniform))
