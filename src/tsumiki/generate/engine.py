"""Token ids in, token ids out. The engine owns the KV cache, knows when to stop, and holds the clock."""

from collections.abc import Collection, Iterator, Sequence
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from tsumiki.errors import UserError
from tsumiki.generate.sampling import Sampling, choose
from tsumiki.models import LanguageModel

StopReason = Literal["stop token", "max tokens", "context full"]


class Generation(Iterator[int]):
    """The tokens that a model writes after a prompt, computed one by one as they are asked for.

    With the cache, the first step reads the prompt (prefill) and each further one reads a single token (decode).
    Without it, every step reads the whole text again: the same tokens, slower. The stop token itself is not handed out.

    A text ends for one of three reasons, then told by `stop_reason`: a stop token, `max_tokens`, or the context is
    full. The model can read `max_seq_len` tokens, so prompt and text may together be one token longer than that.

    Args:
        model: in evaluation mode.
        prompt: at least one token.
        max_tokens: tokens to write; None for as many as the context allows.
        stop_ids: tokens that end the text.
        use_cache: keep keys and values between steps.

    Raises:
        UserError: "The prompt is 300 tokens long, but the model's context holds 256: shorten the prompt."
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        max_tokens: int | None = None,
        stop_ids: Collection[int] = (),
        use_cache: bool = True,
    ) -> None:
        context = model.config.max_seq_len
        if not prompt:
            raise ValueError("The prompt holds no token; a text without a prompt begins with the end-of-text token.")
        if len(prompt) > context:
            raise UserError(
                f"The prompt is {len(prompt)} tokens long, but the model's context holds {context}: shorten the prompt."
            )
        if max_tokens is not None and max_tokens < 1:
            raise UserError(f"max_tokens is {max_tokens}, but must be at least 1.")
        room = context + 1 - len(prompt)
        self._limit = room if max_tokens is None else min(max_tokens, room)
        self._limit_reason: StopReason = "context full" if max_tokens is None or room < max_tokens else "max tokens"
        self._model = model
        self._device = next(model.parameters()).device
        self._sampling = sampling
        self._generator = sampling.generator(self._device)
        self._stop_ids = frozenset(stop_ids)
        self._cache = model.new_cache(1, len(prompt) + self._limit - 1) if use_cache else None
        self._text = list(prompt)
        self.prompt_tokens = len(prompt)
        self.new_tokens = 0
        """Tokens computed so far, the stop token included."""
        self.prefill_seconds = 0.0
        """From the prompt to the first token."""
        self.decode_seconds = 0.0
        """For all tokens after the first."""
        self.stop_reason: StopReason | None = None
        """Why the text ended; None until it has."""

    @torch.inference_mode()
    def __next__(self) -> int:
        if self.stop_reason is not None:
            raise StopIteration
        start = perf_counter()
        # `int` waits until the device has computed the token, so the clock needs no other synchronisation.
        token = int(choose(self._next_logits(), self._sampling, self._generator))
        seconds = perf_counter() - start
        if self.new_tokens == 0:
            self.prefill_seconds = seconds
        else:
            self.decode_seconds += seconds
        self.new_tokens += 1
        if token in self._stop_ids:
            self.stop_reason = "stop token"
            raise StopIteration
        if self.new_tokens == self._limit:
            self.stop_reason = self._limit_reason
        self._text.append(token)
        return token

    def _next_logits(self) -> Tensor:
        """Scores [1, V] of the token after the text so far."""
        read = 0 if self._cache is None else self._cache.length
        ids = torch.tensor([self._text[read:]], device=self._device)
        hidden = self._model.hidden_states(ids, cache=self._cache)
        return self._model.logits(hidden[:, -1])

    @property
    def prefill_tokens_per_second(self) -> float:
        """How fast the prompt was read."""
        return self.prompt_tokens / self.prefill_seconds

    @property
    def decode_tokens_per_second(self) -> float:
        """How fast the tokens after the first were written; NaN if there are none."""
        return (self.new_tokens - 1) / self.decode_seconds if self.decode_seconds else float("nan")
