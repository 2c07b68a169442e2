"""Documents as tokens on disk: written once, read in place, checked against their hashes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from tsumiki.data.cache import write_file
from tsumiki.data.document import Document
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError

Progress = Callable[[str, int], None]
"""Called with what is being done and how many bytes of text are done."""

SHARD_TOKENS = 2**25
BATCH_CHARACTERS = 2**20


def pack(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    directory: Path,
    *,
    report: Callable[[int], None] = lambda done: None,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Write documents as safetensors shards and a `manifest.json`.

    Each document is stored as the end-of-text token and its tokens. A shard holds

        tokens      uint16, or uint32 for more than 65,536 ids    all documents, end to end
        offsets     int64 [documents + 1]                         where each begins
        bytes, characters  int64 [documents]                      the sizes of each text, in UTF-8 bytes and characters
        keys, key_offsets  uint8, int64 [documents + 1]           the documents' keys, UTF-8

    Documents without anything but white space are left out and counted.

    Args:
        documents: what to pack.
        tokenizer: how.
        directory: an empty directory.
        report: called with the bytes of text packed so far.
        shard_tokens: a shard ends with the document that reaches this size.
    """
    writer = _Writer(directory, tokenizer, shard_tokens)
    for batch in _batches(documents):
        writer.add(batch)
        report(writer.num_bytes)
    writer.finish()


class PackedSource:
    """Packed documents, read in place: only lengths are held in memory.

    Args:
        directory: what `pack` wrote.
        name: the source's name.
        language: the source's language.
        weight: the source's share in a mixture.

    Raises:
        UserError: a file is missing, truncated or changed.
    """

    def __init__(self, directory: Path, *, name: str, language: str, weight: float = 1.0) -> None:
        self.name = name
        self.language = language
        self.weight = weight
        self.manifest = _read_manifest(directory)
        paths = [_verified(directory, shard) for shard in self.manifest["shards"]]
        self._shards = [safe_open(path, framework="numpy") for path in paths]
        self._offsets = [shard.get_tensor("offsets") for shard in self._shards]
        self._first = np.cumsum([0, *(len(offsets) - 1 for offsets in self._offsets)])
        self.lengths = self._all([np.diff(offsets) for offsets in self._offsets])
        """Tokens of each document, its end-of-text token included."""
        self.text_bytes = self._all([shard.get_tensor("bytes") for shard in self._shards])
        self.text_characters = self._all([shard.get_tensor("characters") for shard in self._shards])
        self.end_of_text_id: int = self.manifest["end_of_text_id"]
        self.num_documents = len(self.lengths)
        self.num_tokens = int(self.lengths.sum())
        self.num_bytes = int(self.text_bytes.sum())
        self.num_characters = int(self.text_characters.sum())

    def document(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """The tokens of a document, or those from `start` to before `stop`."""
        shard, local = self._locate(index)
        begin, end = (int(offset) for offset in self._offsets[shard][local : local + 2])
        end = end if stop is None else min(end, begin + stop)
        return self._shards[shard].get_slice("tokens")[begin + start : end].astype(np.int64)

    def key(self, index: int) -> str:
        """What the source calls a document."""
        shard, local = self._locate(index)
        begin, end = (int(offset) for offset in self._shards[shard].get_slice("key_offsets")[local : local + 2])
        return self._shards[shard].get_slice("keys")[begin:end].tobytes().decode("utf-8")

    def token_counts(self, vocab_size: int) -> NDArray[np.int64]:
        """How often each token occurs."""
        counts = np.zeros(vocab_size, dtype=np.int64)
        for shard in self._shards:
            tokens = shard.get_slice("tokens")
            (size,) = tokens.get_shape()
            for begin in range(0, size, 2**20):
                counts += np.bincount(tokens[begin : min(begin + 2**20, size)], minlength=vocab_size)
        return counts

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents}")
        shard = int(np.searchsorted(self._first, index, side="right")) - 1
        return shard, index - int(self._first[shard])

    @staticmethod
    def _all(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


class _Writer:
    """Collects documents and writes a shard whenever there are enough."""

    def __init__(self, directory: Path, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self._directory = directory
        self._tokenizer = tokenizer
        self._shard_tokens = shard_tokens
        self._dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
        self._content = hashlib.sha256()
        self._empty = 0
        self._shards: list[dict[str, Any]] = []
        self.num_bytes = 0
        self._start_shard()

    def _start_shard(self) -> None:
        self._tokens: list[NDArray[Any]] = []
        self._bytes: list[int] = []
        self._characters: list[int] = []
        self._keys: list[bytes] = []
        self._size = 0

    def add(self, documents: list[Document]) -> None:
        full = [document for document in documents if document.text.strip()]
        self._empty += len(documents) - len(full)
        encoded = self._tokenizer.encode_batch([document.text for document in full])
        for document, ids in zip(full, encoded, strict=True):
            data = document.text.encode("utf-8")
            self._content.update(len(data).to_bytes(8, "little") + data)
            self._tokens.append(np.array([self._tokenizer.end_of_text_id, *ids], dtype=self._dtype))
            self._bytes.append(len(data))
            self._characters.append(len(document.text))
            self._keys.append(document.key.encode("utf-8"))
            self._size += len(ids) + 1
            self.num_bytes += len(data)
            if self._size >= self._shard_tokens:
                self._write_shard()

    def finish(self) -> None:
        if self._tokens:
            self._write_shard()
        manifest = {
            "tokenizer_sha256": self._tokenizer.sha256,
            "end_of_text_id": self._tokenizer.end_of_text_id,
            "content_sha256": self._content.hexdigest(),
            "documents": sum(shard["documents"] for shard in self._shards),
            "empty_documents_left_out": self._empty,
            "tokens": sum(shard["tokens"] for shard in self._shards),
            "bytes": sum(shard["bytes"] for shard in self._shards),
            "characters": sum(shard["characters"] for shard in self._shards),
            "shards": self._shards,
        }
        write_file(self._directory / "manifest.json", json.dumps(manifest, indent=1).encode("utf-8"))

    def _write_shard(self) -> None:
        tensors = {
            "tokens": np.concatenate(self._tokens),
            "offsets": _offsets(self._tokens),
            "bytes": np.array(self._bytes, dtype=np.int64),
            "characters": np.array(self._characters, dtype=np.int64),
            "keys": np.frombuffer(b"".join(self._keys), dtype=np.uint8),
            "key_offsets": _offsets(self._keys),
        }
        data = save(tensors)
        name = f"{len(self._shards):05d}.safetensors"
        write_file(self._directory / name, data)
        self._shards.append(
            {
                "file": name,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "documents": len(self._tokens),
                "tokens": self._size,
                "bytes": sum(self._bytes),
                "characters": sum(self._characters),
            }
        )
        self._start_shard()


def _offsets(parts: Iterable[Any]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about `BATCH_CHARACTERS` characters, enough to keep all cores busy."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        return json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{directory / 'manifest.json'}' {_way_out(directory)}") from error


def _verified(directory: Path, shard: dict[str, Any]) -> Path:
    path = directory / shard["file"]
    try:
        with path.open("rb") as file:
            intact = path.stat().st_size == shard["size"]
            intact = intact and hashlib.file_digest(file, "sha256").hexdigest() == shard["sha256"]
    except OSError:
        intact = False
    if not intact:
        raise UserError(f"'{path}' {_way_out(directory)}")
    return path


def _way_out(directory: Path) -> str:
    return f"is missing, incomplete or was changed; delete the directory '{directory}', and it is made again."
