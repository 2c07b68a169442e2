"""What a minimal pair is, and how pairs are made so that nothing but grammar tells their members apart."""

from dataclasses import dataclass
from typing import Literal

from tsumiki.data.mixing import permutation, seed_of

PAIRS = 200
"""Pairs of each paradigm."""


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one place, one of them right and one wrong."""

    good: str
    bad: str


Group = tuple[Pair, ...]
"""Pairs that belong together: what makes one sentence right makes another wrong."""


def contrast(first: str, second: str, a: str, b: str) -> Group:
    """Two frames with a gap `_`; the first takes `a` and the second takes `b`.

        contrast("The dog _ asleep.", "The dogs _ asleep.", "is", "are")

        The dog is asleep.    * The dog are asleep.
        The dogs are asleep.  * The dogs is asleep.

    Each filler is right once and wrong once, in the same frames. So a model that knows how frequent words are and
    nothing else, or that likes short sentences, has exactly one of the two right, whatever its frequencies are.
    """
    return (
        Pair(good=first.replace("_", a), bad=first.replace("_", b)),
        Pair(good=second.replace("_", b), bad=second.replace("_", a)),
    )


def swap(frame: str, a: str, b: str) -> Group:
    """A frame with two gaps; `a` before `b` is right, `b` before `a` is wrong. Both sentences have the same words."""
    before, between, after = frame.split("_")
    return (Pair(good=f"{before}{a}{between}{b}{after}", bad=f"{before}{b}{between}{a}{after}"),)


@dataclass(frozen=True)
class Paradigm:
    """Minimal pairs about one rule.

    Args:
        name: what it is called in results.
        language: `en` or `ja`.
        rule, rule_ja: the rule, for people.
        groups: all that its templates make; a few of them become the test.
    """

    name: str
    language: Literal["en", "ja"]
    rule: str
    rule_ja: str
    groups: tuple[Group, ...]

    @property
    def pairs(self) -> list[Pair]:
        """The paradigm's 200 pairs, always the same, in an order that looks random."""
        size = len(self.groups[0])
        order = permutation(len(self.groups), seed_of(self.name))[: PAIRS // size]
        return [pair for number in order for pair in self.groups[number]]
