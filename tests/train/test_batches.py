"""Batches made ahead: the same ones, and errors, threads and waiting are accounted for."""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import torch

from tsumiki.data import TrainingStream, prepare
from tsumiki.train import RunConfig
from tsumiki.train.batches import AHEAD, Batches
from tsumiki.train.distributed import World


@pytest.fixture(scope="module")
def stream(make_config: Callable[..., RunConfig]) -> TrainingStream:
    config = make_config()
    return TrainingStream(prepare(config.data, config.tokenizer).train, seq_len=23, seed=0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_are_those_of_the_stream_from_any_step_on(stream: TrainingStream) -> None:
    expected = [stream.batch(step, 5) for step in range(7, 7 + 2 * AHEAD)]
    with closing(Batches(stream, 5, first=7, world=World(), pin=False)) as batches:
        for batch in expected:
            made = batches.next()
            assert torch.equal(made.rows.ids, batch.ids)
            assert torch.equal(made.rows.targets, batch.targets)
            assert made.rows.describe() == batch.describe()
            assert made.num_targets == 5 * 23
            assert made.tokens == {language: 23 * batch.languages.count(language) for language in ("en", "ja")}


def test_what_goes_wrong_in_the_thread_is_raised_by_its_step(
    stream: TrainingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = stream.rows

    def torn(rows: range) -> object:
        if rows.start == 2 * 5:
            raise OSError("the disk is gone")
        return sound(rows)

    monkeypatch.setattr(stream, "rows", torn)
    with closing(Batches(stream, 5, first=0, world=World(), pin=False)) as batches:
        batches.next()
        batches.next()
        with pytest.raises(OSError, match="the disk is gone") as caught:
            batches.next()
    assert "in torn" in "".join(traceback.format_exception(caught.value)), "where it happened"


def test_waiting_is_counted(stream: TrainingStream, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 107.0])
    monkeypatch.setattr("tsumiki.train.batches.perf_counter", lambda: next(moments))
    with closing(Batches(stream, 5, first=0, world=World(), pin=False)) as batches:
        batches.next()
        assert batches.waited() == 7.0
        assert batches.waited() == 0.0


def test_closing_does_not_make_the_batches_that_nobody_wants(
    stream: TrainingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sound, go_on = [], stream.rows, threading.Event()

    def slow(rows: range) -> object:
        if rows.start > 0:
            go_on.wait()
        made.append(rows.start)
        return sound(rows)

    monkeypatch.setattr(stream, "rows", slow)
    batches = Batches(stream, 5, first=0, world=World(), pin=False)
    batches.next()
    threading.Timer(0.05, go_on.set).start()
    batches.close()
    assert len(made) <= 2 < AHEAD, "at most the one that was being made"
