"""What was made once and need not be made again: tokenizers, packed tokens, reports."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsumiki.errors import UserError

FORMAT = 1
"""Raised when what is written changes, so that older entries are left alone."""


class Cache:
    """Directories named by the hash of what they were made from.

    An entry is written under a temporary name and renamed when it is complete, so there are no half-written entries,
    and two processes may make the same one.

    Args:
        root: where the entries lie; None means `$TSUMIKI_CACHE`, or `~/.cache/tsumiki`.
    """

    def __init__(self, root: str | None = None) -> None:
        self.root = Path(root or os.environ.get("TSUMIKI_CACHE") or "~/.cache/tsumiki").expanduser()

    def entry(self, kind: str, identity: Any, write: Callable[[Path], None]) -> Path:
        """The directory of an entry; `write(directory)` fills it if there is none.

        Args:
            kind: what the entry is, for the directory's name.
            identity: plain data that decides what `write` writes.
            write: makes the entry's files in an empty directory.

        Raises:
            UserError: the cache cannot be written, for example because the disk is full.
        """
        digest = hashlib.sha256(json.dumps([FORMAT, identity], sort_keys=True).encode("utf-8")).hexdigest()
        target = self.root / f"{kind}-{digest[:32]}"
        if target.is_dir():
            return target
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix=".writing-") as temporary:
                directory = Path(temporary) / "entry"
                directory.mkdir()
                write(directory)
                _rename(directory, target)
        except OSError as error:
            raise UserError(
                f"The cache '{self.root}' cannot be written: {error.strerror or error}; make room there, "
                "or name another directory with data.cache or TSUMIKI_CACHE."
            ) from error
        return target


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(directory: Path, target: Path) -> None:
    try:
        directory.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another process was faster, and made the same
            raise
