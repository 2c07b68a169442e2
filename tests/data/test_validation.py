"""The metric: every token of every held-out document is predicted once, from its own window."""

import math
from collections.abc import Callable

import pytest
import torch

from tsumiki.data import PackedSource, Tokenizer, ValidationSet

TEXTS = [f"Frog {n} has {'very ' * (n * 7 % 50)}long legs. かえる" for n in range(23)]


@pytest.mark.parametrize(("seq_len", "batch_size"), [(7, 5), (64, 3), (100, 16), (1000, 1)])
def test_every_token_is_predicted_once(
    packed: Callable[..., PackedSource], tokenizer: Tokenizer, seq_len: int, batch_size: int
) -> None:
    validation = ValidationSet(packed(TEXTS), seq_len=seq_len, batch_size=batch_size)
    batches = list(validation)
    assert len(batches) == len(validation)
    predicted = []
    windows: dict[str, list[int]] = {key: [] for batch in batches for _, key in batch.describe()}
    for batch in batches:
        assert batch.ids.shape[1] <= seq_len
        for row, (_, key) in enumerate(batch.describe()):
            real = batch.targets[row] != -100
            length = int(real.sum())
            assert real[:length].all(), "what fills a row comes last"
            assert (batch.documents[row] == (~real).long()).all(), "and is a document of its own"
            assert torch.equal(batch.ids[row, 1:length], batch.targets[row, : length - 1])
            predicted += batch.targets[row, :length].tolist()
            windows[key].append(length)
    text_targets = [target for target in predicted if target != validation.end_of_text_id]
    assert len(text_targets) == validation.num_tokens
    assert len(predicted) - len(text_targets) == validation.num_documents == len(TEXTS)
    assert sorted(text_targets) == sorted(id for text in TEXTS for id in tokenizer.encode(text))
    for key, lengths in windows.items():
        total = len(tokenizer.encode(TEXTS[int(key.removeprefix("test:"))])) + 1
        assert sorted(lengths, reverse=True) == [seq_len] * (total // seq_len) + [total % seq_len] * (
            total % seq_len > 0
        )


def test_sizes_and_the_metric(packed: Callable[..., PackedSource]) -> None:
    validation = ValidationSet(packed(TEXTS), seq_len=13)
    assert validation.num_bytes == sum(len(text.encode("utf-8")) for text in TEXTS)
    assert validation.num_characters == sum(map(len, TEXTS))
    assert (validation.name, validation.language) == ("test", "en")
    # A model that knows nothing spends log2 V bits on each token.
    nats = math.log(8192) * sum(
        int(((batch.targets != -100) & (batch.targets != validation.end_of_text_id)).sum()) for batch in validation
    )
    assert nats / (math.log(2) * validation.num_bytes) == pytest.approx(
        13 * validation.num_tokens / validation.num_bytes
    )


def test_a_part_of_it_is_fixed_and_whatever_the_tokenizer(packed: Callable[..., PackedSource]) -> None:
    source = packed(TEXTS)
    part = ValidationSet(source, seq_len=13, max_bytes=500)
    assert 500 <= part.num_bytes < 500 + 300
    keys = {key for batch in part for _, key in batch.describe()}
    assert len(keys) == part.num_documents < len(TEXTS)
    assert keys == {key for batch in ValidationSet(source, seq_len=99, max_bytes=500) for _, key in batch.describe()}
    larger = {key for batch in ValidationSet(source, seq_len=13, max_bytes=900) for _, key in batch.describe()}
    assert keys < larger
    assert ValidationSet(source, seq_len=13, max_bytes=1).num_documents == 1
    assert ValidationSet(source, seq_len=13, max_bytes=10**9).num_documents == len(TEXTS)


def test_it_is_the_same_every_time(packed: Callable[..., PackedSource]) -> None:
    validation = ValidationSet(packed(TEXTS), seq_len=13)
    assert all(
        torch.equal(one.ids, other.ids) and torch.equal(one.targets, other.targets)
        for one, other in zip(validation, validation, strict=True)
    )
