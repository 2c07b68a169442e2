"""All figures of a model: what `tsumiki evaluate` computes, and the file that it writes."""

import json
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tsumiki.config import dump
from tsumiki.data import PackedSource, Source, ValidationSet
from tsumiki.evaluate.bits_per_byte import BitsPerByte, Bucket, by_position, token_losses, total
from tsumiki.evaluate.likelihood import log_probabilities
from tsumiki.evaluate.minimal_pairs import PARADIGMS, Paradigm, score_pairs, shortness_scorer, unigram_scorer
from tsumiki.evaluate.samples import Sample, draw_samples
from tsumiki.evaluate.statistics import Proportion
from tsumiki.evaluate.texts import judge_texts
from tsumiki.files import sha256
from tsumiki.generate import Sampling, TextModel
from tsumiki.models.artefact import WEIGHTS
from tsumiki.spec import spec
from tsumiki.version import __version__

FORMAT = 1
FILE = "evaluation.json"

Progress = Callable[[str], None]
"""Called with what is being done."""


@spec
class EvaluationConfig:
    """What is evaluated, and how much of it.

    Args:
        max_bytes: UTF-8 bytes of each held-out source that are read for bits per byte; None for all.
        window: tokens of the windows that they are read in; None for the model's context.
        samples: texts drawn for each language; 0 for none.
        max_tokens: tokens of such a text.
        temperature: at which they are drawn; 1 is the model's own distribution.
        minimal_pairs: score the minimal pairs.
        seed: of the choice of openings, and of the texts.
    """

    max_bytes: int | None = 500_000
    window: int | None = None
    samples: int = 64
    max_tokens: int = 200
    temperature: float = 1.0
    minimal_pairs: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "window", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but must be 1 or more.")
        if self.samples < 0:
            raise ValueError(f"samples is {self.samples}, but must be 0 or more.")
        Sampling(temperature=self.temperature)  # says so if it is none


def evaluate(
    model: TextModel,
    held_out: Sequence[PackedSource],
    training: Sequence[Source],
    config: EvaluationConfig,
    *,
    progress: Progress = lambda what: None,
) -> tuple[dict[str, Any], dict[str, list[Sample]]]:
    """Everything that can be said about a model without a judge.

    Args:
        model: the model and its tokenizer.
        held_out: packed with the model's tokenizer; figures are given by source and by language.
        training: what the model was trained on, to see what it copied; empty if that is not at hand.

    Returns:
        The figures, plain data with the settings that they were made with, see `docs/en/evaluation.md`; and the drawn
        samples by language.
    """
    languages = list(dict.fromkeys(source.language for source in held_out))
    figures: dict[str, Any] = {
        **describe_evaluation(model, held_out, config),
        "bits_per_byte": read_text(model, held_out, config, progress),
        "texts": {},
    }
    samples: dict[str, list[Sample]] = {}
    for language in languages:
        samples[language] = write_texts(model, held_out, language, config, progress)
        if samples[language]:
            progress(f"{language}: judging texts")
            known = [source for source in training if source.language == language]
            figures["texts"][language] = judge_texts(samples[language], texts_of(known) if known else None, language)
    figures["samples"] = {language: [asdict(sample) for sample in drawn] for language, drawn in samples.items()}
    paradigms = [paradigm for paradigm in PARADIGMS if paradigm.language in languages]
    if config.minimal_pairs and paradigms:
        progress("minimal pairs")
        figures["minimal_pairs"] = read_pairs(model, held_out, paradigms)
    return figures, samples


def write_texts(
    model: TextModel, held_out: Sequence[PackedSource], language: str, config: EvaluationConfig, progress: Progress
) -> list[Sample]:
    """The texts of one language that are judged."""
    return draw_samples(
        model,
        [source for source in held_out if source.language == language],
        number=config.samples,
        max_tokens=min(config.max_tokens, model.model.config.max_seq_len),
        temperature=config.temperature,
        seed=config.seed,
        progress=lambda done: progress(f"{language}: text {done} of {config.samples}"),
    )


def texts_of(sources: Sequence[Source]) -> Iterator[str]:
    """All training texts of some sources."""
    return (document.text for source in sources for document in source.documents("train"))


def describe_evaluation(model: TextModel, held_out: Sequence[PackedSource], config: EvaluationConfig) -> dict[str, Any]:
    """What the figures are of, and how they were made."""
    weights = model.checkpoint / WEIGHTS
    return {
        "format": FORMAT,
        "made": {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"tsumiki": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
            "device": str(model.model.unembedding.device),
            "backend": dump(model.model.backend),
        },
        "checkpoint": {
            "path": model.checkpoint.as_posix(),
            "weights_sha256": sha256(weights),
            "tokenizer_sha256": model.tokenizer.sha256,
            "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
            "context": model.model.config.max_seq_len,
        },
        "settings": dump(config),
        "held_out": [
            {
                "name": source.name,
                "language": source.language,
                "content_sha256": source.manifest["content_sha256"],
                "documents": source.num_documents,
                "bytes": source.num_bytes,
            }
            for source in held_out
        ],
    }


def read_text(
    model: TextModel, held_out: Sequence[PackedSource], config: EvaluationConfig, progress: Progress
) -> dict[str, Any]:
    """Bits per byte and per character by language and by source, and by position in the window."""
    token_bytes = [len(model.tokenizer.token_bytes(token)) for token in range(model.tokenizer.vocab_size)]
    sources: dict[str, BitsPerByte] = {}
    languages: dict[str, BitsPerByte] = {}
    positions: dict[str, list[Bucket]] = {}
    for source in held_out:
        progress(f"reading {source.name}")
        text = ValidationSet(
            source, seq_len=config.window or model.model.config.max_seq_len, max_bytes=config.max_bytes
        )
        read = list(token_losses(model.model, text))
        sources[source.name] = found = total(read, text)
        languages[source.language] = languages[source.language] + found if source.language in languages else found
        positions[source.name] = by_position(read, text, token_bytes)
    return {
        "languages": {language: _bits(found) for language, found in languages.items()},
        "sources": {name: _bits(found) for name, found in sources.items()},
        "positions": {
            name: [{**asdict(bucket), "bits_per_byte": bucket.bits_per_byte} for bucket in buckets]
            for name, buckets in positions.items()
        },
    }


def _bits(found: BitsPerByte) -> dict[str, float]:
    return {
        "bits_per_byte": found.bits_per_byte,
        "bits_per_character": found.bits_per_character,
        "nats_per_token": found.nats_per_token,
        "end_of_text_nats": found.end_of_text,
        "bytes": found.num_bytes,
        "characters": found.num_characters,
        "tokens": found.num_tokens,
        "documents": found.num_documents,
    }


def read_pairs(model: TextModel, held_out: Sequence[PackedSource], paradigms: Sequence[Paradigm]) -> dict[str, Any]:
    """Minimal pairs by paradigm and language, with two controls: token frequencies in the held-out text, and length."""
    counts = np.sum([source.token_counts(model.tokenizer.vocab_size) for source in held_out], axis=0)
    results = score_pairs(paradigms, partial(log_probabilities, model.model, model.tokenizer))
    unigram = score_pairs(paradigms, unigram_scorer(model.tokenizer, counts))
    shortness = score_pairs(paradigms, shortness_scorer(model.tokenizer))
    by_language: dict[str, Proportion] = {}
    for paradigm in paradigms:
        earlier = by_language.get(paradigm.language, Proportion(0, 0))
        by_language[paradigm.language] = earlier + results[paradigm.name]
    return {
        "languages": {language: _proportion(found) for language, found in by_language.items()},
        "paradigms": [
            {
                "name": paradigm.name,
                "language": paradigm.language,
                **_proportion(results[paradigm.name]),
                "unigram": unigram[paradigm.name].value,
                "shortness": shortness[paradigm.name].value,
            }
            for paradigm in paradigms
        ],
    }


def _proportion(found: Proportion) -> dict[str, float]:
    low, high = found.interval
    return {"accuracy": found.value, "low": low, "high": high, "pairs": found.total}


def save(figures: dict[str, Any], path: Path) -> None:
    """Write figures as JSON, whole or not at all; NaN, where there was nothing to measure, is null."""
    partial_file = path.with_name(f".{path.name}")
    try:
        text = json.dumps(_without_nan(figures), ensure_ascii=False, indent=1, allow_nan=False)
        partial_file.write_text(text + "\n", encoding="utf-8")
        partial_file.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial_file.unlink()


def _without_nan(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nan(entry) for key, entry in value.items()}
        case list():
            return [_without_nan(entry) for entry in value]
        case float() if math.isnan(value):
            return None
        case _:
            return value
