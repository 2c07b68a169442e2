"""From a configuration to packed tokens: everything that happens to text before the first step."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from tsumiki.config import OneOf, dump
from tsumiki.data.cache import Cache, write_file
from tsumiki.data.document import Document
from tsumiki.data.overlap import Overlap, find_overlap
from tsumiki.data.packing import PackedSource, Progress, pack
from tsumiki.data.sources import SOURCES, Source, SourceConfig, Split
from tsumiki.data.tokenizer import TOKENIZERS, Tokenizer, TokenizerConfig
from tsumiki.data.tokenizer_report import TokenizerReport, report_tokenizer
from tsumiki.errors import UserError
from tsumiki.spec import spec


@spec
class DataConfig:
    """A mixture of sources.

    Args:
        sources: one or more; their names must differ.
        cache: where tokenizers and packed tokens are kept; None means `$TSUMIKI_CACHE`, or `~/.cache/tsumiki`.
    """

    sources: tuple[Annotated[SourceConfig, OneOf(SOURCES, tag="kind")], ...]
    cache: str | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; name at least one.")
        label, count = Counter(source.label for source in self.sources).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{count} sources are called '{label}'; give each a `name` of its own.")


@dataclass(frozen=True)
class PreparedData:
    """What a run trains and is measured on.

    Args:
        tokenizer: the run's tokenizer.
        train: the packed training documents of each source.
        validation: the packed held-out documents of each source.
        manifest: plain data for the run's manifest: hashes, sizes and shares by source, the tokenizer's report, and
            what the held-out text shares with the training text.
        warnings: sentences that a person should read.
    """

    tokenizer: Tokenizer
    train: tuple[PackedSource, ...]
    validation: tuple[PackedSource, ...]
    manifest: dict[str, Any]
    warnings: tuple[str, ...]


def prepare(
    data: DataConfig, tokenizer: TokenizerConfig, *, progress: Progress = lambda what, done: None
) -> PreparedData:
    """Make or find in the cache: the tokenizer, the packed tokens, and the reports on both.

    Args:
        data: the sources.
        tokenizer: the tokenizer's configuration.
        progress: called with what is being done and how many bytes of text are done.

    Raises:
        UserError: a source or the tokenizer cannot be read, a source has nothing to train or to validate on, the cache
            cannot be written or was damaged.
    """
    cache = Cache(data.cache)
    sources: list[Source] = [SOURCES[config.kind](config) for config in data.sources]
    made = _tokenizer(cache, tokenizer, sources, progress)
    train = tuple(_packed(cache, source, "train", made, progress) for source in sources)
    validation = tuple(_packed(cache, source, "validation", made, progress) for source in sources)
    reports = _reports(cache, sources, made, train, progress)
    total = sum(source.weight for source in train)
    manifest = {
        "tokenizer": {"config": dump(tokenizer), **reports["tokenizer"]},
        "sources": [
            {
                "name": source.name,
                "language": source.language,
                "share": source.weight / total,
                "licence": source.licence,
                "identity": source.identity,
                "train": _sizes(packed),
                "validation": _sizes(held_out),
            }
            for source, packed, held_out in zip(sources, train, validation, strict=True)
        ],
        "overlap": reports["overlap"],
    }
    return PreparedData(made, train, validation, manifest, tuple(reports["warnings"]))


def _tokenizer(cache: Cache, config: TokenizerConfig, sources: list[Source], progress: Progress) -> Tokenizer:
    recipe = TOKENIZERS[config.kind](config)

    def write(directory: Path) -> None:
        progress("tokenizer", 0)
        recipe.build(sources).save(directory / "tokenizer.json")

    entry = cache.entry("tokenizer", recipe.identity(sources), write)
    return Tokenizer.load(entry / "tokenizer.json")


def _packed(cache: Cache, source: Source, split: Split, tokenizer: Tokenizer, progress: Progress) -> PackedSource:
    def documents() -> Iterator[Document]:
        empty = True
        for document in source.documents(split):
            empty = empty and not document.text.strip()
            yield document
        if empty:
            raise UserError(_nothing(source, split))

    return packed(source, split, tokenizer, documents, cache=cache, progress=progress)


def packed(
    source: Source,
    split: Split,
    tokenizer: Tokenizer,
    documents: Callable[[], Iterable[Document]],
    *,
    cache: Cache,
    progress: Progress = lambda what, done: None,
) -> PackedSource:
    """A split as tokens, from the cache or made and put there.

    Args:
        documents: gives the split's documents; asked only if the cache has none of it.
    """

    def write(directory: Path) -> None:
        what = f"packing {source.name}, {split}"
        pack(documents(), tokenizer, directory, report=lambda done: progress(what, done))

    entry = cache.entry("packed", [source.identity, split, tokenizer.sha256], write)
    return PackedSource(entry, name=source.name, language=source.language, weight=source.weight)


def _reports(
    cache: Cache, sources: list[Source], tokenizer: Tokenizer, train: tuple[PackedSource, ...], progress: Progress
) -> dict[str, Any]:
    def documents(split: Split) -> Iterator[Document]:
        done = 0
        for source in sources:
            for document in source.documents(split):
                if document.text.strip():
                    yield document
                    done += len(document.text.encode("utf-8"))
            progress(f"comparing {split} text", done)

    def write_overlap(directory: Path) -> None:
        overlaps = find_overlap(documents("train"), documents("validation"))
        _write_json(directory / "overlap.json", [asdict(found) for found in overlaps])

    text = [[source.name, source.language, source.identity] for source in sources]

    def write(directory: Path) -> None:
        counts = np.sum([source.token_counts(tokenizer.vocab_size) for source in train], axis=0)
        overlap = cache.entry("overlap", text, write_overlap) / "overlap.json"  # the same for every tokenizer
        overlaps = [Overlap(**found) for found in json.loads(overlap.read_text(encoding="utf-8"))]
        reports = {
            "tokenizer": asdict(report_tokenizer(tokenizer, documents("validation"), counts)),
            "overlap": [asdict(found) for found in overlaps],
            "warnings": [warning for found in overlaps if (warning := found.warning()) is not None],
        }
        _write_json(directory / "reports.json", reports)

    told = [field.name for field in fields(TokenizerReport)]  # an older version's report may lack some of it
    entry = cache.entry("reports", [text, tokenizer.sha256, told], write)
    return json.loads((entry / "reports.json").read_text(encoding="utf-8"))


def _write_json(path: Path, content: Any) -> None:
    write_file(path, json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8"))


def _nothing(source: Source, split: Split) -> str:
    if split == "train":
        return f"The source '{source.name}' holds no text to train on."
    return (
        f"The source '{source.name}' holds no text to validate on; name some with `validation`, "
        "raise `validation_fraction`, or if the text is a single document, say with `separator` where documents end."
    )


def _sizes(packed: PackedSource) -> dict[str, Any]:
    """A packed source's manifest, and the hash of its shards in place of their list."""
    return {key: value for key, value in packed.manifest.items() if key not in ("end_of_text_id", "tokenizer_sha256")}
