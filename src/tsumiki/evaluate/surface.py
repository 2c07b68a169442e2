"""What can be wrong with a text as a string of characters."""

import unicodedata
from functools import cache

from tsumiki.evaluate.units import is_spaceless

BRACKETS = {"「": "」", "『": "』", "（": "）", "(": ")", "“": "”"}
JAPANESE = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "IDEOGRAPHIC")


def has_unclosed(text: str, *, complete: bool = True) -> bool:
    """Whether a bracket or quotation mark 「」『』（）()“” is never closed, or closed without being open.

    Args:
        complete: False for a text that was cut off: what is still open at its end may have been closed later.
    """
    expected: list[str] = []
    for character in text:
        if character in BRACKETS:
            expected.append(BRACKETS[character])
        elif character in BRACKETS.values() and (not expected or expected.pop() != character):
            return True
    return complete and bool(expected)


def script_mixing(text: str, language: str) -> float:
    """The share of letters in a script that is not the language's own: in Japanese all but kana and kanji, in other
    languages all but Latin. 0 for a text without letters.

    Digits and punctuation are no letters. A robot called R2 makes a Japanese story mixed.
    """
    own = JAPANESE if is_spaceless(language) else ("LATIN",)
    letters = [character for character in text if character.isalpha()]
    return sum(_script(letter) not in own for letter in letters) / len(letters) if letters else 0.0


@cache
def _script(letter: str) -> str:
    """The first word of a letter's name in Unicode, such as LATIN or HIRAGANA; full-width Latin counts as Latin."""
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "?").split()[0]
