"""What texts are counted in: words, or characters where a language has no spaces."""

import re

from tsumiki.data.overlap import SPACELESS


def is_spaceless(language: str) -> bool:
    """Whether a language is written without spaces between words."""
    return language.split("-")[0] in SPACELESS


def units(text: str, language: str) -> list[str]:
    """Lower-cased words without punctuation; in a language without spaces, characters without white space.

    Characters need no morphological analyser, whose dictionary would decide the figures. So compare Japanese figures
    with Japanese ones only.
    """
    return list("".join(text.split())) if is_spaceless(language) else re.findall(r"[\w']+", text.lower())


def ngrams(symbols: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n units, in order."""
    return list(zip(*(symbols[start:] for start in range(n)), strict=False))
