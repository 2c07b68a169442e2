"""The classifier two-sample test: can generated texts be told from real ones?"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsumiki.data.mixing import permutation
from tsumiki.evaluate.statistics import Proportion

FEATURES = 4096
FOLDS = 5
STEPS = 200
LEARNING_RATE = 4.0
DECAY = 1e-3


def two_sample_test(real: Sequence[str], generated: Sequence[str]) -> Proportion:
    """How often a classifier that has seen other texts of both kinds tells which one a text is (arXiv 1610.06545).

    50 % means indistinguishable to this classifier, logistic regression on hashed runs of one to three characters: it
    sees spelling, vocabulary and turns of phrase, no plot, and with few texts not much of these. Texts come in pairs,
    a model's and the real one that followed the same opening; both are in the same of five folds, each of which is
    judged by a classifier that was fitted to the others. Both must be equally long, or length gives them away.

    Raises:
        ValueError: there are not as many texts of one kind as of the other, or fewer than five of each.
    """
    if len(real) != len(generated) or len(real) < FOLDS:
        raise ValueError(f"{len(real)} real and {len(generated)} generated texts; {FOLDS} pairs or more are needed.")
    features = np.stack([hashed_ngrams(text) for text in (*real, *generated)])
    labels = np.repeat([0.0, 1.0], len(real))
    folds = np.tile(permutation(len(real), seed=0) % FOLDS, 2)
    right = 0
    for fold in range(FOLDS):
        test = folds == fold
        weights, bias = fit_logistic_regression(features[~test], labels[~test])
        right += int(((features[test] @ weights + bias > 0) == (labels[test] == 1)).sum())
    return Proportion(right, len(labels))


def hashed_ngrams(text: str) -> NDArray[np.float64]:
    """ln(1 + count) of a text's runs of characters, each counted in one of 4,096 places by its CRC-32; of length 1."""
    counts = np.zeros(FEATURES)
    for n in (1, 2, 3):
        for start in range(len(text) - n + 1):
            counts[zlib.crc32(text[start : start + n].encode("utf-8")) % FEATURES] += 1
    features = np.log1p(counts)
    return features / max(float(np.linalg.norm(features)), 1e-12)


def fit_logistic_regression(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of p(y = 1) = σ(x·w + b), by gradient descent on cross-entropy + ½ · 10⁻³ · |w|²."""
    weights, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(STEPS):
        error = 1 / (1 + np.exp(-(x @ weights + bias))) - y
        weights -= LEARNING_RATE * (x.T @ error / len(y) + DECAY * weights)
        bias -= LEARNING_RATE * float(error.mean())
    return weights, bias
