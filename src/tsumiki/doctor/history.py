"""What a training left in its directory, read back: what it was told to do, what it measured, and what was verified."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsumiki.config import load_mapping, parse
from tsumiki.doctor.receipt import RECEIPT
from tsumiki.errors import UserError
from tsumiki.models import ModelConfig
from tsumiki.models.language_model import DecoderConfig


@dataclass(frozen=True)
class History:
    """A finished or stopped run.

    Args:
        directory: where it lies.
        config: `config.yaml`, as plain data.
        model: the architecture in it.
        manifest: what it was made with.
        updates: the lines of `metrics.jsonl` about updates, by step.
        evaluations: those about evaluations, by step.
        receipt: the doctor's; None if there is none.
    """

    directory: Path
    config: Mapping[str, Any]
    model: DecoderConfig
    manifest: Mapping[str, Any]
    updates: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    receipt: Mapping[str, Any] | None

    @property
    def parameters(self) -> int:
        """How many the model has."""
        return self.manifest["sessions"][-1]["parameters"]

    @property
    def step(self) -> int:
        """The last step that something was written about."""
        return max(line["step"] for line in (*self.updates, *self.evaluations))

    @property
    def finished(self) -> bool:
        """Whether all steps were made and the last one evaluated."""
        return bool(self.evaluations) and self.evaluations[-1]["step"] == self.config["train"]["steps"]

    @property
    def unexamined(self) -> bool:
        """Whether some session trained without the doctor."""
        return any(session["doctor"] == "skipped" for session in self.manifest["sessions"])

    @property
    def languages(self) -> list[str]:
        """Of the evaluations, in their order."""
        return list(self.evaluations[-1]["bits_per_byte"]) if self.evaluations else []

    @property
    def from_scratch(self) -> bool:
        """Whether it began with random weights, so that its tokens are all that the model has seen."""
        return self.config.get("start_from") is None

    def can(self, question: str) -> bool:
        """Whether there is something to ask about: `languages`, which only evaluations tell, or `from_scratch`."""
        return bool(getattr(self, question))

    def corpus(self, language: str) -> str:
        """What the text of a language is called: its sources' names, or the data sets' where they have one."""
        sources = [source for source in self.manifest["data"]["sources"] if source["language"] == language]
        return " + ".join(source["identity"].get("dataset", source["name"]) for source in sources)

    def tokens(self, step: int, language: str | None = None) -> float:
        """Tokens trained on after a step, of one language or of all; interpolated between two lines."""

        def seen(line: Mapping[str, Any]) -> int:
            return sum(line["tokens"].values()) if language is None else line["tokens"].get(language, 0)

        return self._interpolated(step, [seen(line) for line in self.updates])

    def seconds(self, step: int) -> float:
        """Time that the updates up to a step took; interpolated between two lines."""
        return self._interpolated(step, [line["seconds"] for line in self.updates])

    def _interpolated(self, step: int, values: Sequence[float]) -> float:
        return float(np.interp(step, [0, *(line["step"] for line in self.updates)], [0, *values]))


def read_history(directory: Path) -> History:
    """Read a run's directory.

    Raises:
        UserError: "'runs/a' holds no run: it has no manifest.json; ...", or a file in it is damaged.
    """
    manifest = _read_json(directory / "manifest.json", directory)
    config = load_mapping(directory / "config.yaml")
    lines = _read_lines(directory / "metrics.jsonl", directory)
    receipt = directory / RECEIPT
    history = History(
        directory=directory,
        config=config,
        model=parse(config["model"], ModelConfig, where=f"{directory / 'config.yaml'}, model"),  # type: ignore[arg-type]
        manifest=manifest,
        updates=[line for line in lines if line["kind"] == "train"],
        evaluations=[line for line in lines if line["kind"] == "evaluation"],
        receipt=_read_json(receipt, directory) if receipt.is_file() else None,
    )
    if not history.updates:
        raise UserError(f"'{directory}/metrics.jsonl' tells of no update yet; let the training go on for a while.")
    return history


def _read_json(path: Path, directory: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"'{directory}' holds no run: it has no {path.name}; name a directory that `tsumiki train` made."
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"'{path}' is damaged: it is no JSON ({error}).") from error


def _read_lines(path: Path, directory: Path) -> list[dict[str, Any]]:
    """The whole lines of `metrics.jsonl`; a last one that a crash tore apart is left out."""
    if not path.is_file():
        raise UserError(
            f"'{directory}' holds no run: it has no {path.name}; name a directory that `tsumiki train` made."
        )
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if line.endswith("\n"):
            try:
                lines.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"'{path}' is damaged: line {number} is no JSON ({error}).") from error
    return lines
