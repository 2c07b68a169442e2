"""What a model computed on the way to its logits, as named tensors: in memory and on disk.

On disk a trace is `trace.safetensors`, which holds the tensors, and `trace.json`, which names their axes, the tokens
and their labels, so that a reader needs to know nothing else.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tsumiki.errors import UserError
from tsumiki.models.artefact import read_tensors

FORMAT = 1
TENSORS, DESCRIPTION = "trace.safetensors", "trace.json"

AXES = {
    "attention": ("layer", "head", "query", "key"),
    "residual": ("place", "token", "width"),
    "logits": ("token", "vocabulary"),
    "gates": ("layer", "token", "head", "gate"),
    "experts": ("layer", "token", "expert"),
}
"""The axes of each tensor. Place 0 of the residual stream is the embedding, place n the output of the nth block."""


@dataclass(frozen=True)
class Trace:
    """One text's way through a model.

    Args:
        ids: the tokens, T.
        labels: how they are shown.
        attention: [L, H, T, T], the weights with which each token read each token. What is missing from 1 in a row went
            to a learned sink.
        residual: [L + 1, T, E], the residual stream before the first block and after each.
        logits: [T, V], scores of the next token.
        gates: [L, T, H, D] or [L, T, H, 1], how much of each head's output passed; None without gated attention.
        experts: [L, T, X], each expert's share of a token's update, 0 for those that it did not choose; None without a
            mixture of experts.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    attention: Tensor
    residual: Tensor
    logits: Tensor
    gates: Tensor | None = None
    experts: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that there are, by name."""
        named = {name: getattr(self, name) for name in AXES}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def save_trace(trace: Trace, directory: Path) -> None:
    """Write a trace into an existing directory, in fp32."""
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in trace.tensors.items()}
    save_file(tensors, directory / TENSORS)
    description = {
        "format": FORMAT,
        "axes": {name: dict(zip(AXES[name], tensor.shape, strict=True)) for name, tensor in tensors.items()},
        "ids": trace.ids,
        "labels": trace.labels,
    }
    text = json.dumps(description, ensure_ascii=False, indent=1)
    (directory / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def load_trace(directory: Path) -> Trace:
    """Read what `save_trace` wrote.

    Raises:
        UserError: a file is missing or damaged, of another format, or the two do not belong together.
    """
    path = directory / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is missing or damaged; make the trace again with `tsumiki inspect`.") from error
    if description.get("format") != FORMAT:
        raise UserError(f"'{path}' has the format {description.get('format')}, but this tsumiki reads {FORMAT}.")
    tensors: dict[str, torch.Tensor] = read_tensors(directory / TENSORS)
    found = {name: dict(zip(AXES.get(name, ()), tensor.shape, strict=False)) for name, tensor in tensors.items()}
    if found != description["axes"]:
        raise UserError(f"'{path}' and '{TENSORS}' beside it are of different traces; make them again.")
    return Trace(ids=tuple(description["ids"]), labels=tuple(description["labels"]), **tensors)
