"""Many texts at once: requests join and leave between steps, each with its own settings, length and seed."""

from collections import deque
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from tsumiki.errors import UserError
from tsumiki.generate.decoder import Decoder, Mode
from tsumiki.generate.rows import Needs
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.utf8 import FREE
from tsumiki.models import LanguageModel

StopReason = Literal["stop token", "stop text", "max tokens", "context full", "cancelled"]

CHUNK = 256
"""Tokens of a prompt that are read at once."""


@dataclass(frozen=True)
class Request:
    """A text to be written.

    Args:
        prompt: at least one token.
        max_tokens: tokens to write; None for as many as the context allows.
        stop_ids: tokens that end the text; the one that did is not part of it.
    """

    prompt: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop_ids: Collection[int] = ()

    def limit(self, context: int) -> tuple[int, StopReason]:
        """How many tokens the text may have, and what is then the reason of its end.

        Raises:
            UserError: "The prompt is 300 tokens long, but the model's context holds 256: shorten the prompt."
        """
        if not self.prompt:
            raise ValueError("The prompt holds no token; a text without a prompt begins with the end-of-text token.")
        if len(self.prompt) > context:
            raise UserError(
                f"The prompt is {len(self.prompt)} tokens long, but the model's context holds {context}: shorten the "
                "prompt."
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}, but must be at least 1.")
        room = context + 1 - len(self.prompt)
        if self.max_tokens is None or room < self.max_tokens:
            return room, "context full"
        return self.max_tokens, "max tokens"


@dataclass(eq=False)
class Text:
    """What has been written for a request so far.

    Attributes:
        tokens: without the stop token.
        log_probabilities: of each token, as the model gave them: before temperature, penalties and filters.
        stop_reason: why the text ended; None until it has.
    """

    request: Request
    limit: int
    limit_reason: StopReason
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    stop_reason: StopReason | None = None

    def push(self, token: int, log_probability: float) -> None:
        """Add a token, unless it ends the text."""
        if token in self.request.stop_ids:
            self.stop_reason = "stop token"
            return
        self.tokens.append(token)
        self.log_probabilities.append(log_probability)
        if len(self.tokens) == self.limit:
            self.stop_reason = self.limit_reason


def free_of_utf8(vocab_size: int) -> Int[Tensor, "9 V"]:
    """The table of `tsumiki.generate.utf8` where every token may follow."""
    return torch.full((FREE + 1, vocab_size), FREE)


class Engine:
    """Writes texts with a model, up to `num_rows` at once; further requests wait until a row is free.

    The model reads prompts of equal length together, in chunks, and then decodes all rows step by step. Each row's
    computation has the same shape whatever its neighbours are, so a text does not depend on them.

    Args:
        model: in evaluation mode.
        num_rows: texts that are written at once.
        context: tokens that a text may have together with its prompt; the model's own if left out.
        mode: `eager`; `compiled` (a C++ compiler is needed); or `captured`, on a CUDA device.
        cache_dtype: of the stored keys and values; the model's if left out.
        follow: the table of `tsumiki.generate.utf8`, for requests with `valid_utf8`.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        num_rows: int = 1,
        context: int | None = None,
        mode: Mode = "eager",
        cache_dtype: torch.dtype | None = None,
        follow: Int[Tensor, "9 V"] | None = None,
    ) -> None:
        self.model = model
        self.context = model.config.max_seq_len if context is None else min(context, model.config.max_seq_len)
        self._knows_utf8 = follow is not None
        self.decoder = Decoder(
            model,
            num_rows=num_rows,
            context=self.context,
            mode=mode,
            cache_dtype=cache_dtype,
            follow=free_of_utf8(model.config.vocab_size) if follow is None else follow,
        )
        self._texts: list[Text | None] = [None] * num_rows
        self._waiting: deque[Text] = deque()

    def submit(self, request: Request) -> Text:
        """Queue a request. Its text grows while `step` is called.

        Raises:
            UserError: the prompt is too long, or `max_tokens` is less than 1.
        """
        if request.sampling.valid_utf8 and not self._knows_utf8:
            raise ValueError("valid_utf8 needs the table of utf8.transitions(tokenizer); give it to the engine.")
        text = Text(request, *request.limit(self.context))
        self._waiting.append(text)
        return text

    def cancel(self, text: Text) -> None:
        """End a text early; its row is free at once. Nothing happens if it has ended."""
        if text.stop_reason is None:
            text.stop_reason = "cancelled"
            self._waiting = deque(waiting for waiting in self._waiting if waiting is not text)
            self._free_rows()

    @property
    def num_busy(self) -> int:
        """Texts that are being written or wait."""
        return len(self._waiting) + sum(text is not None for text in self._texts)

    def step(self) -> None:
        """Let waiting requests join, and every text grow by the tokens of a block of steps."""
        self.admit()
        texts = [(row, text) for row, text in enumerate(self._texts) if text is not None]
        if not texts:
            return
        needs = Needs.of(*(text.request.sampling for _, text in texts))
        longest = max(len(text.request.prompt) + len(text.tokens) for _, text in texts) + self.decoder.block
        tokens, log_probabilities = self.decoder.run(needs, longest)
        for row, text in texts:
            for step in range(self.decoder.block):
                if text.stop_reason is None:
                    text.push(tokens[step][row], log_probabilities[step][row])
        self._free_rows()

    def run(self, requests: Iterable[Request]) -> list[Text]:
        """Write all texts to their ends."""
        texts = [self.submit(request) for request in requests]
        while any(text.stop_reason is None for text in texts):
            self.step()
        return texts

    def stream(self, request: Request) -> Generator[int]:
        """Write one text token by token; it is cancelled if the caller stops early."""
        return self._stream(self.submit(request))

    def _stream(self, text: Text) -> Generator[int]:
        handed_out = 0
        try:
            while text.stop_reason is None or handed_out < len(text.tokens):
                if handed_out == len(text.tokens):
                    self.step()
                yield from text.tokens[handed_out:]
                handed_out = len(text.tokens)
        finally:
            self.cancel(text)

    def _free_rows(self) -> None:
        for row, text in enumerate(self._texts):
            if text is not None and text.stop_reason is not None:
                self._texts[row] = None
                self.decoder.rows.stop(row)

    def admit(self) -> None:
        """Give free rows to waiting requests, read their prompts, and write the first token of each; `step` does it."""
        while self._waiting and None in self._texts:
            first = self._texts.index(None)
            last = first
            length = len(self._waiting[0].request.prompt)
            while self._waiting and last < len(self._texts) and self._texts[last] is None:
                if len(self._waiting[0].request.prompt) != length:
                    break
                self._texts[last] = self._waiting.popleft()
                last += 1
            self._read_prompts(first, last)
            self._free_rows()

    @torch.no_grad()
    def _read_prompts(self, first: int, last: int) -> None:
        """Fill the cache with the prompts of the rows first, ..., last - 1, all of one length."""
        texts = [text for text in self._texts[first:last] if text is not None]
        rows, device = self.decoder.rows, self.decoder.tokens.device
        for row, text in enumerate(texts, start=first):
            rows.begin(row, list(text.request.prompt), text.limit, text.request.sampling)
        prompts = torch.tensor([list(text.request.prompt) for text in texts], device=device)
        cache = self.decoder.cache.rows(first, last)
        *chunks, last_chunk = prompts.split(CHUNK, dim=1)
        for chunk in chunks:
            self.model.hidden_states(chunk, cache=cache)
        hidden = self.model.hidden_states(last_chunk, cache=cache)
        needs = Needs.of(*(text.request.sampling for text in texts))
        logits = self.model.logits(hidden[:, -1])
        tokens, log_probabilities = rows.part(first, last).take(logits, needs, self.decoder.follow)
        for text, token, log_probability in zip(texts, tokens.tolist(), log_probabilities.tolist(), strict=True):
            text.push(token, log_probability)
