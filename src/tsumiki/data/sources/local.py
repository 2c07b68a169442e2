"""Text of one's own, from files."""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tsumiki.data.document import Document
from tsumiki.data.files import file_format, read_rows
from tsumiki.data.sources.base import Source, SourceConfig, Split, check_fraction, group_of, split_documents
from tsumiki.errors import UserError
from tsumiki.files import sha256
from tsumiki.spec import spec


class LocalSource(Source):
    """txt, jsonl, csv or parquet files, plain or compressed (gz, xz, zst).

    A document is a line of a jsonl file, a row of a csv or parquet file, and in a txt file what stands between two
    separators: by default `<|endoftext|>`, so a txt file without one is a single document.

    A document's group is the value of `group_field` without a final number (`3f2a-7` -> `3f2a`), or else its text.
    Without `validation`, a fraction of the groups is held out; with it, training leaves out every document whose group
    occurs in validation. Either way neither siblings nor copies of a document stand on both sides.
    """

    @spec
    class Config(SourceConfig):
        """Where the files are and what they hold.

        Args:
            train: a path or a glob pattern, or a list of them; relative to the working directory.
            validation: the same, for held-out text; None takes `validation_fraction` of the training text.
            field: the field or column that holds the text.
            group_field: the field or column whose equal values must not be parted.
            separator: what stands between the documents of a txt file.
        """

        kind: Literal["local"] = "local"
        train: str | tuple[str, ...]
        validation: str | tuple[str, ...] | None = None
        validation_fraction: float = 0.01
        field: str = "text"
        group_field: str | None = None
        separator: str = "<|endoftext|>"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_fraction(self.validation_fraction)
            if not self.separator:
                raise ValueError("separator is empty; write for example '<|endoftext|>' or '\\n\\n'.")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config = config
        self._files: dict[Split, list[Path]] = {"train": _files(config.train)}
        if config.validation is not None:
            self._files["validation"] = _files(config.validation)
            for path in self._files["validation"]:
                if path in self._files["train"]:
                    raise UserError(f"The file '{path}' is named for both train and validation; name it once.")

    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split, file after file."""
        own_validation = "validation" in self._files
        fraction = self.config.validation_fraction
        return split_documents(self._rows, split, own_validation=own_validation, fraction=fraction)

    def _identify(self) -> dict[str, Any]:
        config = self.config
        return {
            "kind": "local",
            "field": config.field,
            "group_field": config.group_field,
            "separator": config.separator,
            "validation_fraction": config.validation_fraction,
            "files": {split: [[path.name, sha256(path)] for path in paths] for split, paths in self._files.items()},
        }

    def _rows(self, split: Split) -> Iterator[tuple[str, Document]]:
        config = self.config
        for path in self._files[split]:
            rows = read_rows(path, field=config.field, group_field=config.group_field, separator=config.separator)
            for row in rows:
                key = f"{path.name}:{row.place}"
                document = Document(text=row.text, language=self.language, source=self.name, key=key)
                yield (row.text if row.group is None else group_of(row.group)), document


def _files(patterns: str | tuple[str, ...]) -> list[Path]:
    """Every file that a path or pattern names, once, in sorted order within a pattern."""
    found: dict[Path, None] = {}
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            raise UserError(f"'{pattern}' is a directory; name its files, for example '{pattern.rstrip('/')}/*.jsonl'.")
        matches = [path] if path.is_file() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            what = "No file matches" if glob.has_magic(pattern) else "There is no file"
            raise UserError(f"{what} '{pattern}' (looked in '{Path.cwd()}').")
        for match in matches:
            file_format(match)
            found[match] = None
    if not found:
        raise UserError("A local source names no file; give `train` a path.")
    return list(found)
