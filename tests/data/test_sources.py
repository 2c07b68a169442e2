"""Sources: which documents they give, and on which side of the split."""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumiki.config import OneOf, parse
from tsumiki.data import SOURCES, HubSource, LocalSource, SampleSource, Source, SourceConfig
from tsumiki.data.sources import group_of, is_held_out
from tsumiki.errors import UserError


def configure(**keys: Any) -> Source:
    config: SourceConfig = parse(keys, Annotated[SourceConfig, OneOf(SOURCES, tag="kind")], where="test")  # type: ignore[arg-type]
    return SOURCES[config.kind](config)


def texts(source: Source) -> tuple[list[str], list[str]]:
    train, validation = source.documents("train"), source.documents("validation")
    return [document.text for document in train], [document.text for document in validation]


def test_sample_has_the_same_stories_held_out_in_both_languages() -> None:
    numbers = {}
    for language in ("en", "ja"):
        source = SampleSource(SampleSource.Config(language=language))
        train, validation = list(source.documents("train")), list(source.documents("validation"))
        assert (len(train), len(validation)) == (324, 36)
        assert {document.language for document in train} == {language}
        numbers[language] = [document.key.split("-")[0] for document in validation]
    assert numbers["en"] == numbers["ja"]


def test_local_holds_out_a_fraction_by_text(write_jsonl: Callable[..., str]) -> None:
    stories = [f"Story {n % 500}." for n in range(1000)]
    path = write_jsonl("a.jsonl", stories)
    train, validation = texts(configure(kind="local", language="en", train=path, validation_fraction=0.2))
    assert sorted(train + validation) == sorted(stories)
    assert not set(train) & set(validation), "copies of a text stand on one side"
    assert 120 < len(validation) < 280


def test_a_group_stays_on_its_side_whatever_else_there_is() -> None:
    held_out = [group for group in map(str, range(2000)) if is_held_out(group, 0.1)]
    assert 140 < len(held_out) < 260
    assert held_out[:3] == ["9", "39", "49"], "the split is part of what a figure means; it must never change"
    assert all(is_held_out(group, 0.2) for group in held_out), "a larger fraction holds out more, not others"


@pytest.mark.parametrize(
    ("value", "group"), [("9f3-7", "9f3"), ("9f3-12", "9f3"), ("moby-dick", "moby-dick"), ("a-1-2", "a-1"), ("7", "7")]
)
def test_group_of(value: str, group: str) -> None:
    assert group_of(value) == group


def test_local_with_validation_of_its_own_leaves_its_copies_out_of_training(write_jsonl: Callable[..., str]) -> None:
    train_path, validation_path = write_jsonl("t.jsonl", ["a", "b", "c", "b"]), write_jsonl("v.jsonl", ["b", "d"])
    source = configure(kind="local", language="en", train=train_path, validation=validation_path)
    assert texts(source) == (["a", "c"], ["b", "d"])


def test_local_takes_lists_and_patterns_and_names_each_document(write_jsonl: Callable[..., str]) -> None:
    first = write_jsonl("part-1.jsonl", ["a", "b"])
    write_jsonl("part-2.jsonl", ["c"])
    other = write_jsonl("other.jsonl", ["d"])
    validation = write_jsonl("v.jsonl", ["e"])
    pattern = first.replace("part-1", "part-*")
    source = configure(kind="local", language="en", train=[pattern, other, first], validation=validation)
    assert [(document.text, document.key) for document in source.documents("train")] == [
        ("a", "part-1.jsonl:1"),
        ("b", "part-1.jsonl:2"),
        ("c", "part-2.jsonl:1"),
        ("d", "other.jsonl:1"),
    ]


def test_identity_follows_content_and_reading_but_not_weight(write_jsonl: Callable[..., str]) -> None:
    path = write_jsonl("a.jsonl", ["a", "b"])
    keys = {"kind": "local", "language": "en", "train": path}
    before = configure(**keys).identity
    assert configure(**keys, weight=3.0, name="other").identity == before
    assert configure(**keys, validation_fraction=0.3).identity != before
    write_jsonl("a.jsonl", ["a", "c"])
    assert configure(**keys).identity != before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": "nowhere.jsonl"}, "There is no file 'nowhere.jsonl' (looked in '"),
        ({"train": "no-*.jsonl"}, "No file matches 'no-*.jsonl'"),
        ({"train": "."}, "'.' is a directory; name its files, for example './*.jsonl'"),
        ({"train": []}, "names no file"),
        ({"train": "x.jsonl", "weight": 0.0}, "weight is 0.0, but must be above 0"),
        ({"train": "x.jsonl", "validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ({"train": "x.jsonl", "separator": ""}, "separator is empty"),
        ({"train": "x.jsonl", "language": ""}, "language is empty"),
        ({"train": "x.jsonl", "feild": "story"}, "did you mean"),
    ],
)
def test_local_mistakes(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        configure(**{"kind": "local", "language": "en", **keys})


def test_a_file_is_for_training_or_for_validation(write_jsonl: Callable[..., str]) -> None:
    path = write_jsonl("a.jsonl", ["a"])
    with pytest.raises(UserError, match="named for both train and validation"):
        configure(kind="local", language="en", train=path, validation=path)


@pytest.fixture
def simple_stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory of the form of SimpleStories: siblings of one completion in both splits, as in the original."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = defaultdict(list)
    for completion in range(60):
        for sibling in range(5):
            split = "test" if (completion * 5 + sibling) % 50 == 7 else "train"
            row = {"story": f"Story {completion}.{sibling}", "topic": "frogs", "word_count": 2}
            rows[split].append({**row, "generation_id": f"{completion:032x}-{sibling}", "model": "m"})
    directory = tmp_path / "stories"
    directory.mkdir()
    for split, members in rows.items():
        pq.write_table(pa.Table.from_pylist(members), directory / f"{split}-00000-of-00001.parquet")
    return str(directory)


def completions(source: Source, split: Any) -> set[str]:
    return {document.key.split("-")[0] for document in source.documents(split)}


def hub(directory: str, **keys: Any) -> HubSource:
    keys = {"field": "story", "group_field": "generation_id", **keys}
    return HubSource(HubSource.Config(dataset=directory, language="en", **keys))


def test_hub_holds_out_whole_completions(simple_stories: str) -> None:
    source = hub(simple_stories, validation_fraction=0.2)
    assert completions(source, "train")
    assert completions(source, "validation")
    assert not completions(source, "train") & completions(source, "validation")
    train, validation = texts(source)
    assert len(train) + len(validation) == 294, "every story of the train split is used once"
    assert all(re.fullmatch(r"[0-9a-f]{32}-\d", document.key) for document in source.documents("train"))


def test_hub_validates_on_the_official_split_without_its_siblings(simple_stories: str) -> None:
    source = hub(simple_stories, validation_split="test")
    train, validation = texts(source)
    assert len(validation) == 6, "the official split is whole"
    assert len(train) == 294 - 6 * 4, "and the four siblings of each are not trained on"
    assert not completions(source, "train") & completions(source, "validation")


def test_hub_without_groups(simple_stories: str) -> None:
    source = hub(simple_stories, group_field=None, validation_fraction=0.3)
    train, validation = texts(source)
    assert len(train) + len(validation) == 294
    assert next(iter(source.documents("train"))).key.startswith("train:")


def test_hub_identity_follows_the_files(simple_stories: str) -> None:
    before = hub(simple_stories).identity
    assert hub(simple_stories).identity == before
    table = pq.read_table(Path(simple_stories) / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(1), Path(simple_stories) / "train-00000-of-00001.parquet")
    assert hub(simple_stories).identity != before
    assert json.dumps(before)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"field": "storie"}, r"split 'train', has no field 'storie'; did you mean 'story'"),
        ({"field": "word_count"}, r"row 1, holds a value of type int where text belongs"),
        ({"train_split": "nope"}, r"split 'nope'\) could not be loaded: Unknown split"),
    ],
)
def test_hub_mistakes(simple_stories: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts(hub(simple_stories, **keys))


def test_hub_data_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not be loaded: .* use a `local` source with files of your own"):
        texts(hub(str(tmp_path / "nowhere")))


def test_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=re.escape("pip install 'tsumiki[data]'")):
        texts(hub("SimpleStories/SimpleStories"))


def test_hub_knows_the_columns_of_known_data_sets_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, subset: str | None, *, revision: str | None, split: str) -> datasets.Dataset:
        asked.append((name, subset, revision, split))
        row = {"story": ["s"], "text": ["t"], "generation_id": ["0f-3"]}
        return datasets.Dataset.from_dict(row)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name, split, text in (
        ("SimpleStories/SimpleStories", "train", "s"),
        ("SimpleStories/SimpleStories-JA", "train", "s"),
        ("roneneldan/TinyStories", "validation", "t"),
    ):
        source = HubSource(HubSource.Config(dataset=name, language="en", revision="abc"))
        documents = [*source.documents("train"), *source.documents("validation")]
        assert {document.text for document in documents} == {text}
        assert asked[-1] == (name, None, "abc", split)
    with pytest.raises(UserError, match="field is missing; name the column of 'someone/else'"):
        configure(kind="hub", language="en", dataset="someone/else")


def test_unknown_kind() -> None:
    with pytest.raises(UserError, match="'kind' is 'locl'; did you mean 'local'"):
        configure(kind="locl", language="en")


def test_names_by_default() -> None:
    assert SampleSource(SampleSource.Config(language="ja")).name == "sample-ja"
    assert LocalSource.Config(language="en", train="x", name="mine").label == "mine"


@pytest.mark.parametrize(
    ("source", "licence"),
    [
        (SampleSource(SampleSource.Config(language="en")), "CC0-1.0"),
        (HubSource(HubSource.Config(dataset="SimpleStories/SimpleStories", language="en")), "MIT"),
        (HubSource(HubSource.Config(dataset="roneneldan/TinyStories", language="en")), "CDLA-Sharing-1.0"),
        (HubSource(HubSource.Config(dataset="a/b", field="text", language="en", licence="CC-BY-4.0")), "CC-BY-4.0"),
    ],
)
def test_licences(source: Source, licence: str) -> None:
    assert source.licence is not None
    assert source.licence.startswith(licence)


def test_a_licence_changes_no_data() -> None:
    named = SampleSource(SampleSource.Config(language="en", licence="none"))
    assert named.licence == "none"
    assert named.identity == SampleSource(SampleSource.Config(language="en")).identity
    assert HubSource(HubSource.Config(dataset="a/b", field="text", language="en")).licence is None
