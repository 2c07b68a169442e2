"""The figures of a plan: exact counts, checked against numbers worked out by hand and against the real thing."""

import pytest
import torch

from contract.cases import CASES
from tsumiki.config import load
from tsumiki.models import build_model, plan
from tsumiki.train.config import RunConfig


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_every_parameter_is_counted_once(case) -> None:
    assert plan(case.config).total == sum(parameter.numel() for parameter in build_model(case.config).parameters())


def test_gpt_oss_12m_by_hand() -> None:
    counted = plan(load("gpt-oss-12m", RunConfig).model)
    width, layers = 384, 6
    assert counted.parameters == {
        "vocabulary": 8192 * width,
        "attention": layers * (2 * width * width + 2 * width * 192 + 2 * 64),
        "feed-forward": layers * 3 * width * 1024,
        "norms": (2 * layers + 1) * width,
    }
    assert counted.total == 12_883_584
    # Two FLOPs a weight of every matrix, the tied head included; a query sees (512 + 1) / 2 keys on average.
    matrices = 8192 * width + layers * (2 * width * width + 2 * width * 192 + 3 * width * 1024)
    assert counted.forward_flops == 2 * matrices + layers * 4 * width * 513 // 2
    assert counted.training_flops == 3 * counted.forward_flops


def test_the_articles_vocabulary_is_83_percent() -> None:
    counted = plan(load("article-gpt-oss", RunConfig).model)
    assert round(100 * counted.vocabulary_share) == 83
    assert round(counted.total / 1e6, 1) == 123.8


def test_windows_make_attention_and_cache_cheaper() -> None:
    config = load("gpt-oss-1m", RunConfig, ["model.sliding_window=8"]).model
    windowed, full = plan(config), plan(load("gpt-oss-1m", RunConfig).model)
    assert windowed.total == full.total
    # Two of four layers hold 8 of 256 tokens.
    assert windowed.cache_bytes == full.cache_bytes * (2 * 8 + 2 * 256) // (4 * 256)
    # A query of a sliding layer sees 1, 2, ..., 8, 8, 8, ... keys instead of 1, 2, ..., 256.
    saved = 2 * 4 * 128 * ((256 * 257 / 2) - (8 * 9 / 2 + 248 * 8)) / 256
    assert full.forward_flops - windowed.forward_flops == pytest.approx(saved, abs=1)


def test_the_cache_takes_what_the_plan_says() -> None:
    config = load("gpt-oss-1m", RunConfig, ["model.sliding_window=8"]).model
    assert build_model(config).new_cache(batch_size=1, dtype=torch.float32).num_bytes == plan(config).cache_bytes
