"""How much a text repeats itself. A text is a list of units, see `tsumiki.evaluate.units`."""

import math
from itertools import pairwise

from tsumiki.evaluate.units import ngrams


def repetition(text: list[str], n: int = 4) -> float:
    """1 - different n-grams / n-grams within one text (rep-n; arXiv 1908.04319). 0: no n-gram occurs twice.

    Grows with the text's length. NaN for a text shorter than n.
    """
    grams = ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else math.nan


def longest_repeated_span(text: list[str]) -> int:
    """Units of the longest span that occurs twice in a text; the two may overlap, as in a loop.

    A refrain that a story wants is counted like a loop that it is caught in. Two suffixes with a long common beginning
    are neighbours when all suffixes are sorted.
    """
    suffixes = sorted(range(len(text)), key=lambda start: text[start:])
    return max((_common(text, first, second) for first, second in pairwise(suffixes)), default=0)


def _common(text: list[str], first: int, second: int) -> int:
    length = 0
    for a, b in zip(text[first:], text[second:], strict=False):
        if a != b:
            break
        length += 1
    return length
