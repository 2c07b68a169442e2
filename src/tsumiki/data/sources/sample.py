"""The stories that come with tsumiki."""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, Literal

from tsumiki.data.document import Document
from tsumiki.data.sources.base import Source, SourceConfig, Split
from tsumiki.spec import spec


class SampleSource(Source):
    """360 short stories, each in English and in Japanese (CC0). Every tenth is held out, the same in both languages."""

    @spec
    class Config(SourceConfig):
        """The sample stories of one language."""

        kind: Literal["sample"] = "sample"
        language: Literal["en", "ja"]

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.licence = config.licence or "CC0-1.0"
        self._file = resources.files("tsumiki").joinpath("sample", f"{config.language}.jsonl")

    def documents(self, split: Split) -> Iterator[Document]:
        """The stories of a split, in the order of their numbers."""
        wanted = {"train": "train", "validation": "valid"}[split]
        for line in self._file.read_text(encoding="utf-8").splitlines():
            story = json.loads(line)
            if story["split"] == wanted:
                yield Document(text=story["story"], language=self.language, source=self.name, key=story["id"])

    def _identify(self) -> dict[str, Any]:
        return {"kind": "sample", "sha256": hashlib.sha256(self._file.read_bytes()).hexdigest()}
