"""How much of a model's texts is copied from its training text."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsumiki.data.overlap import WORDS, Symbols, passage_hashes
from tsumiki.evaluate.units import is_spaceless

CHARACTERS = 30
BLOCK = 2**20
"""Symbols of training text that are compared at once."""


@dataclass(frozen=True)
class Memorisation:
    """What a set of texts shares with the training text.

    Args:
        passages: all runs of 13 words (30 characters) in the texts.
        copied: those that stand in the training text.
        longest: words (characters) of the longest run that does.
    """

    passages: int
    copied: int
    longest: int

    @property
    def rate(self) -> float:
        """copied / passages; 0 without passages."""
        return self.copied / self.passages if self.passages else 0.0


def memorisation(sets: Mapping[str, Sequence[str]], training: Iterable[str], language: str) -> dict[str, Memorisation]:
    """Look for what texts have copied from the training text.

    A passage is 13 words, lower-cased and without punctuation, or 30 characters without white space, and is compared by
    a 64-bit hash. Stock phrases are found in texts that nobody copied, too. So look at held-out stories in the same
    call: only what lies above their rate is memory. A copy with a name changed goes unnoticed.

    Args:
        sets: the texts to look at, in sets that are counted apart.
        training: all training texts of the language; read once.
    """
    symbols = Symbols(language)
    length = CHARACTERS if is_spaceless(language) else WORDS
    searches = {name: _Search([symbols.of(text) for text in texts], length) for name, texts in sets.items()}
    for block in _blocks(symbols, training):
        passages = _hashes(block, length)
        for search in searches.values():
            search.mark(passages)
            search.look_for_longer(block)
    return {name: search.result() for name, search in searches.items()}


class _Search:
    """One set of texts, and what has been found of it."""

    def __init__(self, texts: Sequence[NDArray[np.uint64]], length: int) -> None:
        self._texts = texts
        self._passages = np.sort(_hashes(texts, length))
        self._copied = np.zeros(len(self._passages), dtype=bool)
        self._longest = 0
        self._limit = max(map(len, texts), default=0)

    def mark(self, passages: NDArray[np.uint64]) -> None:
        """Mark which of the texts' passages are among some training text's."""
        self._copied |= np.isin(self._passages, _known(passages, self._passages))

    def look_for_longer(self, block: Sequence[NDArray[np.uint64]]) -> None:
        """Ask some training texts for a longer span than the longest so far, which they seldom have."""

        def is_new(length: int) -> bool:
            return not len(_known(_hashes(block, length), np.sort(_hashes(self._texts, length))))

        if self._longest < self._limit and not is_new(self._longest + 1):
            self._longest += bisect_left(range(self._longest + 1, self._limit + 1), True, key=is_new)

    def result(self) -> Memorisation:
        return Memorisation(len(self._passages), int(self._copied.sum()), self._longest)


def _known(hashes: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Those of many hashes that are among a few wanted ones, which are sorted."""
    if not len(wanted):
        return wanted
    nearest = wanted[np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)]
    return hashes[nearest == hashes]


def _hashes(texts: Sequence[NDArray[np.uint64]], length: int) -> NDArray[np.uint64]:
    return np.concatenate([np.zeros(0, dtype=np.uint64), *(passage_hashes(text, length) for text in texts)])


def _blocks(symbols: Symbols, texts: Iterable[str]) -> Iterable[list[NDArray[np.uint64]]]:
    block: list[NDArray[np.uint64]] = []
    size = 0
    for text in texts:
        block.append(symbols.of(text))
        size += len(block[-1])
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
