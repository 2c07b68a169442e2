"""What held-out text shares with training text is found, all of it, and nothing else."""

import random

import numpy as np
import pytest
from tests.data.conftest import make_documents

from tsumiki.data import find_overlap
from tsumiki.data.overlap import passage_hashes

WORDS = ["frog", "pond", "leaf", "moon", "rain", "stone", "river", "cloud", "tree", "bird", "song", "night"]


def story(seed: int, words: int = 60) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) + generator.choice(["", ",", "."]) for _ in range(words))


def kana(seed: int, length: int = 200) -> str:
    generator = random.Random(seed)
    return "".join(chr(generator.randint(0x3042, 0x3090)) for _ in range(length))


def test_nothing_in_common() -> None:
    (report,) = find_overlap(
        make_documents(map(story, range(50))), make_documents(map(story, range(50, 60)), source="v")
    )
    assert (report.copies, report.sharing, report.shared_passages) == (0, 0, 0)
    assert (report.source, report.documents, report.passage) == ("v", 10, "13 words")
    assert report.passages == 10 * (60 - 13 + 1)
    assert report.warning() is None


def test_copies_are_found_whatever_their_case_and_spaces() -> None:
    train = make_documents(["Once  there was\na FROG.", *map(story, range(5))])
    (report,) = find_overlap(train, make_documents(["once there was a frog. ", "Another frog."], source="v"))
    assert (report.copies, report.sharing, report.passages) == (1, 0, 0)
    assert report.examples == ("v:0",)
    warning = report.warning()
    assert warning is not None
    assert "of 2 held-out documents 1 are also training documents" in warning


@pytest.mark.parametrize(("shared", "found"), [(12, 0), (13, 1), (20, 8)])
def test_english_passages_of_13_words(shared: int, found: int) -> None:
    passage = story(99, shared)
    train = make_documents([f"{story(1)} zebra {passage} zebra", story(2)])
    held_out = make_documents([f"Tiger {passage.upper()} tiger {story(3)}", story(4)], source="v")
    (report,) = find_overlap(train, held_out)
    assert report.shared_passages == found
    assert report.sharing == (found > 0)


@pytest.mark.parametrize(("shared", "found"), [(49, 0), (50, 1), (57, 8)])
def test_japanese_passages_of_50_characters(shared: int, found: int) -> None:
    passage = kana(99, shared)
    train = make_documents([kana(1) + "亜" + passage[:20] + "\n" + passage[20:] + "亜" + kana(2)], "ja")
    held_out = make_documents([kana(3), kana(4) + "以" + passage + "以" + kana(5)], "ja", "v")
    (report,) = find_overlap(train, held_out)
    assert (report.shared_passages, report.passage) == (found, "50 characters")
    assert report.examples == (("v:1",) if found else ())


def test_sources_and_languages_are_reported_apart() -> None:
    train = [*make_documents([story(1)]), *make_documents([kana(1)], "ja")]
    held_out = [
        *make_documents([story(1), story(2)], source="a"),
        *make_documents([story(1)[30:], story(3)], source="b"),
        *make_documents([kana(1)], "ja", "c"),
        *make_documents([story(1)], "fr", "d"),
    ]
    reports = {report.source: report for report in find_overlap(train, held_out)}
    assert {name: (report.copies, report.sharing) for name, report in reports.items()} == {
        "a": (1, 1),
        "b": (0, 1),
        "c": (1, 1),
        "d": (0, 0),
    }, "only documents of the same language are compared"


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train = make_documents([story(n, 20 + n) for n in range(40)])
    held_out = make_documents([story(n, 20) for n in range(0, 60, 3)], source="v")
    whole = find_overlap(train, held_out)
    monkeypatch.setattr("tsumiki.data.overlap.BLOCK", 7)
    assert find_overlap(iter(train), iter(held_out)) == whole
    assert whole[0].sharing == 14


def test_nothing_to_compare() -> None:
    assert find_overlap(make_documents(["a"]), []) == []
    (report,) = find_overlap([], make_documents(["a"]))
    assert (report.copies, report.sharing) == (0, 0)


def test_passage_hashes_know_the_order() -> None:
    symbols = np.array([1, 2, 3, 4, 1, 2, 3, 5, 3, 2, 1], dtype=np.uint64)
    hashes = passage_hashes(symbols, 3)
    assert len(hashes) == 9
    assert hashes[0] == hashes[4]
    assert len(set(hashes.tolist())) == 8
    assert len(passage_hashes(symbols, 12)) == 0
