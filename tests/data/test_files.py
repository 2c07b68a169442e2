"""Every format and compression gives the same rows; every damaged file gives one sentence."""

import csv
import gzip
import io
import json
import lzma
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tsumiki.data import files
from tsumiki.data.files import Row, read_rows
from tsumiki.errors import UserError

STORIES = ['A frog sat.\n\nIt, "too", jumped.', "「かえる」、\u2028とんだ。", "x\r\ny 🐸", "plain"]
GROUPS = ["a-1", "a-2", "b-1", "c-1"]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def rows(path: Path, field: str = "story", group: str | None = "group", separator: str = "<|endoftext|>") -> list[Row]:
    return list(read_rows(path, field=field, group_field=group, separator=separator))


def as_jsonl() -> bytes:
    lines = [
        json.dumps({"story": story, "group": group}, ensure_ascii=False)
        for story, group in zip(STORIES, GROUPS, strict=True)
    ]
    return ("\n".join(lines)).encode("utf-8")


def as_csv() -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("id", "story", "group"), *((7, s, g) for s, g in zip(STORIES, GROUPS, strict=True))])
    return text.getvalue().encode("utf-8")


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize(("ending", "content"), [(".jsonl", as_jsonl()), (".csv", as_csv())])
def test_jsonl_and_csv(tmp_path: Path, ending: str, content: bytes, compression: str) -> None:
    path = tmp_path / f"stories{ending}{compression}"
    path.write_bytes(COMPRESS[compression](content))
    assert [(row.text, row.group) for row in rows(path)] == list(zip(STORIES, GROUPS, strict=True))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "stories.parquet"
    pq.write_table(pa.table({"n": [1, 2, 3, 4], "story": STORIES, "group": GROUPS}), path)
    assert [(row.place, row.text, row.group) for row in rows(path)] == [
        (n + 1, story, group) for n, (story, group) in enumerate(zip(STORIES, GROUPS, strict=True))
    ]


def test_groups_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"story": "x", "group": 7}\n', encoding="utf-8")
    pq.write_table(pa.table({"story": ["x"], "group": [7]}), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.jsonl") == rows(tmp_path / "a.parquet") == [Row(1, "x", "7")]


@pytest.mark.parametrize("compression", COMPRESS)
def test_txt_documents_stand_between_separators(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"stories.txt{compression}"
    path.write_bytes(COMPRESS[compression](b"one\r\n\r\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\n"))
    assert [row.text for row in rows(path, group=None)] == ["one\r\n\r\ntwo", "three"]


def test_a_txt_file_without_separator_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("\ufeff一\n\n二\n".encode())
    assert rows(path, group=None) == [Row(1, "一\n\n二")]
    assert [row.text for row in rows(path, group=None, separator="\n\n")] == ["一", "二"]


def test_reading_in_small_pieces_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 3)
    for name, content in (("a.jsonl", as_jsonl()), ("a.csv.zst", COMPRESS[".zst"](as_csv()))):
        path = tmp_path / name
        path.write_bytes(content)
        assert [row.text for row in rows(path)] == STORIES
    path = tmp_path / "a.txt"
    path.write_bytes("いろは-----にほ-----へと".encode())
    assert [row.text for row in rows(path, group=None, separator="-----")] == ["いろは", "にほ", "へと"]


def test_zstandard_frames_may_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(COMPRESS[".zst"](b"one<|endoftext|>") + COMPRESS[".zst"](b"two"))
    assert [row.text for row in rows(path, group=None)] == ["one", "two"]


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["truncated", "replaced"])
def test_damaged_compression(tmp_path: Path, compression: str, damage: str) -> None:
    path = tmp_path / f"a.jsonl{compression}"
    whole = COMPRESS[compression](as_jsonl() * 50)
    path.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"no such format, this is plain text")
    with pytest.raises(UserError, match=r"a\.jsonl\..*damaged or incomplete"):
        rows(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"story": "x", "group": "y"}\n{"story": \n', r"a\.jsonl, line 2: this is not JSON"),
        ("a.jsonl", b'["x"]\n', r"line 1: each line must hold a JSON object"),
        ("a.jsonl", b'{"storey": "x"}\n', r"line 1: the object has no field 'story'; did you mean 'storey'"),
        ("a.jsonl", b'{"story": null}\n', r"line 1: the field 'story' holds nothing where text belongs"),
        ("a.jsonl", b'{"story": 3}\n', r"the field 'story' holds a value of type int where text belongs"),
        ("a.jsonl", b'{"story": "\\ud83d"}\n', r"line 1: the field 'story' holds \\ud83d, half of a surrogate pair"),
        ("a.jsonl", b'\n{"story": "x"}\n', r"line 2: the object has no field 'group'; known are story"),
        ("a.jsonl", '{"story": "あ"}'.encode("cp932"), r"line 1: the byte 0x82 is not UTF-8.*iconv"),
        ("a.txt", b"fine\n\xff\xfe", r"a\.txt, line 2: the byte 0xff is not UTF-8"),
        ("a.csv", b"tale,group\nx,y\n", r"a\.csv, line 1: the header has no field 'story'; known are tale, group"),
        ("a.csv", b"story,group\nx,y\nx\n", r"a\.csv, line 3: 1 values, but the header names 2 columns"),
        ("a.csv", b'story,group\n"x"y,z\n', r"a\.csv, line 2: this is not CSV"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: this is no readable parquet file"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        rows(path, group=None if name.endswith(".txt") else "group")
    assert "\n" not in str(caught.value)


def test_parquet_without_the_column_or_with_other_values(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"stories": ["x"], "story": [3]}), path)
    with pytest.raises(UserError, match=r"row 1: the column 'story' holds a value of type int"):
        rows(path, group=None)
    with pytest.raises(UserError, match=r"the table has no field 'storiez'; did you mean 'stories'"):
        rows(path, field="storiez", group=None)


@pytest.mark.parametrize("name", ["a.json", "a", "a.gz", "a.parquet.gz", "a.jsonl.bz2"])
def test_unknown_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"is of no known kind: a name ends in \.txt, \.jsonl, \.csv, \.parquet"):
        rows(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_what_is_too_long_for_a_document_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(files, "CHUNK", 10)
    monkeypatch.setattr(files, "MAX_DOCUMENT", 100)
    path = tmp_path / name
    path.write_text("word\n" * 1000 if name == "a.txt" else "[" + "1, " * 1000, encoding="utf-8")
    with pytest.raises(UserError, match=r"separator" if name == "a.txt" else r"line 1 is longer than 100 bytes"):
        rows(path, group=None)


def test_a_txt_file_has_no_groups(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a txt file has no fields"):
        rows(tmp_path / "a.txt")


@pytest.mark.parametrize(("library", "name"), [("zstandard", "a.txt.zst"), ("pyarrow", "a.parquet")])
def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=re.escape("pip install 'tsumiki[data]'")):
        rows(tmp_path / name, group=None)
