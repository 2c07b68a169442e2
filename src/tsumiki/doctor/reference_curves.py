"""How well real runs predicted held-out text after so many tokens: what is normal for a size, on a named text.

The curves lie in `reference_curves.json`; `benchmarks/reference_curves.py` makes it from runs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from tsumiki.doctor.history import History

SAME_TEXT, OTHER_TEXT = 0.15, 0.4
"""How far a run may be from the reference curves, relatively, before it is told: on their text, and on another."""

FURTHEST = 2.5
"""How many times larger or smaller than every reference a model may be and still be compared."""


@dataclass(frozen=True)
class Curve:
    """One language of one reference run.

    Args:
        run: its name.
        parameters: of its model.
        language, corpus: what was held out: its language, and what it is called.
        tokens: of that language, trained on so far.
        bits_per_byte: on the held-out text then.
    """

    run: str
    parameters: int
    language: str
    corpus: str
    tokens: tuple[float, ...]
    bits_per_byte: tuple[float, ...]

    def at(self, tokens: float) -> float:
        """Bits per byte after so many tokens, interpolated over their logarithm."""
        return float(np.interp(np.log(tokens), np.log(self.tokens), self.bits_per_byte))


@dataclass(frozen=True)
class Expected:
    """What is normal after so many tokens.

    Args:
        low, high: the reference runs' bits per byte, with the tolerance.
        middle: their mean, without.
        runs: their names and sizes, and their text.
        same_text: whether the run was measured on the same text.
    """

    low: float
    middle: float
    high: float
    runs: tuple[Curve, ...]
    same_text: bool


def expected(curves: Iterable[Curve], *, language: str, corpus: str, tokens: float, parameters: int) -> Expected | None:
    """What models of the next smaller and the next larger size reached after so many tokens; None where none is near.

    Curves on the same text come first; only where there are none, those on other texts are taken, with more tolerance.
    """
    near = [
        curve
        for curve in curves
        if curve.language == language
        and curve.tokens[0] <= tokens <= curve.tokens[-1]
        and 1 / FURTHEST <= curve.parameters / parameters <= FURTHEST
    ]
    same = [curve for curve in near if curve.corpus == corpus]
    near = same or near
    smaller = [curve for curve in near if curve.parameters <= parameters]
    larger = [curve for curve in near if curve.parameters > parameters]
    bracket: list[Curve] = []
    for side, sizes in ((smaller, max), (larger, min)):
        if side:
            size = sizes(curve.parameters for curve in side)
            bracket += [curve for curve in side if curve.parameters == size]
    if not bracket:
        return None
    values = [curve.at(tokens) for curve in bracket]
    tolerance = SAME_TEXT if same else OTHER_TEXT
    return Expected(
        low=min(values) * (1 - tolerance),
        middle=sum(values) / len(values),
        high=max(values) * (1 + tolerance),
        runs=tuple(bracket),
        same_text=bool(same),
    )


@cache
def shipped() -> tuple[Curve, ...]:
    """The curves that come with tsumiki."""
    content = files("tsumiki.doctor").joinpath("reference_curves.json").read_text(encoding="utf-8")
    return tuple(
        Curve(**{**entry, "tokens": tuple(entry["tokens"]), "bits_per_byte": tuple(entry["bits_per_byte"])})
        for entry in json.loads(content)
    )


def curves_of(history: History, corpora: Mapping[str, str]) -> list[dict[str, Any]]:
    """A run as reference curves, as the file holds them.

    Args:
        corpora: what the text of a language is called, where the sources' names do not say it.
    """
    curves = []
    for language in history.languages:
        points = [
            (round(history.tokens(line["step"], language)), round(line["bits_per_byte"][language], 4))
            for line in history.evaluations
            if line["step"] > 0
        ]
        curves.append(
            {
                "run": history.manifest["name"],
                "parameters": history.parameters,
                "language": language,
                "corpus": corpora.get(language, history.corpus(language)),
                "tokens": [tokens for tokens, _ in points],
                "bits_per_byte": [bits for _, bits in points],
            }
        )
    return curves


def described(runs: Sequence[Curve]) -> str:
    """The reference runs in a few words: `gpt-oss-1m (1.0M) on sample-en`."""
    return ", ".join(f"{curve.run} ({curve.parameters / 1e6:.1f}M) on {curve.corpus}" for curve in runs)
