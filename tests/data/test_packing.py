"""Packed tokens: what was written is what is read, in place, or one sentence says that it is not."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from tests.data.conftest import make_documents

from tsumiki.data import PackedSource, Tokenizer, pack
from tsumiki.data.cache import Cache, write_file
from tsumiki.errors import UserError

TEXTS = ["A frog sat on a log.", "", "かえるがとんだ。", " \n", "x", "Long. " * 97, "<|endoftext|> is text here."]
FULL = [text for text in TEXTS if text.strip()]


def test_documents_come_back(packed: Callable[..., PackedSource], tokenizer: Tokenizer) -> None:
    source = packed(TEXTS)
    assert len(source.manifest["shards"]) == 2
    assert source.num_documents == len(FULL) == 5
    for index, text in enumerate(FULL):
        ids = source.document(index)
        assert ids.tolist() == [tokenizer.end_of_text_id, *tokenizer.encode(text)]
        assert ids.dtype == np.int64
        assert source.lengths[index] == len(ids)
        assert source.document(index, 1, 3).tolist() == ids[1:3].tolist()
        assert source.document(index, len(ids) - 1, 10**6).tolist() == ids[-1:].tolist()
    assert [source.key(index) for index in range(5)] == ["test:0", "test:2", "test:4", "test:5", "test:6"]
    with pytest.raises(IndexError, match="document 5 of 5"):
        source.document(5)


def test_sizes_and_counts(packed: Callable[..., PackedSource], tokenizer: Tokenizer) -> None:
    source = packed(TEXTS)
    assert source.num_bytes == sum(len(text.encode("utf-8")) for text in FULL)
    assert source.num_characters == sum(map(len, FULL))
    assert source.text_bytes.tolist() == [len(text.encode("utf-8")) for text in FULL]
    everything = np.concatenate([source.document(index) for index in range(5)])
    assert source.num_tokens == len(everything)
    expected = np.bincount(everything, minlength=tokenizer.vocab_size)
    assert (source.token_counts(tokenizer.vocab_size) == expected).all()


def test_manifest(packed: Callable[..., PackedSource], tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = packed(TEXTS)
    manifest = json.loads((tmp_path / "packed-test" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == source.manifest
    assert manifest["tokenizer_sha256"] == tokenizer.sha256
    assert manifest["empty_documents_left_out"] == 2
    assert (manifest["documents"], manifest["tokens"]) == (5, source.num_tokens)
    for shard in manifest["shards"]:
        data = (tmp_path / "packed-test" / shard["file"]).read_bytes()
        assert (shard["size"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_shard_size_changes_nothing_but_the_shards(packed: Callable[..., PackedSource]) -> None:
    many, one = packed(TEXTS, name="many", shard_tokens=1), packed(TEXTS, name="one", shard_tokens=10**6)
    assert (len(many.manifest["shards"]), len(one.manifest["shards"])) == (5, 1)
    assert many.manifest["content_sha256"] == one.manifest["content_sha256"]
    assert [many.document(i).tolist() for i in range(5)] == [one.document(i).tolist() for i in range(5)]


class _Wide(Tokenizer):
    """The sample tokenizer with room for more ids than 16 bits hold."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.text)
        self.vocab_size = 2**16 + 1


@pytest.mark.parametrize(("wide", "dtype"), [(False, "U16"), (True, "U32")])
def test_tokens_take_no_more_room_than_needed(tmp_path: Path, tokenizer: Tokenizer, wide: bool, dtype: str) -> None:
    pack(make_documents(TEXTS), _Wide(tokenizer) if wide else tokenizer, tmp_path)
    with safe_open(tmp_path / "00000.safetensors", framework="numpy") as shard:
        assert shard.get_slice("tokens").get_dtype() == dtype
    assert PackedSource(tmp_path, name="x", language="en").document(4)[0] == tokenizer.end_of_text_id


def test_progress_is_reported_in_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    done: list[int] = []
    pack(make_documents(TEXTS), tokenizer, tmp_path, report=done.append)
    assert done == [sum(len(text.encode("utf-8")) for text in FULL)]


def test_nothing_to_pack(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pack(make_documents(["", " "]), tokenizer, tmp_path)
    source = PackedSource(tmp_path, name="x", language="en")
    assert (source.num_documents, source.num_tokens) == (0, 0)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, change_a_byte, Path.unlink])
def test_a_damaged_shard(packed: Callable[..., PackedSource], tmp_path: Path, damage: Callable[[Path], None]) -> None:
    packed(TEXTS)
    directory = tmp_path / "packed-test"
    damage(directory / "00001.safetensors")
    with pytest.raises(
        UserError, match=r"00001\.safetensors' is missing, incomplete or was changed; delete the directory"
    ):
        PackedSource(directory, name="test", language="en")


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_damaged_manifest(
    packed: Callable[..., PackedSource], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    packed(TEXTS)
    damage(tmp_path / "packed-test" / "manifest.json")
    with pytest.raises(UserError, match=r"manifest\.json' is missing, incomplete or was changed; delete the directory"):
        PackedSource(tmp_path / "packed-test", name="test", language="en")


def hello(directory: Path) -> None:
    write_file(directory / "hello", b"hello")


def test_cache_writes_once_and_whole(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"))
    calls: list[Path] = []

    def write(directory: Path) -> None:
        calls.append(directory)
        hello(directory)

    first = cache.entry("thing", {"a": 1}, write)
    assert cache.entry("thing", {"a": 1}, write) == first
    assert len(calls) == 1
    assert cache.entry("thing", {"a": 2}, write) != first
    assert (first / "hello").read_bytes() == b"hello"
    assert sorted(path.name.split("-")[0] for path in cache.root.iterdir()) == ["thing", "thing"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))

    def write(directory: Path) -> None:
        hello(directory)
        raise UserError("the source is broken")

    with pytest.raises(UserError, match="the source is broken"):
        cache.entry("thing", 1, write)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_be_faster(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))

    def write(directory: Path) -> None:
        hello(directory)
        cache.entry("thing", 1, hello)

    entry = cache.entry("thing", 1, write)
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]
    assert (entry / "hello").read_bytes() == b"hello"


def test_a_full_disk(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(
        UserError, match=r"cannot be written: No space left on device; make room there, or name another"
    ):
        Cache(str(tmp_path)).entry("thing", 1, write)
    assert list(tmp_path.iterdir()) == []


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TSUMIKI_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().root == tmp_path / ".cache" / "tsumiki"
    monkeypatch.setenv("TSUMIKI_CACHE", "/elsewhere")
    assert Cache().root == Path("/elsewhere")
    assert Cache("/here").root == Path("/here")
