"""A training step as one CUDA graph: recorded once, then replayed in one launch."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor

WARM_UP = 2
"""Calls with a key that are computed one by one before one is recorded, so that everything is compiled, kernels are
chosen and buffers exist. A recording must not compile."""


class Captured:
    """A function of tensors on a GPU that runs without Python and without a gap between its kernels.

    A step of a small model is some thousand kernels of a few microseconds. Launched one by one from Python, they keep
    the GPU waiting about half of the time; a CUDA graph is launched once. The function must do the same every time: no
    look at a value on the device, no new shapes. Its arguments are copied to where the recording reads them. What it
    changes in place (weights, the optimizer's state) it changes in every replay.

    A recording knows addresses, not tensors. If a tensor that it reads is exchanged for another, even one with the same
    values, the old address soon holds something else, and the replay computes nonsense without a word. (It happened:
    `model.to(device)` made the frequencies of RoPE anew, and the model trained on with whatever lay in their place.) So
    the addresses are compared at every call, and if one has changed, there is a new recording.

    Nothing is computed twice: the first `WARM_UP` calls with a key run as usual, the next is recorded and replayed.

    Args:
        function: a key and tensors, all on one CUDA device -> a tensor that holds its results.
        reads: gives the tensors that the function reads or changes besides its arguments and that others can exchange.
    """

    def __init__(self, function: Callable[..., Tensor], *, reads: Callable[[], Iterable[Tensor]]) -> None:
        self.function = function
        self.reads = reads
        self._calls: Counter[Hashable] = Counter()
        self._addresses: tuple[int, ...] = ()
        self._recordings: dict[Hashable, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]] = {}

    def __call__(self, key: Hashable, *arguments: Tensor | float) -> Tensor:
        """The function's result.

        Args:
            key: what besides the tensors decides what is computed; there is a recording for each.
            arguments: what the function gets after the key, of the same shapes for the same key. A number reaches it as
                a tensor on the device, where a recording can find another one the next time.
        """
        self._calls[key] += 1
        if self._calls[key] <= WARM_UP:
            return self.function(key, *map(_place, arguments))
        addresses = tuple(tensor.data_ptr() for tensor in self.reads())
        if addresses != self._addresses:
            self._recordings.clear()
            self._addresses = addresses
        if key not in self._recordings:
            self._recordings[key] = self._record(key, arguments)
        graph, places, result = self._recordings[key]
        for place, argument in zip(places, arguments, strict=True):
            _put(argument, place)
        graph.replay()
        return result.clone()

    def _record(
        self, key: Hashable, arguments: tuple[Tensor | float, ...]
    ) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]:
        places = tuple(map(_place, arguments))
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the recording has its own memory, as much as a step needs
        # Other threads may go on using the device: the one that makes batches allocates pinned memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self.function(key, *places)
        return graph, places, result


def _place(argument: Tensor | float) -> Tensor:
    """A tensor of the argument's own that holds it."""
    if isinstance(argument, Tensor):
        return argument.clone()
    return torch.full((), argument, dtype=torch.float32, device="cuda")


def _put(argument: Tensor | float, place: Tensor) -> None:
    """Write the argument to its place, without waiting for the device."""
    if isinstance(argument, Tensor):
        place.copy_(argument, non_blocking=True)
    else:
        place.fill_(argument)
