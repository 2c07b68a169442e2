"""Healthy patients for the self-test: three small decoders, and a small pipeline. Mutations are planted in them."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tsumiki.data import TrainingStream
from tsumiki.doctor.adapters import TSUMIKI
from tsumiki.doctor.pipeline import TEXTS, Pipeline
from tsumiki.doctor.subject import Adapter
from tsumiki.models import GPT2, GPTOSS, LanguageModel, build_model
from tsumiki.nn.attention import GatedAttention, GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward

MODERN = GPTOSS.Config(
    vocab_size=61,
    max_seq_len=64,
    d_model=32,
    num_layers=2,
    attention=GroupedQueryAttention.Config(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True, sinks=True),
    feed_forward=SwiGLUFeedForward.Config(d_ff=48),
    sliding_window=8,
)
"""RMSNorm, RoPE, grouped queries, QK-norm, sinks, SwiGLU, and a sliding window in the first of two layers."""

MODELS = {
    "modern": MODERN,
    "long": replace(MODERN, max_seq_len=512, num_layers=1, sliding_window=None),
    "gated": replace(MODERN, attention=GatedAttention.Config(num_heads=4, num_kv_heads=2, head_dim=8)),
    "experts": replace(
        MODERN, feed_forward=MixtureOfExperts.Config(d_ff=24, num_experts=5, experts_per_token=2), tie_embeddings=False
    ),
    "classic": GPT2.Config(
        vocab_size=61,
        max_seq_len=64,
        d_model=32,
        num_layers=2,
        attention=GroupedQueryAttention.Config(num_heads=4, num_kv_heads=4, head_dim=8, bias=True),
        feed_forward=GeluFeedForward.Config(d_ff=48),
        dropout=0.1,
    ),
}
"""Every part of an architecture that a mutation breaks is in one of them."""


@dataclass
class Patient:
    """What the doctor is given.

    Args:
        model: the model.
        adapter: how it is asked.
        pipeline: its tokenizer and data.
    """

    model: LanguageModel
    adapter: Adapter
    pipeline: Pipeline


def healthy(name: str = "modern") -> Patient:
    """One of `MODELS`, with an optimizer, a training loop and a healthy pipeline."""
    return Patient(build_model(MODELS[name]), replace(TSUMIKI, optimizer=adamw, train=train), SmallPipeline())


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's AdamW."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def train(model: LanguageModel, saved: Any, steps: int) -> Any:
    """A small training loop: noise that depends on the step, a learning rate that does, too, and dropout."""
    optimizer, first = adamw(model), 0
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    with torch.random.fork_rng():
        for step in range(first, first + steps):
            torch.manual_seed(step)
            ids = torch.randint(model.config.vocab_size, (2, 9))
            nats, count = model.loss(ids[:, :-1], ids[:, 1:])
            optimizer.zero_grad()
            (nats / count).backward()
            optimizer.param_groups[0]["lr"] = 1e-3 / (1 + step)
            optimizer.step()
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": first + steps})


class ByteTokenizer:
    """The simplest lossless tokenizer: a token a byte, and one that begins a document."""

    end_of_text_id = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode("utf-8"))

    def decode(self, ids: list[int]) -> str:
        """The text of bytes."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The byte; nothing for the end of a text."""
        return bytes([id]) if id < 256 else b""


class SmallSource:
    """A few texts in memory, as `tsumiki.data.PackedSource` gives them."""

    name, language, weight, end_of_text_id = "small", "en", 1.0, ByteTokenizer.end_of_text_id

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._tokens = [np.array([256, *text.encode("utf-8")], dtype=np.int64) for text in texts]
        self.lengths = np.array([len(tokens) for tokens in self._tokens])
        self.text_bytes = self.lengths - 1
        self.num_documents, self.num_tokens = len(texts), int(self.lengths.sum())

    def document(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """The tokens of a document, or some of them."""
        return self._tokens[index][start:stop]


@dataclass
class SmallData:
    """What the checks ask of `tsumiki.data.PreparedData`."""

    train: tuple[Any, ...] = (SmallSource(TEXTS),)
    validation: tuple[Any, ...] = (SmallSource(TEXTS[:1]),)
    manifest: dict[str, Any] = field(
        default_factory=lambda: {
            "overlap": [{"source": "small", "documents": 1, "copies": 0, "sharing": 0, "passage": "13 words"}]
        }
    )


class SmallPipeline(Pipeline):
    """A byte tokenizer and three texts."""

    def __init__(self) -> None:
        self.tokenizer, self.data = ByteTokenizer(), SmallData()
        self.stream: Any = TrainingStream(self.data.train, seq_len=64, seed=0)
