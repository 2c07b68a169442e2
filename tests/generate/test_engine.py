import math
import unittest.mock

import pytest
import torch

from tsumiki.errors import UserError
from tsumiki.generate.engine import Generation
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel

GREEDY = Sampling(temperature=0)
PROMPT = [3, 1, 4, 1, 5]


def test_greedy_text_is_the_argmax_of_the_whole_text_each_time(model: LanguageModel) -> None:
    text = list(PROMPT)
    with torch.no_grad():
        for _ in range(9):
            text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    assert len(set(text[len(PROMPT) :])) > 2  # a model that repeats itself would prove nothing
    assert list(Generation(model, PROMPT, GREEDY, max_tokens=9)) == text[len(PROMPT) :]


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, top_k=20, top_p=0.95, min_p=0.01, seed=7)])
def test_cache_changes_nothing_up_to_the_last_token_of_the_context(model: LanguageModel, sampling: Sampling) -> None:
    cached = Generation(model, PROMPT, sampling)
    recomputed = Generation(model, PROMPT, sampling, use_cache=False)
    assert list(cached) == list(recomputed)
    assert cached.stop_reason == recomputed.stop_reason == "context full"
    # The model reads `max_seq_len` tokens, and the last of them still gives one more.
    assert cached.new_tokens == model.config.max_seq_len - len(PROMPT) + 1


def test_stops_before_a_stop_token(model: LanguageModel) -> None:
    free = list(Generation(model, PROMPT, GREEDY, max_tokens=12))
    stop = free[6]
    stopped = Generation(model, PROMPT, GREEDY, max_tokens=12, stop_ids=[stop])
    assert list(stopped) == free[: free.index(stop)]
    assert stopped.stop_reason == "stop token"
    assert list(stopped) == []  # it stays ended


def test_stops_at_max_tokens(model: LanguageModel) -> None:
    generation = Generation(model, PROMPT, GREEDY, max_tokens=3)
    assert next(generation) >= 0
    assert generation.stop_reason is None
    assert len(list(generation)) == 2
    assert generation.stop_reason == "max tokens"


def test_a_prompt_that_fills_the_context_gives_one_token(model: LanguageModel) -> None:
    context = model.config.max_seq_len
    generation = Generation(model, [2] * context, GREEDY, max_tokens=10)
    assert len(list(generation)) == 1
    assert generation.stop_reason == "context full"


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(model: LanguageModel) -> None:
    with pytest.raises(UserError, match="30 tokens long, but the model's context holds 29"):
        Generation(model, [2] * 30, GREEDY)


def test_senseless_arguments_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="no token"):
        Generation(model, [], GREEDY)
    with pytest.raises(UserError, match="max_tokens is 0"):
        Generation(model, PROMPT, GREEDY, max_tokens=0)


def test_seed_decides(model: LanguageModel) -> None:
    def text(seed: int) -> list[int]:
        return list(Generation(model, PROMPT, Sampling(temperature=2.0, seed=seed), max_tokens=20))

    assert text(1) == text(1) != text(2)


def test_the_clock_counts_every_token(model: LanguageModel) -> None:
    generation = Generation(model, PROMPT, GREEDY, max_tokens=1)
    list(generation)
    assert generation.prefill_seconds > 0
    assert math.isnan(generation.decode_tokens_per_second)
    generation = Generation(model, PROMPT, GREEDY, max_tokens=8)
    list(generation)
    assert generation.prefill_tokens_per_second == len(PROMPT) / generation.prefill_seconds
    assert generation.decode_tokens_per_second == 7 / generation.decode_seconds


def test_the_cache_is_no_larger_than_the_text(model: LanguageModel) -> None:
    with unittest.mock.patch.object(model, "new_cache", wraps=model.new_cache) as new_cache:
        assert len(list(Generation(model, PROMPT, GREEDY, max_tokens=6))) == 6
    new_cache.assert_called_once_with(1, len(PROMPT) + 5)  # the last token is written, but never read
