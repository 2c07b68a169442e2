from collections.abc import Callable
from typing import Any

import pytest

from tsumiki.config import parse
from tsumiki.data import Document, SampleSource, Tokenizer
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.models import LanguageModel, ModelConfig, build_model

TINY: dict[str, Any] = {
    "family": "gpt_oss",
    "max_seq_len": 64,
    "d_model": 32,
    "num_layers": 2,
    "attention": {"variant": "grouped_query", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8},
    "feed_forward": {"variant": "swiglu", "d_ff": 40},
}


@pytest.fixture(scope="session")
def stories() -> dict[str, list[Document]]:
    """The training stories of each language that come with tsumiki."""
    return {
        language: list(SampleSource(SampleSource.Config(language=language)).documents("train"))
        for language in ("en", "ja")
    }


@pytest.fixture(scope="session")
def story_tokenizer(stories: dict[str, list[Document]]) -> Tokenizer:
    documents = [*stories["en"][:100], *stories["ja"][:100]]
    return train_tokenizer(documents, vocab_size=700, train_bytes=150_000)


@pytest.fixture(scope="session")
def tiny_model(story_tokenizer: Tokenizer) -> Callable[[int], LanguageModel]:
    """An untrained model of `story_tokenizer`, by seed."""
    config: Any = parse({**TINY, "vocab_size": story_tokenizer.vocab_size}, ModelConfig, where="test")  # pyright: ignore[reportArgumentType]
    return lambda seed: build_model(config, seed=seed).eval()
