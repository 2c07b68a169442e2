"""Token ids in, token ids out: one text, with a stop and a clock. Many texts at once are written by `batch`."""

from collections.abc import Collection, Generator, Iterator, Sequence
from time import perf_counter

import torch
from jaxtyping import Int
from torch import Tensor

from tsumiki.generate.batch import Engine, Request, StopReason, free_of_utf8
from tsumiki.generate.rows import Needs, Rows
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel


class Generation(Iterator[int]):
    """The tokens that a model writes after a prompt, computed one by one as they are asked for.

    With the cache, the first step reads the prompt (prefill) and each further one reads a single token (decode).
    Without it, every step reads the whole text again: the same tokens, slower. With an engine, it computes the tokens:
    the same again, faster. The stop token itself is not handed out.

    A text ends for one of three reasons, then told by `stop_reason`: a stop token, `max_tokens`, or the context is
    full. The model can read `max_seq_len` tokens, so prompt and text may together be one token longer than that.

    Args:
        model: in evaluation mode.
        prompt: at least one token.
        max_tokens: tokens to write; None for as many as the context allows.
        stop_ids: tokens that end the text.
        use_cache: keep keys and values between steps.
        engine: of the same model, if it shall compute the tokens.
        follow: the table of `tsumiki.generate.utf8`, for `valid_utf8`.

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
        engine: Engine | None = None,
        follow: Int[Tensor, "9 V"] | None = None,
    ) -> None:
        request = Request(prompt, sampling, max_tokens)
        context = model.config.max_seq_len if engine is None else engine.context
        self._limit_reason: StopReason
        self._limit, self._limit_reason = request.limit(context)
        self._stop_ids = frozenset(stop_ids)
        self._tokens = engine.stream(request) if engine else self._compute(model, request, use_cache, follow)
        self.prompt_tokens = len(prompt)
        self.new_tokens = 0
        """Tokens computed so far, the stop token included."""
        self.prefill_seconds = 0.0
        """From the prompt to the first token."""
        self.decode_seconds = 0.0
        """For all tokens after the first."""
        self.stop_reason: StopReason | None = None
        """Why the text ended; None until it has."""

    def __next__(self) -> int:
        if self.stop_reason is not None:
            raise StopIteration
        start = perf_counter()
        token = next(self._tokens)
        seconds = perf_counter() - start
        if self.new_tokens == 0:
            self.prefill_seconds = seconds
        else:
            self.decode_seconds += seconds
        self.new_tokens += 1
        if token in self._stop_ids:
            self.stop(because="stop token")
            raise StopIteration
        if self.new_tokens == self._limit:
            self.stop(because=self._limit_reason)
        return token

    def stop(self, *, because: StopReason) -> None:
        """End the text; what was computed for it is let go."""
        self.stop_reason = because
        self._tokens.close()

    def _compute(
        self, model: LanguageModel, request: Request, use_cache: bool, follow: Tensor | None
    ) -> Generator[int]:
        """The tokens of a request, each when it is asked for."""
        device, vocab_size = model.unembedding.device, model.config.vocab_size
        text, read = list(request.prompt), 0
        cache = model.new_cache(1, len(text) + self._limit - 1) if use_cache else None
        rows = Rows.idle(1, model.config.max_seq_len, vocab_size, device)
        rows.begin(0, text, self._limit, request.sampling)
        needs = Needs.of(request.sampling)
        table = (free_of_utf8(vocab_size) if follow is None else follow).to(device)
        while True:
            with torch.inference_mode():
                hidden = model.hidden_states(torch.tensor([text[read:]], device=device), cache=cache)
                tokens, _ = rows.take(model.logits(hidden[:, -1]), needs, table)
            read = 0 if cache is None else len(text)
            text.append(int(tokens))  # waits until the device is done, so the clock needs no other synchronisation
            yield text[-1]

    @property
    def prefill_tokens_per_second(self) -> float:
        """How fast the prompt was read."""
        return self.prompt_tokens / self.prefill_seconds

    @property
    def decode_tokens_per_second(self) -> float:
        """How fast the tokens after the first were written; NaN if there are none."""
        return (self.new_tokens - 1) / self.decode_seconds if self.decode_seconds else float("nan")
