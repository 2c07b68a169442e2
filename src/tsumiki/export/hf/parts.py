"""How a class of `transformers` says what a model of ours says: which of its tensors holds which of ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tsumiki.models.language_model import DecoderConfig


@dataclass(frozen=True)
class Part:
    """One tensor of theirs, and the tensors of ours that it is made of.

    Args:
        theirs: its name.
        ours: the names of what it holds.
        join: from ours to theirs.
        split: from theirs to ours, the inverse of `join`.
    """

    theirs: str
    ours: tuple[str, ...]
    join: Callable[[Sequence[Tensor]], Tensor]
    split: Callable[[Tensor], Sequence[Tensor]]


def same(theirs: str, ours: str) -> Part:
    """The same tensor under another name."""
    return Part(theirs, (ours,), join=lambda tensors: tensors[0], split=lambda tensor: (tensor,))


def joined(theirs: str, *ours: str) -> Part:
    """Ours one after the other along the first axis, the outputs."""
    return Part(
        theirs, ours, join=lambda tensors: torch.cat(list(tensors)), split=lambda tensor: tensor.chunk(len(ours))
    )


def joined_transposed(theirs: str, *ours: str) -> Part:
    """The same, then transposed: they write y = x W where we write y = x Wᵀ."""
    return Part(
        theirs, ours, join=lambda tensors: torch.cat(list(tensors)).T, split=lambda tensor: tensor.T.chunk(len(ours))
    )


class Architecture(Protocol):
    """A class of `transformers` that models of one of our families can be."""

    model_type: str
    """What `config.json` calls it."""
    class_name: str
    """The class of its language model."""

    def objections(self, config: Any) -> Iterator[str]:
        """Why it cannot express a model of ours; nothing where it can."""
        ...

    def describe(self, config: Any) -> dict[str, Any]:
        """Our configuration as its `config.json`."""
        ...

    def understand(self, theirs: "Theirs") -> DecoderConfig:
        """Its `config.json` as our configuration."""
        ...

    def parts(self, config: Any) -> Iterator[Part]:
        """Where each of our tensors is."""
        ...

    def rename(self, name: str) -> str | None:
        """A tensor's name as it is now, where older files call it otherwise; None for what is no weight."""
        ...


class Theirs:
    """A `config.json`, read field by field. What our blocks cannot express raises a `ValueError` that says why."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    def __getitem__(self, name: str) -> Any:
        """A field that must be there."""
        if self.fields.get(name) is None:
            raise ValueError(f"the field '{name}' is missing")
        return self.fields[name]

    def get(self, name: str, default: Any) -> Any:
        """A field, or its default where it is missing or null."""
        value = self.fields.get(name)
        return default if value is None else value

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse values that our blocks cannot express; a missing field means the first of those allowed."""
        value = self.get(name, allowed[0])
        if value not in allowed:
            expected = " or ".join(map(str, allowed))
            raise ValueError(f"'{name}' is {value}, but tsumiki's blocks can express {expected} only")
