"""Metrics of texts, against numbers checked by hand, and what must hold for any text."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumiki.evaluate.classifier import fit_logistic_regression, hashed_ngrams, two_sample_test
from tsumiki.evaluate.diversity import compression_ratio, distinct, first_units, self_bleu
from tsumiki.evaluate.memorisation import Memorisation, memorisation
from tsumiki.evaluate.repetition import longest_repeated_span, repetition
from tsumiki.evaluate.surface import has_unclosed, script_mixing
from tsumiki.evaluate.units import ngrams, units

words = st.lists(st.sampled_from("abcd"), max_size=30)


def test_units() -> None:
    assert units("The fox's hat, RED.", "en") == ["the", "fox's", "hat", "red"]
    assert units("犬が　いた。\n", "ja") == ["犬", "が", "い", "た", "。"]
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []


def test_distinct_by_hand() -> None:
    """Pairs: a b, b a, a b and b c; three of the four are different. None goes from one text to the next."""
    texts = [["a", "b", "a", "b"], ["b", "c"]]
    assert distinct(texts, 2) == 3 / 4
    assert distinct(texts, 1) == 3 / 6
    assert math.isnan(distinct([["a"]], 2))


def test_texts_are_cut_to_a_total() -> None:
    assert first_units([["a", "b"], ["c", "d"], ["e"]], 3) == [["a", "b"], ["c"]]
    assert first_units([["a", "b"]], 9) == [["a", "b"]]


@given(st.lists(words, min_size=1))
def test_saying_all_twice_halves_distinct(texts: list[list[str]]) -> None:
    if any(texts):
        assert distinct(texts + texts, 1) == pytest.approx(distinct(texts, 1) / 2)


def test_self_bleu_by_hand() -> None:
    """Of "a b c d e" four words, three pairs, two triples and one quadruple stand in "a b c d x"; equally long."""
    bleu = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert self_bleu([list("abcde"), list("abcdx")]) == pytest.approx(bleu)


def test_self_bleu_counts_no_more_matches_than_the_other_text_has() -> None:
    """ "a a a a" has one match of four in "a b c d" and nothing longer; the other way round one of four, too."""
    bleu = (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert self_bleu([list("aaaa"), list("abcd")]) == pytest.approx(bleu)


def test_self_bleu_punishes_brevity() -> None:
    assert self_bleu([list("abcd"), list("abcdefgh")]) == pytest.approx(
        (math.exp(1 - 8 / 4) + (4 / 8 * 3 / 7 * 2 / 6 * 1 / 5) ** 0.25) / 2
    )


@given(st.lists(st.sampled_from("abcd"), min_size=4, max_size=12), st.integers(2, 4))
def test_equal_texts_have_self_bleu_1(text: list[str], number: int) -> None:
    assert self_bleu([text] * number) == pytest.approx(1)


def test_a_single_text_has_no_self_bleu() -> None:
    assert math.isnan(self_bleu([list("abcd")]))
    assert math.isnan(self_bleu([list("abc"), list("abc")]))


def test_compression_ratio() -> None:
    once, often = "The moth folded its wings.", "The moth folded its wings." * 20
    assert compression_ratio([once]) == len(once) / len(zlib.compress(once.encode(), 9))
    assert compression_ratio([often]) > 5 * compression_ratio([once])


def test_repetition_by_hand() -> None:
    """a b c d a b c d has five quadruples, of which the last is the first."""
    assert repetition(list("abcdabcd")) == pytest.approx(1 / 5)
    assert repetition(list("abcdefgh")) == 0
    assert repetition(list("aaaaaaaa")) == pytest.approx(4 / 5)
    assert math.isnan(repetition(list("abc")))


def test_longest_repeated_span_by_hand() -> None:
    assert longest_repeated_span(list("xabcyabcz")) == 3
    assert longest_repeated_span(list("abcd")) == 0
    assert longest_repeated_span(list("aaaa")) == 3  # the two may overlap
    assert longest_repeated_span([]) == 0


@settings(max_examples=50)
@given(words)
def test_longest_repeated_span_is_what_a_search_finds(text: list[str]) -> None:
    found = [n for n in range(1, len(text)) if len(set(ngrams(text, n))) < len(ngrams(text, n))]
    assert longest_repeated_span(text) == max(found, default=0)


STORY = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_memorisation_by_hand() -> None:
    """14 words hold two passages of 13. Case and punctuation are no difference, another word is."""
    result = memorisation(
        {
            "copy": [STORY.replace("two", "TWO,")],
            "half": [STORY.replace("fourteen", "moth") + " and"],
            "own": [" ".join(reversed(STORY.split()))],
            "short": ["one two three four"],
        },
        ["Nothing here.", f"He counted: {STORY}!"],
        "en",
    )
    assert result["copy"] == Memorisation(passages=2, copied=2, longest=14)
    assert result["half"] == Memorisation(passages=3, copied=1, longest=13)
    assert result["own"] == Memorisation(passages=2, copied=0, longest=1)
    assert result["short"] == Memorisation(passages=0, copied=0, longest=4)
    assert (result["half"].rate, result["short"].rate) == (1 / 3, 0)


def test_memorisation_in_japanese_counts_characters() -> None:
    text = "むかしむかし、あるところに、小さなガがいました。ガは明かりがすきでした。"
    result = memorisation({"copy": [text[:31]], "other": [text[:29] + "猫"]}, [text], "ja")
    assert result == {"copy": Memorisation(2, 2, 31), "other": Memorisation(1, 0, 29)}


def test_a_copied_span_does_not_cross_documents() -> None:
    halves = [STORY[: STORY.index(" eight")], STORY[STORY.index("eight") :]]
    assert memorisation({"a": [STORY]}, halves, "en")["a"] == Memorisation(2, 0, 7)


@pytest.mark.parametrize(
    ("text", "unclosed"),
    [
        ("「はい」と言った。", False),
        ("「『ねこ』か」", False),
        ("「はい。", True),
        ("はい」", True),
        ("「『ねこ」か』", True),
        ("(a (b)", True),
        ("", False),
    ],
)
def test_unclosed(text: str, unclosed: bool) -> None:
    assert has_unclosed(text) is unclosed


def test_what_is_open_at_a_cut_is_no_mistake() -> None:
    assert not has_unclosed("「はい。", complete=False)
    assert has_unclosed("はい」", complete=False)


def test_script_mixing_by_hand() -> None:
    assert script_mixing("犬が run した。", "ja") == 3 / 7
    assert script_mixing("Ａの音はド、ラーメン々。", "ja") == 1 / 10  # 々 and ー are Japanese, a full-width A is not
    assert script_mixing("The 犬 ran.", "en") == 1 / 7
    assert script_mixing("café 3, 4!", "en") == 0
    assert script_mixing("123", "ja") == 0


def test_logistic_regression_finds_the_plane() -> None:
    x = np.array([[1.0, 0.0], [0.8, 0.1], [0.0, 1.0], [0.1, 0.9]])
    weights, bias = fit_logistic_regression(x, np.array([0.0, 0.0, 1.0, 1.0]))
    assert weights[0] < 0 < weights[1]
    assert list(x @ weights + bias > 0) == [False, False, True, True]


def test_features_by_hand() -> None:
    """aba: a twice, b, ab, ba and aba once; ln 3 and four times ln 2, scaled to length 1."""
    features = hashed_ngrams("aba")
    places = [zlib.crc32(run.encode()) % 4096 for run in ("a", "b", "ab", "ba", "aba")]
    assert sorted(np.flatnonzero(features)) == sorted(places)
    expected = np.array([math.log(3), *[math.log(2)] * 4])
    assert features[places] == pytest.approx(expected / np.linalg.norm(expected))


def test_two_samples_of_the_same_kind_are_not_told_apart_and_others_are() -> None:
    random = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(200)]

    def texts(words: list[str]) -> list[str]:
        return [" ".join(random.choice(words, size=60)) for _ in range(60)]

    low, high = two_sample_test(texts(vocabulary), texts(vocabulary)).interval
    assert low <= 0.5 <= high
    assert two_sample_test(texts(vocabulary), texts(vocabulary[:100])).value > 0.9


def test_a_copy_of_the_real_texts_cannot_be_told_from_them() -> None:
    """The same vector on both sides: one of the two is right, whatever the classifier says, or both are wrong."""
    texts = [f"story {number} of a moth" for number in range(10)]
    assert two_sample_test(texts, texts).value == 0.5


def test_two_sample_test_wants_pairs() -> None:
    with pytest.raises(ValueError, match="5 pairs or more"):
        two_sample_test(["a"] * 4, ["b"] * 4)
