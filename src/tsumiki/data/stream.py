"""Training batches: what a step sees is a pure function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsumiki.data.mixing import permutation, seed_of
from tsumiki.data.packing import PackedSource

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples modulo 2^64 fill the range as evenly as any do."""


@dataclass(frozen=True)
class Batch:
    """Rows of tokens.

    Args:
        ids: int64 [B, T].
        targets: int64 [B, T]: the token that follows each of `ids`; -100 where there is none to predict.
        documents: int64 [B, T]: which document of its row a token belongs to, counted up from left to right.
        sources: the source of each row.
        languages: the language of each row.
        contents: each row's documents, as (source, index).
    """

    ids: Tensor
    targets: Tensor
    documents: Tensor
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    contents: tuple[tuple[tuple[PackedSource, int], ...], ...]

    def describe(self) -> list[tuple[str, str]]:
        """Source and key of every document in the batch, row by row."""
        return [(source.name, source.key(index)) for row in self.contents for source, index in row]


class TrainingStream:
    """An endless table of rows; batch s is the rows s·B to (s + 1)·B.

    A source's documents, permuted anew in each epoch and laid end to end, are one endless text. The source's row r is
    its tokens r·T to (r + 1)·T, so in each epoch every token is an input exactly once, and nothing is padding. Each
    token's target is the next one of that text: a document's last token predicts the end-of-text token.

    The sources take turns so that their shares of the rows equal their weights: row g belongs to the source in whose
    share of [0, 1) the number (seed + g·φ) mod 1 falls, φ the golden ratio. Any run of rows comes within a few
    rows of the shares.

    Args:
        sources: the packed sources of a mixture; their names differ.
        seq_len: T.
        seed: decides the orders of the documents and the phase of the mixture.
    """

    def __init__(self, sources: Sequence[PackedSource], *, seq_len: int, seed: int) -> None:
        self.sources = tuple(sources)
        self.seq_len = seq_len
        self._texts = [_EndlessText(source, seed) for source in self.sources]
        self._mixture = _Mixture([source.weight for source in self.sources], seed)

    def batch(self, step: int, batch_size: int) -> Batch:
        """The batch of a step, counted from 0. Steps may be asked for in any order."""
        return self.rows(range(step * batch_size, (step + 1) * batch_size))

    def rows(self, rows: range) -> Batch:
        """Any rows of the table: of w processes, process p may take `range(s·B + p, (s + 1)·B, w)`."""
        ids, targets = np.empty((2, len(rows), self.seq_len), dtype=np.int64)
        contents = []
        chosen = self._locate(rows)
        for place, (source, row) in enumerate(chosen):
            tokens, documents = self._texts[source].read(row * self.seq_len, self.seq_len + 1)
            ids[place], targets[place] = tokens[:-1], tokens[1:]
            contents.append(tuple((self.sources[source], document) for document in documents))
        # NumPy, not PyTorch: its threads would take the cores from the training that this is done beside.
        documents_BT = np.cumsum(ids == self.sources[0].end_of_text_id, axis=1)
        return Batch(
            ids=torch.from_numpy(ids),
            targets=torch.from_numpy(targets),
            documents=torch.from_numpy(documents_BT),
            sources=tuple(self.sources[source].name for source, _ in chosen),
            languages=tuple(self.sources[source].language for source, _ in chosen),
            contents=tuple(contents),
        )

    def languages(self, rows: range) -> list[str]:
        """The language of each of these rows, without reading them."""
        return [self.sources[source].language for source, _ in self._locate(rows)]

    def _locate(self, rows: range) -> list[tuple[int, int]]:
        return [self._mixture.locate(row) for row in rows]


class _EndlessText:
    """A source's documents end to end, epoch after epoch, each in its own order."""

    def __init__(self, source: PackedSource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._epochs: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def read(self, start: int, count: int) -> tuple[NDArray[np.int64], list[int]]:
        """`count` tokens from position `start` on, and the documents that they are from."""
        pieces, documents = [], []
        position, end = start, start + count
        while position < end:
            epoch, offset = divmod(position, self._source.num_tokens)
            order, ends = self._order(epoch)
            place = int(np.searchsorted(ends, offset, side="right"))
            document = int(order[place])
            skipped = offset - int(ends[place] - self._source.lengths[document])
            piece = self._source.document(document, skipped, skipped + end - position)
            pieces.append(piece)
            documents.append(document)
            position += len(piece)
        return np.concatenate(pieces), documents

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The documents in the epoch's order, and where each ends. A row may touch two epochs, so two are kept."""
        if epoch not in self._epochs:
            order = permutation(self._source.num_documents, seed_of(self._seed, self._source.name, epoch))
            if len(self._epochs) == 2:
                self._epochs.pop(min(self._epochs))
            self._epochs[epoch] = (order, np.cumsum(self._source.lengths[order]))
        return self._epochs[epoch]


class _Mixture:
    """Which source a row belongs to, and how many rows of that source came before."""

    BLOCK = 1024

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        shares = np.cumsum(weights) / np.sum(weights)
        self._bounds = np.array([min(int(share * 2**64), 2**64 - 1) for share in shares[:-1]], dtype=np.uint64)
        self._phase = np.uint64(seed_of(seed, "mixture"))
        self._before = [np.zeros(len(weights), dtype=np.int64)]
        self._latest: tuple[int, NDArray[np.int64]] = (0, self._sources_of(0))

    def locate(self, row: int) -> tuple[int, int]:
        """The source of a row, and the row's number within that source."""
        block, place = divmod(row, self.BLOCK)
        while len(self._before) <= block:
            counts = np.bincount(self._sources_of(len(self._before) - 1), minlength=len(self._before[0]))
            self._before.append(self._before[-1] + counts)
        if self._latest[0] != block:
            self._latest = (block, self._sources_of(block))
        sources = self._latest[1]
        source = int(sources[place])
        return source, int(self._before[block][source] + np.count_nonzero(sources[:place] == source))

    def _sources_of(self, block: int) -> NDArray[np.int64]:
        rows = np.arange(block * self.BLOCK, (block + 1) * self.BLOCK, dtype=np.uint64)
        return np.searchsorted(self._bounds, self._phase + rows * np.uint64(GOLDEN), side="right")
