"""Models of ours that other formats can express, with a small bilingual tokenizer."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.data import SOURCES
from tsumiki.data.sources import SampleSource
from tsumiki.data.tokenizer import Tokenizer, train_tokenizer
from tsumiki.models import GPT2, GPTOSS, LanguageModel, build_model
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward
from tsumiki.nn.rope import LinearScaling, NtkScaling, RopeConfig, YarnScaling

VOCAB_SIZE = 300
SIZES: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "max_seq_len": 96, "d_model": 48, "num_layers": 3, "init_std": 0.2}
CLAMPED: dict[str, Any] = {"d_ff": 68, "bias": True, "limit": 7.0, "alpha": 1.702}
YARN = RopeConfig(theta=5000.0, scaling=YarnScaling(factor=3.0, original_max_seq_len=32, beta_fast=4.0, truncate=True))


def heads(num_kv_heads: int = 2, **options) -> GroupedQueryAttention.Config:
    return GroupedQueryAttention.Config(num_heads=4, num_kv_heads=num_kv_heads, head_dim=12, **options)


CONFIGS = {
    "gpt2": GPT2.Config(**SIZES, attention=heads(4, bias=True), feed_forward=GeluFeedForward.Config(d_ff=101)),
    "gpt2-untied-erf": GPT2.Config(
        **SIZES,
        attention=heads(4, bias=True),
        feed_forward=GeluFeedForward.Config(d_ff=101, approximate="none"),
        tie_embeddings=False,
        dropout=0.1,
        norm_eps=1e-3,
    ),
    "gpt_oss-dense": GPTOSS.Config(
        **SIZES,
        attention=heads(bias=True, sinks=True),
        feed_forward=SwiGLUFeedForward.Config(**CLAMPED),
        sliding_window=8,
        tie_embeddings=False,
    ),
    "gpt_oss-moe": GPTOSS.Config(
        **SIZES,
        attention=heads(bias=True, sinks=True),
        feed_forward=MixtureOfExperts.Config(**CLAMPED, num_experts=8, experts_per_token=2, balance_coefficient=0.01),
        sliding_window=8,
        rope=YARN,
    ),
    "llama": GPTOSS.Config(**SIZES, attention=heads(), feed_forward=SwiGLUFeedForward.Config(d_ff=68)),
    "llama-biases-linear": GPTOSS.Config(
        **SIZES,
        attention=heads(4, bias=True),
        feed_forward=SwiGLUFeedForward.Config(d_ff=68, bias=True),
        rope=RopeConfig(scaling=LinearScaling(factor=2.0)),
        tie_embeddings=False,
    ),
    "qwen3": GPTOSS.Config(
        **SIZES, attention=heads(qk_norm=True), feed_forward=SwiGLUFeedForward.Config(d_ff=68), norm_eps=1e-3
    ),
    "qwen3-window-ntk": GPTOSS.Config(
        **SIZES,
        attention=heads(qk_norm=True),
        feed_forward=SwiGLUFeedForward.Config(d_ff=68),
        sliding_window=8,
        sliding_layers="all",
        rope=RopeConfig(scaling=NtkScaling(factor=2.0)),
    ),
}


GREEDY = json.loads(Path(__file__).with_name("greedy.json").read_text(encoding="utf-8"))
"""One expected greedy continuation a model, of 64 tokens, for every implementation: tsumiki, transformers,
llama.cpp and onnxruntime. `num_layers` is small, because an export to ONNX takes seconds for each layer."""


def random_model(name: str, *, num_layers: int = SIZES["num_layers"]) -> LanguageModel:
    """Every parameter drawn, so that no bias, sink or gain keeps a value that hides a mistake."""
    model = build_model(dataclasses.replace(CONFIGS[name], num_layers=num_layers), seed=5).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture(params=CONFIGS)
def model(request) -> LanguageModel:
    return random_model(request.param)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    sources = [SOURCES["sample"](SampleSource.Config(language=language)) for language in ("en", "ja")]
    documents = [document for source in sources for document in source.documents("train")]
    return train_tokenizer(documents, vocab_size=VOCAB_SIZE, train_bytes=20_000)
