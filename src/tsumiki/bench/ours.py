"""tsumiki's own ways to write."""

from collections.abc import Sequence

import torch

from tsumiki.bench.speed import Write
from tsumiki.generate import Sampling
from tsumiki.generate.batch import Engine, Request
from tsumiki.models import LanguageModel

GREEDY = Sampling(temperature=0)


def with_engine(engine: Engine) -> Write:
    """The engine, with its cache."""

    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        texts = engine.run(Request(prompt, GREEDY, num_tokens) for prompt in prompts)
        return [text.tokens for text in texts]

    return write


def without_cache(model: LanguageModel, *, compiled: bool) -> Write:
    """Every step reads the whole text again. Compiled once for all lengths."""
    hidden_states = torch.compile(model.hidden_states, dynamic=True) if compiled else model.hidden_states

    @torch.no_grad()
    def write(prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        ids = torch.tensor([list(prompt) for prompt in prompts], device=model.unembedding.device)
        for _ in range(num_tokens):
            likeliest = model.logits(hidden_states(ids)[:, -1]).argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, likeliest], dim=1)
        return ids[:, len(prompts[0]) :].tolist()

    return write
