"""How much memory a training takes, and how many rows at once a device has room for."""

import functools
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from tsumiki.models import LanguageModel


def peak_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that PyTorch's tensors took so far, elsewhere the most that the process took.

    0 where the system does not say (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def fits(compute: Callable[[], object]) -> bool:
    """Compute something, and say whether there was memory enough. If not, what it had taken is free again."""
    try:
        compute()
    except torch.OutOfMemoryError:
        pass  # leaving the clause frees the tensors that the traceback holds
    else:
        return True
    torch.cuda.empty_cache()
    return False


def micro_batch_sizes(rows: int) -> list[int]:
    """Into how many rows at once a process's rows can be divided, each size at most half of the one before."""
    sizes = [rows]
    while sizes[-1] > 1:
        sizes.append(next(size for size in range(sizes[-1] // 2, 0, -1) if rows % size == 0))
    return sizes


def largest_that_fits(sizes: Iterable[int], compute: Callable[[int], object]) -> int | None:
    """The first of these sizes, largest first, that there is memory enough to compute with."""
    return next((size for size in sizes if fits(functools.partial(compute, size))), None)


def try_gradient(
    model: LanguageModel, rows: int, *, seq_len: int, compiled: bool, autocast: AbstractContextManager[Any]
) -> None:
    """Take the memory that a step with so many rows at once takes. Every parameter gets a gradient of no use.

    Raises:
        torch.OutOfMemoryError: there is not enough.
    """
    if compiled:
        torch.compiler.reset()  # as if there had been no other size: the second one would be compiled for any size
    loss = torch.compile(model.loss) if compiled else model.loss
    ids = torch.zeros((rows, seq_len), dtype=torch.int64, device=model.unembedding.device)
    with autocast:
        nats, _ = loss(ids, ids, documents=ids)
    nats.backward()
