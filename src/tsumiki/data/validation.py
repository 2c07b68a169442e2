"""The held-out text on which bits per byte are measured."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tsumiki.data.mixing import permutation
from tsumiki.data.packing import PackedSource
from tsumiki.data.stream import Batch
from tsumiki.nn.loss import IGNORE

LENGTH_STEP = 64
"""Batches are as wide as their longest window, rounded up to this, so that few widths occur."""


class ValidationSet:
    """A fixed set of held-out documents, each predicted alone.

    A document is the end-of-text token and its tokens, cut into windows of `seq_len` without carry-over: every token is
    predicted once, from those before it in its window; the last token predicts the end-of-text token. So

        bits per byte = Σ nats over the targets that are not end-of-text / (ln 2 · num_bytes)

    Windows of similar length share a batch; shorter ones are filled up with end-of-text tokens that form a document of
    their own and have no targets.

    Args:
        source: packed held-out documents.
        seq_len: the window, in tokens.
        max_bytes: take documents until they hold this many UTF-8 bytes, in an order that only their number decides,
            so that every tokenizer is measured on the same ones; None takes all.
        batch_size: rows a batch.
    """

    def __init__(
        self, source: PackedSource, *, seq_len: int, max_bytes: int | None = None, batch_size: int = 16
    ) -> None:
        self.name = source.name
        self.language = source.language
        self.end_of_text_id = source.end_of_text_id
        self._source = source
        self._batch_size = batch_size
        chosen = permutation(source.num_documents, seed=0)
        if max_bytes is not None:
            ends = np.cumsum(source.text_bytes[chosen])
            chosen = chosen[: int(np.searchsorted(ends, max_bytes)) + 1]
        self.num_documents = len(chosen)
        self.num_bytes = int(source.text_bytes[chosen].sum())
        self.num_characters = int(source.text_characters[chosen].sum())
        self.num_tokens = int(source.lengths[chosen].sum()) - len(chosen)
        """Targets that are text; the end-of-text targets, one a document, are not counted."""
        windows = [
            (int(document), start, min(seq_len, int(source.lengths[document]) - start))
            for document in chosen
            for start in range(0, int(source.lengths[document]), seq_len)
        ]
        self._windows = sorted(windows, key=lambda window: -window[2])
        self.seq_len = seq_len

    def __len__(self) -> int:
        """Batches."""
        return -(-len(self._windows) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches, always the same ones, longest windows first."""
        for first in range(0, len(self._windows), self._batch_size):
            windows = self._windows[first : first + self._batch_size]
            longest = windows[0][2]
            yield self._batch(windows, min(self.seq_len, -(-longest // LENGTH_STEP) * LENGTH_STEP))

    def _batch(self, windows: list[tuple[int, int, int]], width: int) -> Batch:
        shape = (len(windows), width)
        ids = np.full(shape, self.end_of_text_id, dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        documents = np.ones(shape, dtype=np.int64)
        for row, (document, start, length) in enumerate(windows):
            ids[row, :length], targets[row, :length] = self._window(document, start, length)
            documents[row, :length] = 0
        return Batch(
            ids=torch.from_numpy(ids),
            targets=torch.from_numpy(targets),
            documents=torch.from_numpy(documents),
            sources=(self.name,) * len(windows),
            languages=(self.language,) * len(windows),
            contents=tuple(((self._source, document),) for document, _, _ in windows),
        )

    def _window(self, document: int, start: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        tokens = self._source.document(document, start, start + length + 1)
        if len(tokens) == length:
            tokens = np.append(tokens, self.end_of_text_id)
        return tokens[:-1], tokens[1:]
