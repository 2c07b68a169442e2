"""How many minimal pairs a model gets right, and how many a heuristic without any grammar would."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tsumiki.data import Tokenizer
from tsumiki.evaluate.minimal_pairs.paradigm import Paradigm
from tsumiki.evaluate.statistics import Proportion

Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Sentences -> a score each; the higher is taken for right. For a model: ln p."""

TIE = 1e-4
"""Differences below this, in nats, are rounding: neither sentence was preferred."""


def score_pairs(paradigms: Iterable[Paradigm], scorer: Scorer) -> dict[str, Proportion]:
    """The pairs of each paradigm whose right sentence has the higher score; a tie counts half."""
    pairs = {paradigm.name: paradigm.pairs for paradigm in paradigms}
    sentences = [sentence for group in pairs.values() for pair in group for sentence in (pair.good, pair.bad)]
    scores = np.array(scorer(sentences), dtype=np.float64).reshape(-1, 2)
    advantage = scores[:, 0] - scores[:, 1]
    points = np.where(np.abs(advantage) < TIE, 0.5, advantage > 0)
    ends = np.cumsum([len(group) for group in pairs.values()])
    parts = np.split(points, ends[:-1])
    return {name: Proportion(float(part.sum()), len(part)) for name, part in zip(pairs, parts, strict=True)}


def unigram_scorer(tokenizer: Tokenizer, counts: NDArray[np.int64]) -> Scorer:
    """Σ ln p of a sentence's tokens: a model that knows how frequent tokens are, and no order.

    A control. On pairs whose members differ by fillers that are each right once and wrong once it gets half of them,
    whatever the counts, as long as the tokenizer cuts the fillers the same way in all their frames.

    Args:
        counts: [vocab_size], how often each token occurs in some text.
    """
    logs = np.log((counts + 1) / (counts.sum() + len(counts)))
    return lambda sentences: [float(logs[ids].sum()) for ids in tokenizer.encode_batch(sentences)]


def shortness_scorer(tokenizer: Tokenizer) -> Scorer:
    """The fewer tokens, the better: another control. Σ ln p falls with length, so a model may lean to it."""
    return lambda sentences: [-len(ids) for ids in tokenizer.encode_batch(sentences)]
