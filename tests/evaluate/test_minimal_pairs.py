"""Minimal pairs: made of story words, each rule in balance, and a matter of chance for whoever knows no grammar."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import partial

import numpy as np
import pytest
import torch

from tsumiki.data import Document, Tokenizer
from tsumiki.evaluate.likelihood import log_probabilities
from tsumiki.evaluate.minimal_pairs import (
    ENGLISH,
    JAPANESE,
    PARADIGMS,
    Paradigm,
    score_pairs,
    shortness_scorer,
    unigram_scorer,
)
from tsumiki.evaluate.minimal_pairs.paradigm import contrast, swap
from tsumiki.evaluate.statistics import Proportion
from tsumiki.models import LanguageModel


def words(sentence: str) -> list[str]:
    """The words of an English sentence, the characters of a Japanese one."""
    return sentence[:-1].split() if sentence.isascii() else list(sentence[:-1])


every_paradigm = pytest.mark.parametrize("paradigm", PARADIGMS, ids=lambda paradigm: paradigm.name)


def test_a_contrast_by_hand() -> None:
    first, second = contrast("The dog _ asleep.", "The dogs _ asleep.", "is", "are")
    assert (first.good, first.bad) == ("The dog is asleep.", "The dog are asleep.")
    assert (second.good, second.bad) == ("The dogs are asleep.", "The dogs is asleep.")
    (pair,) = swap("この本_だれ_読みましたか。", "は", "が")
    assert (pair.good, pair.bad) == ("この本はだれが読みましたか。", "この本がだれは読みましたか。")


def test_there_are_enough() -> None:
    assert len(ENGLISH) >= 10
    assert len(JAPANESE) >= 10
    assert len({paradigm.name for paradigm in PARADIGMS}) == len(PARADIGMS)


@every_paradigm
def test_two_hundred_pairs_all_different_and_always_the_same(paradigm: Paradigm) -> None:
    pairs = paradigm.pairs
    assert len(pairs) == len(set(pairs)) == 200
    assert pairs == paradigm.pairs
    assert {pair.good for pair in pairs}.isdisjoint(pair.bad for pair in pairs)
    assert "_" not in "".join(pair.good + pair.bad for pair in pairs)


@every_paradigm
def test_the_members_of_a_pair_differ_in_one_place(paradigm: Paradigm) -> None:
    for pair in paradigm.pairs:
        changed = [
            tag for tag, *_ in SequenceMatcher(a=words(pair.good), b=words(pair.bad)).get_opcodes() if tag != "equal"
        ]
        assert 1 <= len(changed) <= 2, pair  # two where words change places
        assert pair.good[-1] == pair.bad[-1]
        assert pair.good[-1] in ".?。"


@every_paradigm
def test_no_unigram_model_and_no_liking_for_length_does_better_than_chance(paradigm: Paradigm) -> None:
    """Within a group every word (character) is as often in right as in wrong sentences, so any sum over them ties."""
    for group in paradigm.groups:
        balance: Counter[str] = Counter()
        for pair in group:
            balance.update(words(pair.good))
            balance.subtract(words(pair.bad))
        assert not any(balance.values()), group


@pytest.mark.parametrize("seed", range(3))
def test_random_word_weights_get_exactly_half(seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=2**16)

    def score(sentences: Sequence[str]) -> list[float]:
        return [round(float(sum(weights[ord(character)] for character in sorted(text))), 9) for text in sentences]

    assert {result.value for result in score_pairs(PARADIGMS, score).values()} == {0.5}


def test_controls_under_a_real_tokenizer_are_near_half(
    story_tokenizer: Tokenizer, stories: dict[str, list[Document]]
) -> None:
    """A tokenizer may cut a filler in another way before another word, so here it is near half and not exactly half."""
    tokens = story_tokenizer.encode(
        "".join(document.text for language in ("en", "ja") for document in stories[language])
    )
    counts = np.bincount(tokens, minlength=story_tokenizer.vocab_size)
    for scorer in (unigram_scorer(story_tokenizer, counts), shortness_scorer(story_tokenizer)):
        results = score_pairs(PARADIGMS, scorer)
        assert sum(results.values(), Proportion(0, 0)).value == pytest.approx(0.5, abs=0.03)
        assert all(0.25 <= result.value <= 0.75 for result in results.values()), results


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_model_is_at_chance(
    seed: int, tiny_model: Callable[[int], LanguageModel], story_tokenizer: Tokenizer
) -> None:
    """The 200 pairs of a paradigm share templates and so their luck; 25 paradigms by chance are 0.5 +- 0.02 or so."""
    results = score_pairs(PARADIGMS, partial(log_probabilities, tiny_model(seed), story_tokenizer))
    assert sum(results.values(), Proportion(0, 0)).value == pytest.approx(0.5, abs=0.04)
    for language in (ENGLISH, JAPANESE):
        in_language = sum((results[paradigm.name] for paradigm in language), Proportion(0, 0))
        assert in_language.value == pytest.approx(0.5, abs=0.06)


def test_who_knows_the_answers_gets_all_and_who_knows_the_reverse_none() -> None:
    good = {pair.good for paradigm in PARADIGMS for pair in paradigm.pairs}
    results = score_pairs(PARADIGMS, lambda sentences: [float(sentence in good) for sentence in sentences])
    assert {result.right for result in results.values()} == {200.0}
    reverse = score_pairs(PARADIGMS, lambda sentences: [-float(sentence in good) for sentence in sentences])
    assert {result.right for result in reverse.values()} == {0.0}
    ties = score_pairs(PARADIGMS, lambda sentences: [1.0] * len(sentences))
    assert {result.right for result in ties.values()} == {100.0}


@every_paradigm
def test_the_words_are_those_of_the_stories(paradigm: Paradigm, stories: dict[str, list[Document]]) -> None:
    corpus = "\n".join(document.text for document in stories[paradigm.language])
    good = " ".join(pair.good for pair in paradigm.pairs)
    if paradigm.language == "en":
        assert set(re.findall(r"[a-z]+", good.lower())) <= set(re.findall(r"[a-z]+", corpus.lower()))
    else:
        words = re.findall(r"[\u4e00-\u9fff々]+|[ァ-ヴー]+", re.sub(r"[二四五七九]", " ", good))
        assert {word for word in words if word not in corpus} == set()


def test_log_probabilities_are_those_of_one_sentence_at_a_time(
    tiny_model: Callable[[int], LanguageModel], story_tokenizer: Tokenizer
) -> None:
    model = tiny_model(5).double()
    texts = ["The dog is asleep.", "犬がいました。", "", "A.", "The old woman saw herself in the mirror."]
    found = log_probabilities(model, story_tokenizer, texts)
    assert found[2] == 0.0
    for text, value in zip(texts, found, strict=True):
        expected = 0.0
        ids = [story_tokenizer.end_of_text_id, *story_tokenizer.encode(text)]
        for length in range(1, len(ids)):
            with torch.no_grad():
                expected += model(torch.tensor([ids[:length]]))[0, -1].log_softmax(-1)[ids[length]].item()
        assert value == pytest.approx(expected, rel=1e-9)
