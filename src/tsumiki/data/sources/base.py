"""What every source is, and how documents are held out for validation."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Literal

from tsumiki.data.document import Document
from tsumiki.spec import spec

Split = Literal["train", "validation"]


@spec
class SourceConfig:
    """What all sources share; each adds its own `kind` and options.

    Args:
        language: the language of its texts, `en` or `ja`; figures are reported by it.
        name: what it is called in logs and reports; by default `kind-language`.
        weight: its share of the training rows, relative to the other sources' weights.
        licence: what its texts may be used under, for people to read; known for the sample and for `hub.KNOWN`.
    """

    kind: str
    language: str
    name: str | None = None
    weight: float = 1.0
    licence: str | None = None

    def __post_init__(self) -> None:
        if not self.language:
            raise ValueError("language is empty; write for example 'en' or 'ja'.")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight is {self.weight}, but must be above 0; leave out a source that gets no share.")

    @property
    def label(self) -> str:
        """The name, or what stands in for it."""
        return self.name or f"{self.kind}-{self.language}"


class Source(ABC):
    """Documents in two splits. Reading is a stream: no source holds its documents in memory."""

    def __init__(self, config: SourceConfig) -> None:
        self.name = config.label
        self.language = config.language
        self.weight = config.weight
        self.licence = config.licence

    @abstractmethod
    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split, always in the same order."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Plain data that changes when the documents change: what the cache knows the source by."""
        return self._identify()

    @abstractmethod
    def _identify(self) -> dict[str, Any]: ...


def split_documents(
    rows: Callable[[Split], Iterator[tuple[str, Document]]],
    split: Split,
    *,
    own_validation: bool,
    fraction: float,
) -> Iterator[Document]:
    """The documents of `split`, parted so that no group stands on both sides.

    Args:
        rows: group and document of each row, of the training data or of the data's own validation split.
        split: the side that is wanted.
        own_validation: the data has a validation split. It is taken whole, and training leaves out every document
            whose group occurs in it. Otherwise a fraction of the training data's groups is held out.
        fraction: see `is_held_out`.
    """
    if not own_validation:
        for group, document in rows("train"):
            if is_held_out(group, fraction) == (split == "validation"):
                yield document
    elif split == "validation":
        for _, document in rows("validation"):
            yield document
    else:
        held_out = {_digest(group) for group, _ in rows("validation")}
        for group, document in rows("train"):
            if _digest(group) not in held_out:
                yield document


def is_held_out(group: str, fraction: float) -> bool:
    """Whether a group of documents belongs to validation: SHA-256(group) / 2^256 < fraction.

    A pure function of the group, so that a group stays on its side whatever else the data holds.
    """
    return int.from_bytes(_digest(group)[:8], "big") < fraction * 2**64


def group_of(value: str) -> str:
    """The group that an id names, all of it but a final number: `3f2a-7` and `3f2a-12` are siblings, group `3f2a`."""
    return re.sub(r"-\d+$", "", value)


def check_fraction(fraction: float) -> None:
    """Raise ValueError unless 0 < fraction < 1."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction is {fraction}, but must be above 0 and below 1.")


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode("utf-8")).digest()
