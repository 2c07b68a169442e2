"""All metrics of a language's samples at once, beside the same metrics of the real texts."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tsumiki.evaluate.classifier import FOLDS, two_sample_test
from tsumiki.evaluate.diversity import compression_ratio, distinct, first_units, self_bleu
from tsumiki.evaluate.memorisation import memorisation
from tsumiki.evaluate.repetition import longest_repeated_span, repetition
from tsumiki.evaluate.samples import Sample, cut_to_equal_length
from tsumiki.evaluate.surface import has_unclosed, script_mixing
from tsumiki.evaluate.units import units

DISTINCT_UNITS = 5000
"""Words (characters) over which distinct-n is counted, if there are as many."""


def judge_texts(samples: Sequence[Sample], training: Iterable[str] | None, language: str) -> dict[str, Any]:
    """Every metric, of the model's texts (`generated`) and of what the stories really say (`real`).

    Each sample's two texts are first cut to the same length, so that no metric sees a difference of length; only
    whether texts end, brackets close and bytes are valid is asked of the whole texts.

    Args:
        samples: of one language.
        training: all training texts of the language, for what is copied; None if they are not at hand.
    """
    pairs = [cut_to_equal_length(sample, language) for sample in samples]
    kinds = {"generated": [text for text, _ in pairs], "real": [real for _, real in pairs]}
    lengths = {kind: sum(len(units(text, language)) for text in texts) for kind, texts in kinds.items()}
    total = min(DISTINCT_UNITS, *lengths.values())
    figures: dict[str, Any] = {kind: describe(texts, language, distinct_units=total) for kind, texts in kinds.items()}
    whole = {
        "generated": [(sample.text, sample.ended) for sample in samples],
        "real": [(sample.real, True) for sample in samples],
    }
    for kind, texts in whole.items():
        unclosed = [has_unclosed(text, complete=complete) for text, complete in texts]
        figures[kind]["unclosed"] = sum(unclosed) / len(unclosed)
    figures["generated"]["ended"] = sum(sample.ended for sample in samples) / len(samples)
    figures["generated"]["invalid_utf8"] = _ratio(
        sum(sample.invalid_bytes for sample in samples), sum(sample.num_bytes for sample in samples)
    )
    if training is not None:
        for kind, found in memorisation(kinds, training, language).items():
            figures[kind] |= {"memorised": found.rate, "longest_copied": found.longest}
    if len(samples) >= FOLDS:
        told_apart = two_sample_test(kinds["real"], kinds["generated"])
        low, high = told_apart.interval
        figures["told_apart"] = {"value": told_apart.value, "low": low, "high": high, "texts": told_apart.total}
    return {"samples": len(samples), "distinct_units": total, **figures}


def describe(texts: Sequence[str], language: str, *, distinct_units: int) -> dict[str, float]:
    """The metrics that texts have by themselves. Repetition is a mean over texts, the longest span the longest of all.

    Args:
        distinct_units: see `distinct`.
    """
    symbols = [units(text, language) for text in texts]
    cut = first_units(symbols, distinct_units)
    repeated = [value for text in symbols if not math.isnan(value := repetition(text))]
    return {
        **{f"distinct_{n}": distinct(cut, n) for n in range(1, 5)},
        "self_bleu": self_bleu(symbols),
        "repetition_4": _ratio(sum(repeated), len(repeated)),
        "longest_repeated": max(map(longest_repeated_span, symbols), default=0),
        "compression_ratio": compression_ratio(texts),
        "script_mixing": _ratio(sum(script_mixing(text, language) for text in texts), len(texts)),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
