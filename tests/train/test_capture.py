"""When a step is recorded. What a recording computes, only a GPU can show: tests/gpu/test_train.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tsumiki.train.capture import WARM_UP, Captured


class Graph:
    """Stands in for a CUDA graph that computes nothing."""

    def replay(self) -> None:
        pass


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list that is not empty while something is recorded."""
    now: list[bool] = []

    @contextmanager
    def graph(_: Graph, *, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        now.append(True)
        yield
        now.clear()

    for name, stand_in in {"CUDAGraph": Graph, "graph": graph, "synchronize": int, "empty_cache": int}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return now


def test_every_key_is_computed_before_it_is_recorded(recording: list[bool]) -> None:
    """A new key can mean a new compilation, which a recording forbids."""
    computed = []

    def step(key: str, x: Tensor) -> Tensor:
        computed.append((key, bool(recording)))
        return x + 1

    captured = Captured(step, reads=lambda: ())
    for key in "aaaabbaabbb":
        captured(key, torch.ones(3))
    assert computed == [*[("a", False)] * WARM_UP, ("a", True), *[("b", False)] * WARM_UP, ("b", True)]


def test_an_exchanged_tensor_means_a_new_recording(recording: list[bool]) -> None:
    weights = [torch.ones(3)]
    recorded = []

    def step(key: int, x: Tensor) -> Tensor:
        if recording:
            recorded.append(weights[0])
        return x * weights[0]

    captured = Captured(step, reads=lambda: weights)
    for _ in range(5):
        captured(0, torch.ones(3))
    assert len(recorded) == 1
    weights[0] = torch.ones(3)
    for _ in range(3):
        captured(0, torch.ones(3))
    assert [tensor.data_ptr() for tensor in recorded[1:]] == [weights[0].data_ptr()]
