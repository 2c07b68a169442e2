"""tsumiki's own ways to write."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import torch
from torch import Tensor

from tsumiki.bench.speed import Timed, Write
from tsumiki.generate import Sampling
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.cache import StaticCache
from tsumiki.models import LanguageModel

GREEDY = Sampling(temperature=0)

HiddenStates = Callable[[Tensor], Tensor]
"""Ids [B, T] -> [B, T, E]: the model's own function, or that compiled."""


def with_engine(engine: Engine) -> Write:
    """The engine, with its cache; it must have a row for every prompt."""

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> Timed:
        start = perf_counter()
        texts = [engine.submit(Request(prompt, GREEDY, num_tokens)) for prompt in prompts]
        engine.admit()
        first = perf_counter()
        while engine.num_busy:
            engine.step()
        return Timed([text.tokens for text in texts], first - start, perf_counter() - first)

    return write


def without_cache(model: LanguageModel, *, compiled: bool) -> Write:
    """Every step reads the whole text again. Compiled once for all lengths."""
    hidden_states = torch.compile(model.hidden_states, dynamic=True) if compiled else model.hidden_states

    @torch.no_grad()
    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> Timed:
        texts = [list(prompt) for prompt in prompts]
        times = [perf_counter()]
        for _ in range(num_tokens):
            ids = torch.tensor(texts, device=model.unembedding.device)
            for text, token in zip(texts, model.logits(hidden_states(ids)[:, -1]).argmax(dim=-1).tolist(), strict=True):
                text.append(token)
            times.append(perf_counter())
        return Timed([text[len(prompts[0]) :] for text in texts], times[1] - times[0], times[-1] - times[1])

    return write


TURN = 16
"""Tokens of a turn with a cache: what a captured block holds."""


def turns_with_cache(engine: Engine, prompt: Sequence[int], turns: int) -> Iterator[float]:
    """Write on after the prompt has been read: seconds a token, of one turn after another."""
    text = engine.submit(Request(prompt, GREEDY, 1 + turns * TURN))
    engine.admit()
    for turn in range(1, turns + 1):
        start = perf_counter()
        while len(text.tokens) < 1 + turn * TURN:
            engine.step()
        yield (perf_counter() - start) / TURN


@torch.no_grad()
def turns_without_cache(hidden_states: HiddenStates, model: LanguageModel, prompt: Sequence[int]) -> Iterator[float]:
    """Write one token after the prompt, which reads all of it: seconds, of one turn after another."""
    ids = torch.tensor([list(prompt)], device=model.unembedding.device)
    while True:
        start = perf_counter()
        model.logits(hidden_states(ids)[:, -1]).argmax(dim=-1).item()
        yield perf_counter() - start


def allocated(model: LanguageModel, capacity: int) -> int:
    """Bytes that a cache for so many tokens takes: by the GPU's allocator, elsewhere by its tensors."""
    device = model.unembedding.device
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    cache = StaticCache(model, 1, capacity)
    return torch.cuda.memory_allocated(device) - before if device.type == "cuda" else cache.num_bytes
