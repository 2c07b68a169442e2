"""How much of the held-out text also stands in the training text."""

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsumiki.data.document import Document
from tsumiki.data.mixing import mix

WORDS = 13
CHARACTERS = 50
SPACELESS = ("ja", "zh", "th")
"""Languages written without spaces: passages are measured in characters."""

BASE = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 2**20


@dataclass(frozen=True)
class Overlap:
    """What one source's held-out documents share with all training documents of their language.

    Args:
        source: the held-out documents' source.
        language: their language.
        documents: how many they are.
        copies: those that are also training documents, letter case and white space aside.
        passage: what a passage is: `13 words` or `50 characters`.
        sharing: held-out documents with a passage that also stands in a training document.
        passages: different passages in the held-out documents.
        shared_passages: those of them that also stand in training documents.
        examples: keys of a few documents that are copies or share a passage.
    """

    source: str
    language: str
    documents: int
    copies: int
    passage: str
    sharing: int
    passages: int
    shared_passages: int
    examples: tuple[str, ...]

    def warning(self) -> str | None:
        """A sentence for people; None if nothing is shared."""
        if not self.copies and not self.sharing:
            return None
        return (
            f"{self.source} ({self.language}): of {self.documents:,} held-out documents {self.copies:,} are also "
            f"training documents, and {self.sharing:,} share a passage of {self.passage} with one, "
            f"such as {self.examples[0]} ({self.shared_passages:,} of {self.passages:,} passages)."
        )


def find_overlap(train: Iterable[Document], validation: Iterable[Document]) -> list[Overlap]:
    """Compare held-out with training documents: whole, and every passage of 13 words or 50 characters.

    Every passage of both sides is compared, none is sampled, by a 64-bit polynomial hash of its lower-cased words or,
    in a language without spaces, of its characters. Documents without a whole passage can only be copies.

    Args:
        train: all training documents; read once, in blocks.
        validation: all held-out documents; their hashes are held in memory.
    """
    held_out: dict[str, list[Document]] = {}
    for document in validation:
        held_out.setdefault(document.language, []).append(document)
    comparisons = {language: _Comparison(language, documents) for language, documents in held_out.items()}
    for document in train:
        if document.language in comparisons:
            comparisons[document.language].add(document.text)
    return [report for comparison in comparisons.values() for report in comparison.reports()]


class _Comparison:
    """The held-out documents of one language, and what has been found of them."""

    def __init__(self, language: str, documents: list[Document]) -> None:
        self._language = language
        self._symbols = Symbols(language)
        self._origins = [(document.source, document.key) for document in documents]
        self._digests = [_digest(document.text) for document in documents]
        self._wanted = set(self._digests)
        self._copied: set[bytes] = set()
        hashes = [passage_hashes(self._symbols.of(document.text), self._symbols.length) for document in documents]
        self._owner = np.repeat(np.arange(len(documents)), [len(part) for part in hashes])
        self._known, self._passage = np.unique(np.concatenate(hashes), return_inverse=True)
        self._found = np.zeros(len(self._known), dtype=bool)
        self._block: list[NDArray[np.uint64]] = []
        self._size = 0

    def add(self, text: str) -> None:
        """A training document."""
        digest = _digest(text)
        if digest in self._wanted:
            self._copied.add(digest)
        self._block.append(passage_hashes(self._symbols.of(text), self._symbols.length))
        self._size += len(self._block[-1])
        if self._size >= BLOCK:
            self._compare()

    def reports(self) -> list[Overlap]:
        """The result of each source."""
        self._compare()
        copies = np.array([digest in self._copied for digest in self._digests])
        sharing = np.zeros(len(self._origins), dtype=bool)
        sharing[self._owner[self._found[self._passage]]] = True
        return [self._report(source, copies, sharing) for source in dict.fromkeys(name for name, _ in self._origins)]

    def _report(self, source: str, copies: NDArray[np.bool_], sharing: NDArray[np.bool_]) -> Overlap:
        mine = np.array([name == source for name, _ in self._origins])
        passages = np.unique(self._passage[mine[self._owner]])
        examples = np.flatnonzero(mine & (copies | sharing))[:5]
        return Overlap(
            source=source,
            language=self._language,
            documents=int(mine.sum()),
            copies=int((mine & copies).sum()),
            passage=f"{self._symbols.length} {self._symbols.unit}",
            sharing=int((mine & sharing).sum()),
            passages=len(passages),
            shared_passages=int(self._found[passages].sum()),
            examples=tuple(self._origins[index][1] for index in examples),
        )

    def _compare(self) -> None:
        """Mark what the collected training passages share with the known ones, which are sorted."""
        if self._size and len(self._known):
            hashes = np.concatenate(self._block)
            nearest = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
            self._found[nearest[self._known[nearest] == hashes]] = True
        self._block, self._size = [], 0


class Symbols:
    """Turns a text into the numbers of its words or characters."""

    def __init__(self, language: str) -> None:
        spaceless = language.split("-")[0] in SPACELESS
        self._numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        self.length = CHARACTERS if spaceless else WORDS
        self.unit = "characters" if spaceless else "words"
        self.of: Callable[[str], NDArray[np.uint64]] = self._characters if spaceless else self._words

    def _words(self, text: str) -> NDArray[np.uint64]:
        words = re.findall(r"\w+", text.lower())
        return np.fromiter(map(self._numbers.__getitem__, words), dtype=np.uint64, count=len(words))

    def _characters(self, text: str) -> NDArray[np.uint64]:
        return np.frombuffer("".join(text.split()).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)


def passage_hashes(symbols: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """A hash of each run of `length` symbols: Σ mix(s_k)·B^(length - k) modulo 2^64."""
    count = max(len(symbols) - length + 1, 0)
    scrambled = mix(symbols + np.uint64(1))
    hashes = np.zeros(count, dtype=np.uint64)
    for start in range(length):
        hashes = hashes * BASE + scrambled[start : start + count]
    return hashes


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8"), digest_size=16).digest()
