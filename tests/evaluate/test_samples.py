"""Openings and continuations: exact, repeatable, cut to equal length."""

import pytest

from tsumiki.evaluate.samples import Sample, cut_to_equal_length, split_opening

STORY = "Nobody had asked the moth to help, but it came anyway.\n\nThat night the fog lay on the sea."


def test_an_opening_is_twelve_words_and_nothing_is_lost() -> None:
    opening, rest = split_opening(STORY, "en")
    assert opening == "Nobody had asked the moth to help, but it came anyway.\n\nThat"
    assert rest.startswith(" night")
    assert opening + rest == STORY


def test_in_japanese_it_is_24_characters() -> None:
    story = "だれもたのんでいないのに、小さなガは手伝いに来ました。\n\nその夜"
    assert split_opening(story, "ja") == (story[:24], story[24:])


@pytest.mark.parametrize("story", ["", "Short.", "  "])
def test_short_stories_are_all_opening(story: str) -> None:
    opening, rest = split_opening(story, "en")
    assert opening + rest == story
    assert not rest.strip()


@pytest.mark.parametrize(
    ("text", "real", "language", "expected"),
    [
        (" one two, three.", " a b", "en", (" one two", " a b")),
        ("ねこが いた。", "犬も", "ja", ("ねこ", "犬も")),
        ("", "犬", "ja", ("", "")),
    ],
)
def test_both_texts_are_cut_to_the_shorter(text: str, real: str, language: str, expected: tuple[str, str]) -> None:
    sample = Sample(opening="", text=text, real=real, ended=True, num_bytes=1, invalid_bytes=0)
    assert cut_to_equal_length(sample, language) == expected
