"""Small texts, and one tokenizer trained on the sample stories."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from tsumiki.data import Document, PackedSource, SampleSource, Tokenizer, TrainedTokenizer, pack


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    sources = [SampleSource(SampleSource.Config(language=language)) for language in ("en", "ja")]
    return TrainedTokenizer(TrainedTokenizer.Config(vocab_size=8192)).build(sources)


def make_documents(texts: Iterable[str], language: str = "en", source: str = "test") -> list[Document]:
    return [Document(text, language, source, key=f"{source}:{n}") for n, text in enumerate(texts)]


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, stories: Sequence[str], field: str = "text") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps({field: story}) + "\n" for story in stories), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def packed(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., PackedSource]:
    """Pack texts and open the result."""

    def make(texts: Sequence[str], name: str = "test", weight: float = 1.0, shard_tokens: int = 101) -> PackedSource:
        directory = tmp_path / f"packed-{name}"
        directory.mkdir()
        pack(make_documents(texts, source=name), tokenizer, directory, shard_tokens=shard_tokens)
        return PackedSource(directory, name=name, language="en", weight=weight)

    return make
