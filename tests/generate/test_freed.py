"""Texts that end early, wherever they are read: nothing of them stays."""

import contextlib
import gc
import threading
from pathlib import Path

import pytest
import torch

from tsumiki.cli.generate import Options, tell
from tsumiki.generate import Sampling, load


def num_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("mode", [None, "eager"])
def test_nothing_grows_over_1000_streams_of_which_half_are_left_early(run: Path, mode) -> None:
    model = load(run, mode=mode)

    def write(number: int) -> None:
        stream = model.stream("Once", max_tokens=3, seed=number)
        if number % 2:
            list(stream)
        else:
            next(stream, None)

    write(0)
    tensors, threads = num_tensors(), threading.active_count()
    for number in range(1000):
        write(number)
    assert num_tensors() == tensors
    assert threading.active_count() == threads
    assert mode is None or model.engine(1).num_busy == 0


def test_ctrl_c_frees_the_row_of_a_story_that_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(run, mode="eager")
    options = Options(max_tokens=None, stop=[], use_cache=True)
    shown: list[int] = []

    def interrupted(piece: str) -> str:
        shown.append(model.engine(1).num_busy)
        if len(shown) == 4:
            raise KeyboardInterrupt
        return piece

    monkeypatch.setattr("tsumiki.generate.printable", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        tell(model, "Once", Sampling(seed=3), options)
    assert shown[-1] == 1  # the text was being written
    assert model.engine(1).num_busy == 0
