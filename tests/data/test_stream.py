"""What a step sees is a pure function of seed and step, and every token is seen."""

import itertools
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tsumiki.data import Batch, PackedSource, Tokenizer, TrainingStream
from tsumiki.data.mixing import mix, permutation, seed_of
from tsumiki.data.stream import _Mixture

SEQ_LEN = 7
TEXTS = [f"Frog {n} has {'very ' * (n % 11)}long legs." for n in range(47)]


def equal(one: Batch, other: Batch) -> bool:
    tensors = ((one.ids, other.ids), (one.targets, other.targets), (one.documents, other.documents))
    return all(torch.equal(a, b) for a, b in tensors) and one.describe() == other.describe()


@pytest.fixture
def source(packed: Callable[..., PackedSource]) -> PackedSource:
    return packed(TEXTS)


def test_any_step_in_any_order_and_after_a_restart(packed: Callable[..., PackedSource]) -> None:
    sources = [packed(TEXTS, name="a", weight=2.0), packed(TEXTS[:5], name="b")]
    stream = TrainingStream(sources, seq_len=SEQ_LEN, seed=3)
    batches = [stream.batch(step, 5) for step in range(60)]
    steps = list(range(60))
    random.Random(0).shuffle(steps)
    shuffled = TrainingStream(sources, seq_len=SEQ_LEN, seed=3)
    assert all(equal(shuffled.batch(step, 5), batches[step]) for step in steps)
    resumed = TrainingStream(sources, seq_len=SEQ_LEN, seed=3)
    assert all(equal(resumed.batch(step, 5), batches[step]) for step in range(37, 60))


def test_the_batch_size_only_cuts_the_rows(source: PackedSource) -> None:
    stream = TrainingStream([source], seq_len=SEQ_LEN, seed=0)
    large = stream.batch(1, 6)
    small = [stream.batch(step, 2) for step in (3, 4, 5)]
    assert torch.equal(large.ids, torch.cat([batch.ids for batch in small]))


def test_every_token_of_an_epoch_is_an_input_once(source: PackedSource) -> None:
    stream = TrainingStream([source], seq_len=SEQ_LEN, seed=1)
    size = source.num_tokens
    rows = stream.batch(0, 2 * size // SEQ_LEN + 1).ids.flatten().numpy()
    epochs = [split_documents(rows[:size]), split_documents(rows[size : 2 * size])]
    expected = Counter(tuple(source.document(index).tolist()) for index in range(source.num_documents))
    assert Counter(epochs[0]) == Counter(epochs[1]) == expected
    assert epochs[0] != epochs[1], "each epoch has its own order"


def split_documents(tokens: np.ndarray) -> list[tuple[int, ...]]:
    starts = [*np.flatnonzero(tokens == 0), len(tokens)]
    assert starts[0] == 0
    return [tuple(tokens[a:b].tolist()) for a, b in itertools.pairwise(starts)]


def test_rows_are_windows_of_the_permuted_documents(packed: Callable[..., PackedSource]) -> None:
    """Written down plainly: two epochs of two sources laid out in full, and cut."""
    sources = [packed(TEXTS, name="a", weight=2.0), packed(TEXTS[::3], name="b")]
    texts = []
    for source in sources:
        orders = [permutation(source.num_documents, seed_of(9, source.name, epoch)) for epoch in (0, 1)]
        texts.append([int(token) for order in orders for index in order for token in source.document(int(index))])
    mixture = _Mixture([2.0, 1.0], seed=9)
    batch = TrainingStream(sources, seq_len=SEQ_LEN, seed=9).batch(3, 11)
    for place, row in enumerate(range(33, 44)):
        source, number = mixture.locate(row)
        window = texts[source][number * SEQ_LEN : (number + 1) * SEQ_LEN + 1]
        assert batch.sources[place] == sources[source].name
        assert batch.ids[place].tolist() == window[:-1]
        assert batch.targets[place].tolist() == window[1:]
        starts = [token == 0 for token in window[:-1]]
        assert batch.documents[place].tolist() == list(itertools.accumulate(starts))


def test_targets_are_the_next_tokens(source: PackedSource) -> None:
    batch = TrainingStream([source], seq_len=SEQ_LEN, seed=1).batch(0, 3 * source.num_tokens // SEQ_LEN)
    ids, targets = batch.ids.flatten(), batch.targets.flatten()
    assert torch.equal(ids[1:], targets[:-1]), "also across rows and epochs"
    assert batch.ids.dtype == batch.targets.dtype == batch.documents.dtype == torch.int64


def test_documents_change_where_a_text_begins_and_restart_in_every_row(source: PackedSource) -> None:
    batch = TrainingStream([source], seq_len=61, seed=1).batch(0, 20)
    begins = batch.ids == source.end_of_text_id
    assert begins.any()
    assert torch.equal(batch.documents[:, 1:] - batch.documents[:, :-1], begins[:, 1:].long())
    assert torch.equal(batch.documents[:, 0], begins[:, 0].long()), "no id comes from the row before"


def test_a_row_may_hold_several_epochs_of_a_tiny_source(packed: Callable[..., PackedSource]) -> None:
    tiny = packed(["Frog."], name="tiny")
    batch = TrainingStream([tiny], seq_len=50, seed=0).batch(2, 3)
    assert torch.equal(batch.ids[0, : tiny.num_tokens], batch.ids[0, tiny.num_tokens : 2 * tiny.num_tokens])
    assert {key for _, key in batch.describe()} == {"tiny:0"}


def test_the_seed_decides_the_order(source: PackedSource) -> None:
    one, other = (TrainingStream([source], seq_len=SEQ_LEN, seed=seed).batch(0, 9) for seed in (0, 1))
    assert not torch.equal(one.ids, other.ids)


def test_a_second_source_does_not_change_the_first_ones_rows(packed: Callable[..., PackedSource]) -> None:
    a, b = packed(TEXTS, name="a"), packed(TEXTS, name="b")
    alone = TrainingStream([a], seq_len=SEQ_LEN, seed=0).batch(0, 20)
    mixed = TrainingStream([a, b], seq_len=SEQ_LEN, seed=0).batch(0, 40)
    of_a = [row for row, name in enumerate(mixed.sources) if name == "a"]
    assert torch.equal(mixed.ids[of_a][:15], alone.ids[:15])
    of_b = [row for row, name in enumerate(mixed.sources) if name == "b"]
    assert not torch.equal(mixed.ids[of_b][:15], alone.ids[:15]), "two sources of the same text differ in order"


def test_processes_share_a_batch(packed: Callable[..., PackedSource]) -> None:
    stream = TrainingStream([packed(TEXTS, name="a"), packed(TEXTS, name="b")], seq_len=SEQ_LEN, seed=0)
    whole = stream.batch(4, 6)
    strided = [stream.rows(range(4 * 6 + rank, 5 * 6, 3)) for rank in range(3)]
    for rank, part in enumerate(strided):
        assert torch.equal(part.ids, whole.ids[rank::3])
        assert part.sources == whole.sources[rank::3]


def test_describe_names_the_documents_of_every_row(packed: Callable[..., PackedSource], tokenizer: Tokenizer) -> None:
    source = packed(TEXTS)
    batch = TrainingStream([source], seq_len=SEQ_LEN, seed=0).batch(0, 1)
    described = batch.describe()
    assert described[0][0] == "test"
    text = TEXTS[int(described[0][1].removeprefix("test:"))]
    assert text.startswith(tokenizer.decode(batch.ids[0].tolist())[:10])
    assert batch.languages == ("en",)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [6.0, 3.0, 1.0], [0.6, 0.4], [1.0], [997.0, 1.0, 2.0], [1e30, 1.0]])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_shares_follow_the_weights(weights: list[float], seed: int) -> None:
    mixture = _Mixture(weights, seed)
    located = [mixture.locate(row) for row in range(10_000)]
    sources = np.array([source for source, _ in located])
    shares = np.array(weights) / sum(weights)
    for source, share in enumerate(shares):
        assert abs(np.mean(sources == source) - share) < 1e-3
        for start in range(0, 10_000 - 64, 64):
            assert abs(np.sum(sources[start : start + 64] == source) - 64 * share) < 4, "also within a batch"
        assert [row for s, row in located if s == source] == list(range(int(np.sum(sources == source))))


def test_a_row_far_away_is_found_without_those_before(packed: Callable[..., PackedSource]) -> None:
    mixture = _Mixture([3.0, 1.0], seed=0)
    source, row = mixture.locate(1_000_003)
    assert abs(row - 1_000_003 * (0.75, 0.25)[source]) < 10
    assert TrainingStream([packed(TEXTS)], seq_len=SEQ_LEN, seed=0).batch(10**6, 2).ids.shape == (2, SEQ_LEN)


def test_mixing_never_changes() -> None:
    assert mix(np.array([1, 2**63], dtype=np.uint64)).tolist() == [0x5692161D100B05E5, 0x25C26EA579CEA98A]
    assert permutation(7, seed=5).tolist() == [5, 2, 6, 4, 0, 1, 3]
    assert sorted(permutation(101, seed=5)) == list(range(101))
    assert len({tuple(permutation(11, seed=seed)) for seed in range(50)}) == 50
    assert permutation(3, seed=2**64 - 1).tolist() == permutation(3, seed=2**64 - 1).tolist()
    assert seed_of(0, "en", 1) != seed_of(0, "en", 2)
