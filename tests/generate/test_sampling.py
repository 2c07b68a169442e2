import math

import pytest
import torch
from transformers.generation import logits_process as processors

from tsumiki.generate.sampling import Sampling, choose, keep_min_p, keep_top_k, keep_top_p

# Four tokens whose probabilities can be read off: 1/2, 1/4, 1/8, 1/8, in mixed order.
PROBABILITIES = torch.tensor([[0.125, 0.5, 0.125, 0.25]])
SCORES = PROBABILITIES.log()


def kept(scores: torch.Tensor) -> list[int]:
    return scores[0].isfinite().nonzero().flatten().tolist()


def draw(scores: torch.Tensor, count: int, **settings: float) -> torch.Tensor:
    sampling = Sampling(**settings)  # type: ignore[arg-type]
    return choose(scores.expand(count, -1), sampling, sampling.generator(scores.device))


def test_temperature_zero_is_argmax_whatever_the_filters_say() -> None:
    logits = torch.randn(7, 31, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(temperature=0, top_k=2, top_p=0.1, min_p=0.9)
    assert choose(logits, sampling, sampling.generator(logits.device)).tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize(("k", "expected"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (99, [0, 1, 2, 3])])
def test_top_k_keeps_the_likeliest(k: int, expected: list[int]) -> None:
    assert kept(keep_top_k(SCORES, k)) == expected


def test_top_k_keeps_ties_at_the_border() -> None:
    assert kept(keep_top_k(SCORES, 3)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "expected"), [(1e-9, [1]), (0.4, [1]), (0.51, [1, 3]), (0.75, [1, 3]), (1, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_tokens_that_reach_p(p: float, expected: list[int]) -> None:
    assert kept(keep_top_p(SCORES, p)) == expected


@pytest.mark.parametrize(
    ("p", "expected"), [(0, [0, 1, 2, 3]), (0.24, [0, 1, 2, 3]), (0.3, [1, 3]), (0.6, [1]), (1, [1])]
)
def test_min_p_compares_with_the_likeliest(p: float, expected: list[int]) -> None:
    assert kept(keep_min_p(SCORES, p)) == expected


def test_filters_look_at_what_the_one_before_left() -> None:
    # After top_k = 2 the rest is 2/3 and 1/3, so that top_p = 0.6 keeps one token; before, it would have kept two.
    assert kept(keep_top_p(keep_top_k(SCORES, 2), 0.6)) == [1]
    assert kept(keep_top_p(SCORES, 0.6)) == [1, 3]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    count = 20_000
    tokens = draw(SCORES, count, temperature=temperature, seed=3)
    expected = PROBABILITIES[0].pow(1 / temperature) / PROBABILITIES[0].pow(1 / temperature).sum()
    frequencies = torch.bincount(tokens, minlength=4) / count
    assert (frequencies - expected).abs().max() < 4 * math.sqrt(0.25 / count)  # four standard deviations


def test_only_kept_tokens_are_drawn() -> None:
    assert set(draw(SCORES, 500, temperature=1.0, top_k=2).tolist()) == {1, 3}
    assert set(draw(SCORES, 500, temperature=1.0, top_p=0.6).tolist()) == {1, 3}
    assert set(draw(SCORES, 500, temperature=1.0, min_p=0.3).tolist()) == {1, 3}


def test_seed_decides_and_the_global_generator_stays_untouched() -> None:
    before = torch.get_rng_state()
    first, again, other = (draw(SCORES, 40, temperature=1.0, seed=seed).tolist() for seed in (5, 5, 6))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [1e-6, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_temperatures_and_scores_stay_finite(temperature: float, dtype: torch.dtype) -> None:
    scores = torch.tensor([[-1e4, 1e4, 0.0, 5.0]], dtype=dtype)
    tokens = draw(scores, 50, temperature=temperature, top_k=3, top_p=0.9, min_p=0.1)
    assert set(tokens.tolist()) <= {1, 2, 3}
    if temperature < 1:
        assert set(tokens.tolist()) == {1}


def test_agrees_with_transformers() -> None:
    scores = torch.randn(11, 101, generator=torch.Generator().manual_seed(2)) * 3
    ours = keep_min_p(keep_top_p(keep_top_k(scores / 0.7, 17), 0.83), 0.05)
    theirs = scores
    for process in (
        processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(17),
        processors.TopPLogitsWarper(0.83),
        processors.MinPLogitsWarper(0.05),
    ):
        theirs = process(torch.empty(11, 0, dtype=torch.long), theirs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": 1e-9}, "temperature is 1e-09"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"min_p": -0.5}, "min_p is -0.5"),
        ({"min_p": 1.01}, "min_p is 1.01"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Sampling(**settings)  # type: ignore[arg-type]
