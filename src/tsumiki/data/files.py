"""Rows of text from files: txt, jsonl, csv and parquet, plain or compressed, read piece by piece.

A file may be larger than the memory; a document or a line may not be larger than `MAX_DOCUMENT` bytes, which no story
is: a longer one means that the file is not what its name says.
"""

import csv
import difflib
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumiki.errors import UserError

FORMATS = (".txt", ".jsonl", ".csv", ".parquet")
COMPRESSIONS = (".gz", ".xz", ".zst")
CHUNK = 2**20
MAX_DOCUMENT = 2**24


@dataclass(frozen=True)
class Row:
    """A document as it stands in a file.

    Args:
        place: its number in the file: the line, the row, or for txt the document, counted from 1.
        text: the field that holds the text.
        group: the field that holds the group, if one was asked for.
    """

    place: int
    text: str
    group: str | None = None


def read_rows(path: Path, *, field: str, group_field: str | None, separator: str) -> Iterator[Row]:
    """The rows of a file, in its order.

    Args:
        path: the name's ending says the format and the compression: `stories.jsonl.xz`.
        field: the field (jsonl) or column (csv, parquet) that holds the text.
        group_field: a second field to read, or None.
        separator: what stands between two documents of a txt file. Line ends around a document are not part of it.

    Raises:
        UserError: the format is unknown; the file is damaged or not UTF-8; a line is not JSON; a field is missing or
            holds no text. The sentence names file and line.
    """
    match file_format(path):
        case ".txt":
            if group_field is not None:
                raise UserError(f"{path}: a txt file has no fields, so group_field '{group_field}' cannot be read.")
            return _read_txt(path, separator)
        case ".jsonl":
            return _read_jsonl(path, field, group_field)
        case ".csv":
            return _read_csv(path, field, group_field)
        case _:
            return _read_parquet(path, field, group_field)


def file_format(path: Path) -> str:
    """The file's format, one of `FORMATS`; raises a UserError for any other file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] and suffixes[-1] in COMPRESSIONS
    kind = suffixes[-2:-1] if compressed else suffixes[-1:]
    if not kind or kind[0] not in FORMATS or (compressed and kind[0] == ".parquet"):
        raise UserError(
            f"'{path}' is of no known kind: a name ends in {', '.join(FORMATS)}, "
            f"and for all but parquet {', '.join(COMPRESSIONS)} may follow."
        )
    return kind[0]


def text_of(value: Any, place: str) -> str:
    """`value` if it is text that UTF-8 can hold; otherwise a UserError that begins with `place`."""
    if not isinstance(value, str):
        shown = "nothing" if value is None else f"a value of type {type(value).__name__}"
        raise UserError(f"{place} holds {shown} where text belongs.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(value[error.start])[1:-1]
        raise UserError(f"{place} holds {half}, half of a surrogate pair, which is no character.") from error
    return value


def group_text(value: Any, place: str) -> str:
    """As `text_of`; whole numbers may name groups too."""
    return str(value) if isinstance(value, int) else text_of(value, place)


def check_field(field: str, known: Iterable[str], place: str) -> None:
    """Raise a UserError that begins with `place` and suggests a known field, unless `field` is one."""
    known = list(known)
    if field in known:
        return
    nearest = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'" if nearest else f"known are {', '.join(known)}"
    raise UserError(f"{place} has no field '{field}'; {hint}? Say which one holds it with `field` or `group_field`.")


def _read_txt(path: Path, separator: str) -> Iterator[Row]:
    place = 0
    rest = ""
    for block in _blocks(path):
        *documents, rest = (rest + block).split(separator)
        for document in documents:
            place += 1
            yield Row(place, document.strip("\r\n"))
        if len(rest) > MAX_DOCUMENT:
            raise UserError(
                f"{path}: document {place + 1} is longer than {MAX_DOCUMENT:,} characters; say with `separator` what "
                f"stands between documents (it is {separator!r} now; '\\n\\n' would be an empty line)."
            )
    if rest.strip("\r\n"):
        yield Row(place + 1, rest.strip("\r\n"))


def _read_jsonl(path: Path, field: str, group_field: str | None) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: this is not JSON: {error.msg} (column {error.colno}).") from error
        place = f"{path}, line {number}:"
        if not isinstance(record, dict):
            raise UserError(f'{place} each line must hold a JSON object, such as {{"{field}": "..."}}.')
        check_field(field, record, f"{place} the object")
        text = text_of(record[field], f"{place} the field '{field}'")
        group = None
        if group_field is not None:
            check_field(group_field, record, f"{place} the object")
            group = group_text(record[group_field], f"{place} the field '{group_field}'")
        yield Row(number, text, group)


def _read_csv(path: Path, field: str, group_field: str | None) -> Iterator[Row]:
    csv.field_size_limit(MAX_DOCUMENT)
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        check_field(field, header, f"{path}, line 1: the header")
        if group_field is not None:
            check_field(group_field, header, f"{path}, line 1: the header")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(values)} values, but the header names {len(header)} columns."
                )
            record = dict(zip(header, values, strict=True))
            yield Row(reader.line_num, record[field], None if group_field is None else record[group_field])
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: this is not CSV: {error}.") from error


def _read_parquet(path: Path, field: str, group_field: str | None) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"{path}: parquet files need an extra; run: pip install 'tsumiki[data]'") from error
    columns = [field] if group_field is None else [field, group_field]
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for column in columns:
                check_field(column, file.schema_arrow.names, f"{path}: the table")
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for text, *group in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                    row += 1
                    place = f"{path}, row {row}: the column"
                    text = text_of(text, f"{place} '{field}'")
                    yield Row(row, text, group_text(group[0], f"{place} '{group_field}'") if group else None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: this is no readable parquet file ({first_line(error)}).") from error


def _blocks(path: Path) -> Iterator[str]:
    """The text of a file in blocks of about `CHUNK` characters."""
    block: list[str] = []
    size = 0
    for _, line in _lines(path):
        block.append(line)
        size += len(line)
        if size >= CHUNK:
            yield "".join(block)
            block, size = [], 0
    yield "".join(block)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line, line end included. A line ends at a line feed and nowhere else."""
    number = 0
    rest = b""
    for chunk in _chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield number, _decode(line + b"\n", path, number)
        if len(rest) > MAX_DOCUMENT:
            raise UserError(
                f"{path}: line {number + 1} is longer than {MAX_DOCUMENT:,} bytes; "
                f"put one document on a line, or name the file by what it holds ({', '.join(FORMATS)})."
            )
    if rest:
        yield number + 1, _decode(rest, path, number + 1)


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: the byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8 "
            f"(Japanese text may be CP932: iconv -f CP932 -t UTF-8)."
        ) from error


def _chunks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of a file."""
    try:
        match path.suffix.lower():
            case ".zst":
                yield from _zstandard_chunks(path)
            case ".gz":
                with gzip.open(path, "rb") as file:
                    while chunk := file.read(CHUNK):
                        yield chunk
            case ".xz":
                with lzma.open(path, "rb") as file:
                    while chunk := file.read(CHUNK):
                        yield chunk
            case _:
                with path.open("rb") as file:
                    while chunk := file.read(CHUNK):
                        yield chunk
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: the file is damaged or incomplete ({first_line(error)}); get it again.") from error
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read: {error.strerror}.") from error


def _zstandard_chunks(path: Path) -> Iterator[bytes]:
    """Frame after frame by hand: the library's own file object takes a file that breaks off for a complete one."""
    try:
        import zstandard
    except ImportError as error:
        raise UserError(f"{path}: zst files need an extra; run: pip install 'tsumiki[data]'") from error
    frame = zstandard.ZstdDecompressor().decompressobj()
    started = False
    try:
        with path.open("rb") as file:
            while compressed := file.read(CHUNK):
                while compressed:
                    started = True
                    if chunk := frame.decompress(compressed):
                        yield chunk
                    compressed = frame.unused_data
                    if frame.eof:
                        frame = zstandard.ZstdDecompressor().decompressobj()
                        started = False
    except zstandard.ZstdError as error:
        raise EOFError(first_line(error)) from error
    if started:
        raise EOFError("the last frame does not end")


def first_line(error: BaseException) -> str:
    """What an error says, as part of a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
