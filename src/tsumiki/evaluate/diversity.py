"""How different a model's texts are from each other. Texts are lists of units, see `tsumiki.evaluate.units`."""

import math
import zlib
from collections import Counter
from collections.abc import Sequence

from tsumiki.evaluate.units import ngrams

Text = list[str]


def first_units(texts: Sequence[Text], total: int) -> list[Text]:
    """The texts up to `total` units altogether; the last one is cut."""
    kept, left = [], total
    for text in texts:
        if left == 0:
            break
        kept.append(text[:left])
        left -= len(kept[-1])
    return kept


def distinct(texts: Sequence[Text], n: int) -> float:
    """Different n-grams / all n-grams of all texts (distinct-n; arXiv 1510.03055). 1: nothing was said twice.

    It falls as more text is looked at, so it can be compared only between texts of the same total length: cut both with
    `first_units`. High values are no merit by themselves: random words are the most diverse.
    """
    counts = Counter(gram for text in texts for gram in ngrams(text, n))
    return len(counts) / counts.total() if counts else math.nan


def self_bleu(texts: Sequence[Text], max_n: int = 4) -> float:
    """The mean BLEU of each text against all others (arXiv 1802.01886). 0: they share nothing, 1: all are the same.

    BLEU = min(1, e^(1 - r/c)) · (p₁ p₂ p₃ p₄)^¼, with p_n the share of a text's n-grams that occur in another text at
    least as often, and r the length of another text that is nearest to its own, c. An n without any match counts as 0.1
    matches (Chen and Cherry 2014, method 1). More texts mean more references and higher values: compare equal numbers.
    NaN for a single text, and where no text has four units.
    """
    if len(texts) < 2:
        return math.nan
    counts = [[Counter(ngrams(text, n)) for n in range(1, max_n + 1)] for text in texts]
    rivals = [_two_highest([count[n] for count in counts]) for n in range(max_n)]
    lengths = Counter(map(len, texts))
    scores = [
        _bleu(text, count, rivals, lengths - Counter([len(text)]))
        for text, count in zip(texts, counts, strict=True)
        if len(text) >= max_n
    ]
    return sum(scores) / len(scores) if scores else math.nan


def _two_highest(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """The two highest counts of each n-gram in any text: what is left when the text with the highest is left out."""
    highest: dict[tuple[str, ...], tuple[int, int]] = {}
    for count in counts:
        for gram, number in count.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (number, first) if number > first else (first, max(second, number))
    return highest


def _bleu(
    text: Text,
    counts: Sequence[Counter[tuple[str, ...]]],
    rivals: Sequence[dict[tuple[str, ...], tuple[int, int]]],
    other_lengths: Counter[int],
) -> float:
    log_precision = 0.0
    for count, highest in zip(counts, rivals, strict=True):
        matches = 0
        for gram, number in count.items():
            first, second = highest[gram]
            matches += min(number, second if number == first else first)
        log_precision += math.log((matches or 0.1) / count.total()) / len(counts)
    nearest = min(other_lengths, key=lambda length: (abs(length - len(text)), length))
    return math.exp(min(0.0, 1 - nearest / len(text)) + log_precision)


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes / bytes after zlib (arXiv 2403.00553): the more texts repeat themselves and each other, the higher.

    Depends on the language (Japanese has 3 bytes a character) and grows with the amount of text.
    """
    data = "\n".join(texts).encode("utf-8")
    return len(data) / len(zlib.compress(data, level=9))
