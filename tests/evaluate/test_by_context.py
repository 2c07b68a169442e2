"""Bits per byte by context: the same tokens at every length, as a loop over single predictions finds them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tsumiki.config import parse
from tsumiki.data import Document, PackedSource, Tokenizer, pack
from tsumiki.errors import UserError
from tsumiki.evaluate.by_context import by_context, target_blocks
from tsumiki.models import LanguageModel, ModelConfig, build_model

TARGETS, LONGEST = 3, 29


@pytest.fixture(scope="module")
def source(story_tokenizer: Tokenizer, stories: Any, tmp_path_factory: pytest.TempPathFactory) -> PackedSource:
    directory = tmp_path_factory.mktemp("packed")
    pack([stories["en"][0], Document("Short.", "en", "a", "1"), stories["ja"][1]], story_tokenizer, directory)
    return PackedSource(directory, name="a", language="en")


@pytest.fixture(scope="module")
def token_bytes(story_tokenizer: Tokenizer) -> list[int]:
    return [len(story_tokenizer.token_bytes(token)) for token in range(story_tokenizer.vocab_size)]


@pytest.fixture(scope="module")
def model(story_tokenizer: Tokenizer) -> LanguageModel:
    mapping = {
        "family": "gpt_oss",
        "vocab_size": story_tokenizer.vocab_size,
        "max_seq_len": LONGEST,
        "d_model": 12,
        "num_layers": 2,
        "init_std": 0.3,
        "attention": {"variant": "grouped_query", "num_heads": 3, "num_kv_heads": 1, "head_dim": 4},
        "feed_forward": {"variant": "swiglu", "d_ff": 7},
    }
    return build_model(parse(mapping, ModelConfig, where="test"), dtype=torch.float64).eval()  # pyright: ignore[reportArgumentType]


def test_a_loop_over_single_predictions_finds_the_same(
    model: LanguageModel, source: PackedSource, token_bytes: list[int]
) -> None:
    contexts, blocks = (3, 11, 29), 7
    nats, num_bytes = dict.fromkeys(contexts, 0.0), 0
    with torch.no_grad():
        for document, end in target_blocks(source, longest=LONGEST, targets=TARGETS, blocks=blocks):
            tokens = source.document(document).tolist()
            for target in range(end - TARGETS, end):
                num_bytes += token_bytes[tokens[target]]
                for context in contexts:
                    past = torch.tensor([tokens[end - 1 - context : target]])
                    nats[context] -= model(past)[0, -1].log_softmax(dim=0)[tokens[target]].item()
    found = by_context(model, source, token_bytes, contexts=contexts, longest=LONGEST, targets=TARGETS, blocks=blocks)
    assert [(cost.context, cost.num_tokens, cost.num_bytes) for cost in found] == [
        (context, blocks * TARGETS, num_bytes) for context in contexts
    ]
    for cost in found:
        assert cost.nats == pytest.approx(nats[cost.context], rel=1e-12)
        assert cost.bits_per_byte == pytest.approx(nats[cost.context] / math.log(2) / num_bytes, rel=1e-12)


def test_blocks_are_in_long_documents_only_and_share_no_token(source: PackedSource) -> None:
    places = target_blocks(source, longest=LONGEST, targets=TARGETS, blocks=10**6)
    targets = [(document, token) for document, end in places for token in range(end - TARGETS, end)]
    assert len(set(targets)) == len(targets)
    assert {document for document, _ in places} == {0, 2}
    lengths = source.lengths
    assert all(LONGEST <= end - 1 < lengths[document] for document, end in places)
    few = target_blocks(source, longest=LONGEST, targets=TARGETS, blocks=5)
    assert len(few) == 5
    assert {document for document, _ in few} == {0, 2}
    assert set(few) <= set(places)


def test_more_context_helps_who_uses_it_and_nobody_else(source: PackedSource, token_bytes: list[int]) -> None:
    class Indifferent:
        unembedding = torch.zeros(700, 1)

        def hidden_states(self, ids: Tensor) -> Tensor:
            return torch.zeros(*ids.shape, 1)

        def logits(self, hidden: Tensor) -> Tensor:
            return hidden @ self.unembedding.T

    model: Any = Indifferent()
    found = by_context(model, source, token_bytes, contexts=(5, 29), longest=LONGEST, targets=TARGETS)
    assert found[0].nats == pytest.approx(found[0].num_tokens * math.log(700), rel=1e-6)
    assert found[0].nats == found[1].nats


def test_short_documents_show_nothing(model: LanguageModel, source: PackedSource, token_bytes: list[int]) -> None:
    with pytest.raises(UserError, match="No document of 'a' is longer than 100000 tokens"):
        by_context(model, source, token_bytes, contexts=(5,), longest=100_000, targets=TARGETS)
