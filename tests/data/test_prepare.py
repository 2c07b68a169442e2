"""From a configuration to packed tokens, and back out of the cache."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.config import dump, parse
from tsumiki.data import (
    DataConfig,
    SampleSource,
    TokenizerFile,
    TrainedTokenizer,
    TrainingStream,
    ValidationSet,
    prepare,
)
from tsumiki.errors import UserError

SAMPLE = [{"kind": "sample", "language": "en"}, {"kind": "sample", "language": "ja", "weight": 3.0}]


def configure(sources: list[dict[str, Any]], tmp_path: Path) -> DataConfig:
    return parse({"sources": sources, "cache": str(tmp_path / "cache")}, DataConfig, where="test.yaml")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests use together."""
    return tmp_path_factory.mktemp("shared")


def small(vocab_size: int = 600) -> TrainedTokenizer.Config:
    return TrainedTokenizer.Config(vocab_size=vocab_size)


def test_the_sample(tmp_path: Path) -> None:
    stages: list[str] = []
    data = prepare(configure(SAMPLE, tmp_path), small(), progress=lambda what, done: stages.append(what))
    assert data.tokenizer.vocab_size == 600
    assert [(source.name, source.num_documents, source.weight) for source in data.train] == [
        ("sample-en", 324, 1.0),
        ("sample-ja", 324, 3.0),
    ]
    assert [source.num_documents for source in data.validation] == [36, 36]
    assert data.warnings == ()
    stories = SampleSource(SampleSource.Config(language="ja"))
    for index, document in enumerate(stories.documents("validation")):
        assert data.tokenizer.decode(data.validation[1].document(index).tolist()) == document.text
        assert data.validation[1].key(index) == document.key
    assert stages[0] == "tokenizer"
    assert "packing sample-ja, validation" in stages


def test_the_manifest(shared: Path) -> None:
    manifest = prepare(configure(SAMPLE, shared), small()).manifest
    assert json.loads(json.dumps(manifest)) == manifest
    report = manifest["tokenizer"]
    assert report["config"] == dump(small())
    assert report["round_trip_documents"] == 72
    english, japanese = report["languages"]["en"], report["languages"]["ja"]
    assert english["bytes_per_token"] == english["bytes"] / english["tokens"] > 2
    assert english["partial_share"] == 0 < japanese["partial_share"] < 0.5
    assert japanese["characters_per_token"] == japanese["characters"] / japanese["tokens"]
    assert 0 <= report["unused_tokens"] < report["rare_tokens"] < 600
    assert 4 < report["unigram_nats"] < math.log(600)
    source = manifest["sources"][1]
    assert (source["name"], source["language"], source["share"]) == ("sample-ja", "ja", 0.75)
    assert source["train"]["documents"] == 324
    assert len(source["train"]["content_sha256"]) == 64
    assert all(len(shard["sha256"]) == 64 for shard in source["train"]["shards"])
    assert [found["source"] for found in manifest["overlap"]] == ["sample-en", "sample-ja"]


def test_what_is_there_is_not_made_again(shared: Path) -> None:
    first = prepare(configure(SAMPLE, shared), small())
    stages: list[str] = []
    again = prepare(configure(SAMPLE, shared), small(), progress=lambda what, done: stages.append(what))
    assert stages == []
    assert again.manifest == first.manifest
    reweighted = [{**source, "weight": 0.5} for source in SAMPLE]
    prepare(configure(reweighted, shared), small(), progress=lambda what, done: stages.append(what))
    assert stages == [], "weights do not change tokens"
    prepare(configure(SAMPLE, shared), small(601), progress=lambda what, done: stages.append(what))
    assert stages[0] == "tokenizer"
    assert "comparing train text" not in stages, "nor does a tokenizer change what texts share"


def test_changed_text_is_packed_again(tmp_path: Path, write_jsonl: Callable[..., str]) -> None:
    stories = [f"Frog {n} lives in pond {n * n}." for n in range(300)]
    source = {"kind": "local", "language": "en", "train": write_jsonl("a.jsonl", stories), "validation_fraction": 0.2}
    first = prepare(configure([source], tmp_path), small(260))
    write_jsonl("a.jsonl", [*stories, "One more frog."])
    second = prepare(configure([source], tmp_path), small(260))
    documents = [data.train[0].num_documents + data.validation[0].num_documents for data in (first, second)]
    assert documents == [300, 301]


def test_a_stream_and_a_validation_set_come_out(shared: Path) -> None:
    data = prepare(configure(SAMPLE, shared), small())
    batch = TrainingStream(data.train, seq_len=64, seed=0).batch(0, 40)
    assert batch.languages.count("ja") in (29, 30, 31)
    assert ValidationSet(data.validation[0], seq_len=64).num_bytes == 40026


def test_leaks_are_reported(tmp_path: Path, write_jsonl: Callable[..., str]) -> None:
    stories = [f"{name} walked to the pond and met a green frog who sang all night." for name in ("Ann", "Bo", "Cy")]
    sources = [
        {"kind": "local", "name": "a", "language": "en", "train": write_jsonl("a.jsonl", stories)},
        {"kind": "local", "name": "b", "language": "en", "train": write_jsonl("b.jsonl", ["x y z", "q"])},
    ]
    sources[0]["validation"] = write_jsonl(
        "av.jsonl", ["Dee walked to the pond and met a green frog who sang all day."]
    )
    sources[1]["validation"] = write_jsonl("bv.jsonl", [stories[1]])
    data = prepare(configure(sources, tmp_path), small(257))
    assert len(data.warnings) == 1
    assert "b (en): of 1 held-out documents 1 are also training documents, and 1 share" in data.warnings[0]
    assert [(found["copies"], found["sharing"]) for found in data.manifest["overlap"]] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([], ["a"], "The source 'local-en' holds no text to train on."),
        ([" ", ""], ["a"], "The source 'local-en' holds no text to train on."),
        (
            ["a"],
            [],
            "The source 'local-en' holds no text to validate on; name some with `validation`, raise",
        ),
        (["frog"], None, "holds no text to validate on"),
    ],
)
def test_empty_data(
    tmp_path: Path, write_jsonl: Callable[..., str], train: list[str], validation: list[str] | None, message: str
) -> None:
    source = {"kind": "local", "language": "en", "train": write_jsonl("t.jsonl", train)}
    if validation is not None:
        source["validation"] = write_jsonl("v.jsonl", validation)
    with pytest.raises(UserError, match=message):
        prepare(configure([source], tmp_path), small(257))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "sources is empty"),
        ([SAMPLE[0], SAMPLE[0]], "2 sources are called 'sample-en'; give each a `name` of its own"),
        ([{"kind": "sample", "language": "fr"}], "'sources.0.language' is .fr., but must be 'en' or 'ja'"),
        ([{"kind": "sample"}], "'sources.0.language' is missing"),
        ([{"kind": "smaple", "language": "en"}], "did you mean 'sample'"),
        ([{"kind": "local", "language": "en"}], "'sources.0.train' is missing"),
    ],
)
def test_configuration_mistakes(tmp_path: Path, sources: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure(sources, tmp_path)


def test_a_tokenizer_from_a_file(shared: Path, tmp_path: Path) -> None:
    data = prepare(configure(SAMPLE[:1], shared), small())
    path = tmp_path / "mine.json"
    data.tokenizer.save(path)
    again = prepare(configure(SAMPLE[:1], shared), TokenizerFile.Config(path=str(path)))
    assert [again.train[0].document(n).tolist() for n in (0, 323)] == [
        data.train[0].document(n).tolist() for n in (0, 323)
    ]
    with pytest.raises(UserError, match=r"The tokenizer 'nowhere\.json' cannot be read"):
        prepare(configure(SAMPLE[:1], shared), TokenizerFile.Config(path="nowhere.json"))


def test_a_damaged_cache(tmp_path: Path) -> None:
    prepare(configure(SAMPLE, tmp_path), small())
    shard = sorted((tmp_path / "cache").glob("packed-*/00000.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match="incomplete or was changed; delete the directory"):
        prepare(configure(SAMPLE, tmp_path), small())
    for file in shard.parent.iterdir():
        file.unlink()
    shard.parent.rmdir()
    assert prepare(configure(SAMPLE, tmp_path), small()).train[0].num_documents == 324
