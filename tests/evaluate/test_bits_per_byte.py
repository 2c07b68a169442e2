"""Bits per byte: counted by hand, the same for every window and batch, ends of texts apart, languages apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tsumiki.config import parse
from tsumiki.data import Document, PackedSource, ValidationSet, pack
from tsumiki.data.tokenizer import Tokenizer, train_tokenizer
from tsumiki.evaluate.bits_per_byte import BitsPerByte, bits_per_byte, by_language, by_position, token_losses
from tsumiki.models import LanguageModel, ModelConfig, build_model

TEXTS = ["A fox met a hen.", "むかしむかし、きつねがいました。", "One day.\n\nThe end."]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    documents = [Document(text=text * 3, language="en", source="a", key="1") for text in TEXTS]
    return train_tokenizer(documents, vocab_size=263, train_bytes=10_000)


@pytest.fixture(scope="module")
def source(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> PackedSource:
    directory = tmp_path_factory.mktemp("packed")
    pack([Document(text=text, language="ja", source="a", key=text) for text in TEXTS], tokenizer, directory)
    return PackedSource(directory, name="a", language="ja")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    mapping = {
        "family": "gpt_oss",
        "vocab_size": 263,
        "max_seq_len": 64,
        "d_model": 12,
        "num_layers": 2,
        "init_std": 0.3,
        "attention": {"variant": "grouped_query", "num_heads": 3, "num_kv_heads": 1, "head_dim": 4},
        "feed_forward": {"variant": "swiglu", "d_ff": 7},
    }
    return build_model(parse(mapping, ModelConfig, where="test"), dtype=torch.float64).eval()  # pyright: ignore[reportArgumentType]


class Uniform:
    """A model that knows nothing: the same score for every token."""

    unembedding = torch.zeros(263, 1)

    def hidden_states(self, ids: Tensor, *, documents: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 1)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.unembedding.T


def test_a_uniform_guess_costs_ln_v_a_token(source: PackedSource, tokenizer: Tokenizer) -> None:
    uniform: Any = Uniform()
    result = bits_per_byte(uniform, ValidationSet(source, seq_len=13))
    num_tokens = sum(len(tokenizer.encode(text)) for text in TEXTS)
    num_bytes = sum(len(text.encode("utf-8")) for text in TEXTS)
    assert (result.num_tokens, result.num_bytes, result.num_characters) == (num_tokens, num_bytes, len("".join(TEXTS)))
    assert result.num_documents == 3
    assert result.nats_per_token == pytest.approx(math.log(263), rel=1e-6)
    assert result.end_of_text == pytest.approx(math.log(263), rel=1e-6)
    assert result.bits_per_byte == pytest.approx(num_tokens * math.log2(263) / num_bytes, rel=1e-6)
    assert result.bits_per_character == pytest.approx(num_tokens * math.log2(263) / len("".join(TEXTS)), rel=1e-6)


@pytest.mark.parametrize(("seq_len", "batch_size"), [(64, 1), (64, 3), (11, 2)])
def test_equals_one_document_at_a_time(
    model: LanguageModel, source: PackedSource, tokenizer: Tokenizer, seq_len: int, batch_size: int
) -> None:
    """Padding, batches and windows add nothing: every token is predicted once, from its window's past alone."""
    result = bits_per_byte(model, ValidationSet(source, seq_len=seq_len, batch_size=batch_size))
    nats = end_nats = 0.0
    for text in TEXTS:
        ids = torch.tensor([tokenizer.end_of_text_id, *tokenizer.encode(text), tokenizer.end_of_text_id])
        for start in range(0, len(ids) - 1, seq_len):
            window = ids[start : start + seq_len + 1]
            with torch.no_grad():
                log_p = model(window[None, :-1])[0].log_softmax(-1)
            costs = -log_p[torch.arange(len(window) - 1), window[1:]]
            ends = window[1:] == tokenizer.end_of_text_id
            nats += costs[~ends].sum().item()
            end_nats += costs[ends].sum().item()
    assert result.nats == pytest.approx(nats, rel=1e-9)
    assert result.end_of_text_nats == pytest.approx(end_nats, rel=1e-9)


def test_bounded_by_bytes(model: LanguageModel, source: PackedSource) -> None:
    result = bits_per_byte(model, ValidationSet(source, seq_len=16, max_bytes=1))
    assert result.num_documents == 1
    assert result.num_bytes in {len(text.encode("utf-8")) for text in TEXTS}


def test_the_same_language_adds_up_and_languages_do_not() -> None:
    parts = [BitsPerByte(10.0, 4, 8, 8, 1.0, 1), BitsPerByte(30.0, 6, 8, 4, 2.0, 1)]
    total = parts[0] + parts[1]
    assert total == BitsPerByte(40.0, 10, 16, 12, 3.0, 2)
    assert total.bits_per_byte == pytest.approx(40 / math.log(2) / 16)
    assert total.bits_per_character == pytest.approx(40 / math.log(2) / 12)


def test_by_language(model: LanguageModel, source: PackedSource) -> None:
    whole = ValidationSet(source, seq_len=16)
    english = ValidationSet(source, seq_len=16)
    english.language = "en"
    results = by_language(model, [whole, english, whole])
    assert results["ja"] == results["en"] + results["en"]


@pytest.mark.parametrize("width", [4, 7])
def test_positions_add_up_to_the_whole(
    model: LanguageModel, source: PackedSource, tokenizer: Tokenizer, width: int
) -> None:
    text = ValidationSet(source, seq_len=11)
    token_bytes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    buckets = by_position(token_losses(model, text), text, token_bytes, width=width)
    whole = bits_per_byte(model, text)
    assert [bucket.start for bucket in buckets] == list(range(0, 11, width))
    assert buckets[-1].stop == 11
    assert sum(bucket.nats for bucket in buckets) == pytest.approx(whole.nats)
    assert sum(bucket.num_tokens for bucket in buckets) == whole.num_tokens
    assert sum(bucket.num_bytes for bucket in buckets) == whole.num_bytes


def test_a_position_by_hand(model: LanguageModel, source: PackedSource, tokenizer: Tokenizer) -> None:
    """At position 1 stands the second token of each window; here each document is one window."""
    text = ValidationSet(source, seq_len=64)
    token_bytes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    second = by_position(token_losses(model, text), text, token_bytes, width=1)[1]
    nats = 0.0
    for story in TEXTS:
        ids = tokenizer.encode(story)
        with torch.no_grad():
            nats -= model(torch.tensor([[tokenizer.end_of_text_id, ids[0]]]))[0, 1].log_softmax(-1)[ids[1]].item()
    assert second.nats == pytest.approx(nats)
    assert second.num_tokens == 3


WORDS = ("ab", "きつ", "c")
PIECES = tuple("abきつc")


@dataclass
class Pieces:
    """A tokenizer that cuts texts made of WORDS into words, or into characters."""

    vocabulary: Sequence[str]
    sha256: str = ""

    @property
    def end_of_text_id(self) -> int:
        return len(self.vocabulary)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary) + 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self.vocabulary.index(piece) for piece in self._cut(text)] for text in texts]

    def _cut(self, text: str) -> list[str]:
        pieces = []
        while text:
            pieces.append(next(piece for piece in self.vocabulary if text.startswith(piece)))
            text = text[len(pieces[-1]) :]
        return pieces


class Table:
    """A model whose next token depends on the last one: ln p stands in a table."""

    def __init__(self, log_p: Tensor) -> None:
        self.unembedding = log_p

    def hidden_states(self, ids: Tensor, *, documents: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(ids, len(self.unembedding)).double()

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.unembedding


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), min_size=1, max_size=3),
    st.lists(st.floats(0.05, 1), min_size=4, max_size=4),
)
def test_equal_likelihood_is_equal_bits_per_byte_whatever_the_tokens(
    texts: list[list[str]], weights: list[float]
) -> None:
    """One model says words, the other spells the same words: the first character with the word's probability, the
    second with certainty. Both find every text equally likely, and only its own bytes count: 2, 6 and 1 a word."""
    log_p = torch.tensor(weights, dtype=torch.float64).log_softmax(0)  # of the words and of the end of the text
    of_words = log_p.expand(4, 4)
    impossible = torch.full((6, 6), -1e6, dtype=torch.float64)
    spelled = impossible.clone()
    for last in (1, 3, 4, 5):  # after b, つ, c and the end of a text, a word begins
        spelled[last, [0, 2, 4, 5]] = log_p
    spelled[0, 1] = spelled[2, 3] = 0.0
    documents = [Document(text="".join(words), language="en", source="a", key="a") for words in texts]
    results = []
    for pieces, table in ((Pieces(WORDS), of_words), (Pieces(PIECES), spelled)):
        with TemporaryDirectory() as directory:
            pack(documents, pieces, Path(directory))  # pyright: ignore[reportArgumentType]
            packed = PackedSource(Path(directory), name="a", language="en")
            model: Any = Table(table)
            results.append(bits_per_byte(model, ValidationSet(packed, seq_len=64)))
    assert results[0].bits_per_byte == pytest.approx(results[1].bits_per_byte, rel=1e-9)
    assert results[0].num_bytes == results[1].num_bytes == sum(len("".join(words).encode()) for words in texts)
    nats = -sum(log_p[WORDS.index(word)].item() for words in texts for word in words)
    assert results[0].bits_per_byte == pytest.approx(nats / math.log(2) / results[0].num_bytes)
