"""Where in a model two runs part: the first submodule whose inputs agree and whose output does not."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class _Seen:
    """What entered and left a submodule at one position of one row."""

    inputs: list[Tensor] = field(default_factory=list)
    output: Tensor | None = None
    length: int = 0


def record(model: nn.Module, run: Callable[[], Any], *, position: int, row: int = 0) -> dict[str, _Seen]:
    """Run, and note each submodule's inputs and output at one position, in the order in which the submodules finished.

    The run may go through the text in chunks: positions are counted over the calls of a submodule.
    """
    seen: dict[str, _Seen] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
            if not isinstance(output, Tensor) or output.ndim < 3 or output.shape[0] <= row:
                return
            entry = seen.setdefault(name, _Seen())
            length, at = output.shape[1], position - entry.length
            entry.length += length
            if entry.output is None and 0 <= at < length:
                entry.output = output[row, at].detach()
                arguments = [*args, *kwargs.values()]
                entry.inputs = [
                    argument[row, at].detach()
                    for argument in arguments
                    if isinstance(argument, Tensor) and argument.shape[:2] == output.shape[:2]
                ]

        return note

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_hook(hook(name), with_kwargs=True).remove)
        with torch.no_grad():
            run()
    return seen


def first_difference(before: dict[str, _Seen], after: dict[str, _Seen], *, tolerance: float) -> str:
    """Name of the first submodule whose inputs agree in both records and whose output does not; "" where none is."""
    for name, a in before.items():
        b = after.get(name)
        if a.output is None or b is None or b.output is None or not _differ(a.output, b.output, tolerance):
            continue
        if not any(_differ(x, y, tolerance) for x, y in zip(a.inputs, b.inputs, strict=False)):
            return name
    return ""


def _differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.shape != b.shape:
        return True
    if not a.is_floating_point():
        return not torch.equal(a, b)
    return bool((a - b).abs().max() > tolerance * a.abs().max())
