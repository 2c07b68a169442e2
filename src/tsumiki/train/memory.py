"""How much memory a training takes, and how many rows at once a device has room for."""

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor

from tsumiki.models import LanguageModel
from tsumiki.train.config import TrainConfig
from tsumiki.train.precision import autocast

functorch: Any = torch._functorch.config  # pyright: ignore[reportPrivateImportUsage]

SMALLER = "choose a smaller model, or a shorter train.seq_len."


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


def compiled_loss(model: LanguageModel, config: TrainConfig) -> Callable[..., tuple[Tensor, Tensor]]:
    """The model's loss, compiled, with as much kept for the backward pass as `activation_memory` allows."""
    compiled = torch.compile(model.loss)

    def loss(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        # It compiles when it is called, and then again for every new bound of the documents.
        with functorch.patch(activation_memory_budget=config.activation_memory):
            return compiled(*arguments, **options)

    return loss


def micro_batch_sizes(rows: int) -> list[int]:
    """Into how many rows at once a process's rows can be divided, each size at most half of the one before."""
    sizes = [rows]
    while sizes[-1] > 1:
        sizes.append(next(size for size in range(sizes[-1] // 2, 0, -1) if rows % size == 0))
    return sizes


def largest_micro_batch(
    model: LanguageModel, config: TrainConfig, sizes: Iterable[int], *, batch_size: int
) -> int | None:
    """The first of these sizes, largest first, that there is memory for. No gradient is left behind.

    Args:
        batch_size: rows that the process computes in a step, some at once.
    """
    tried = functools.partial(try_gradient, model, config, batch_size=batch_size)
    found = next((rows for rows in sizes if fits(functools.partial(tried, rows))), None)
    model.zero_grad()
    return found


def try_gradient(model: LanguageModel, config: TrainConfig, rows: int, *, batch_size: int) -> None:
    """Take the memory that a step with so many rows at once takes. Every parameter gets a gradient of no use.

    What a step holds besides is there, too: the whole batch, Adam's two moments, and at the second rows the gradient of
    the first ones.

    Raises:
        torch.OutOfMemoryError: there is not enough.
    """
    if config.compile:
        torch.compiler.reset()  # as if there had been no other size: the second one would be compiled for any size
    loss = compiled_loss(model, config) if config.compile else model.loss
    device = model.unembedding.device
    moments = [torch.empty_like(parameter) for parameter in model.parameters() for _ in range(2)]
    batch = torch.zeros((3, batch_size, config.seq_len), dtype=torch.int64, device=device)
    for _ in range(2 if rows < batch_size else 1):
        ids, targets, documents = batch[:, :rows]
        with autocast(config, device):
            nats, _ = loss(ids, targets, documents=documents)
        nats.backward()
    del moments
