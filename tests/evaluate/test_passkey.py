"""Passkey retrieval: what the texts are, full marks for a model that copies, chance for one that does not look back."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tsumiki.data import Document, Tokenizer
from tsumiki.errors import UserError
from tsumiki.evaluate.passkey import CANDIDATES, PasskeyTexts, passkey, passkey_texts, words_of
from tsumiki.models import LanguageModel

LENGTH = 97

both = pytest.mark.parametrize("language", ["en", "ja"])


@pytest.fixture
def write(story_tokenizer: Tokenizer, stories: dict[str, list[Document]]) -> Callable[..., PasskeyTexts]:
    def write(language: str, *, length: int = LENGTH, **options: Any) -> PasskeyTexts:
        texts = [document.text for document in stories[language][:20]]
        return passkey_texts(story_tokenizer, texts, language, length=length, **options)

    return write


class Stubborn:
    """Gives a token the same score whatever the text is."""

    unembedding = torch.zeros(700, 1)

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def hidden_states(self, ids: Tensor) -> Tensor:
        return ids[..., None]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.scores.expand(len(hidden), -1)


class Copying:
    """Looks for the place where the last three tokens stood before, and says what followed: induction by hand."""

    unembedding = torch.zeros(700, 1)

    def hidden_states(self, ids: Tensor) -> Tensor:
        return ids[:, None].expand(-1, ids.shape[1], -1)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = torch.zeros(len(hidden), 700)
        for row, text in enumerate(hidden.tolist()):
            places = [end for end in range(3, len(text)) if text[end - 3 : end] == text[-3:]]
            logits[row, text[places[-1]]] = 1.0
        return logits


@both
def test_a_model_that_copies_is_always_right(write: Callable[..., PasskeyTexts], language: str) -> None:
    model: Any = Copying()
    for length in (LENGTH, 211):
        assert passkey(model, write(language, length=length, trials=30)).value == 1.0


@both
def test_a_model_that_does_not_look_back_is_at_chance(write: Callable[..., PasskeyTexts], language: str) -> None:
    texts = write(language, trials=600)
    for scores in (torch.zeros(700), torch.arange(700.0)):
        model: Any = Stubborn(scores)
        low, high = passkey(model, texts).interval
        assert low < 1 / CANDIDATES < high


def test_an_untrained_model_is_at_chance(
    write: Callable[..., PasskeyTexts], tiny_model: Callable[[int], LanguageModel]
) -> None:
    low, high = passkey(tiny_model(0), write("en", length=61, trials=300)).interval
    assert low < 1 / CANDIDATES < high


@both
def test_a_text_tells_the_secret_once_and_asks_at_the_end(
    write: Callable[..., PasskeyTexts], story_tokenizer: Tokenizer, language: str
) -> None:
    texts = write(language, trials=40)
    assert texts.ids.shape == (40, LENGTH)
    assert texts.candidates.shape == (40, CANDIDATES)
    told, cue = [], {"en": "the secret word is", "ja": "ひみつのことばは「"}[language]
    for ids, candidates, secret in zip(texts.ids.tolist(), texts.candidates.tolist(), texts.secrets, strict=True):
        assert len(set(candidates)) == CANDIDATES
        assert ids[0] == story_tokenizer.end_of_text_id
        text = story_tokenizer.decode(ids[1:])
        assert text.endswith(cue)
        assert text.count(cue) == 2
        (found,) = re.findall(f"{cue}(.+?)[.」]", text)
        assert found == story_tokenizer.decode([candidates[secret]])
        told.append(text.index(cue) / len(text))
    assert min(told) < 0.3
    assert max(told) > 0.7


def test_the_seed_decides(write: Callable[..., PasskeyTexts]) -> None:
    first, again, other = (write("ja", seed=seed, trials=5) for seed in (1, 1, 2))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


def test_words_are_whole_tokens(story_tokenizer: Tokenizer) -> None:
    for language, pattern in (("en", r" [a-z]+"), ("ja", r"[ぁ-ん一-龠ァ-ヶ]+")):
        words = words_of(story_tokenizer, language)
        assert len(words) > 20
        assert all(re.fullmatch(pattern, story_tokenizer.decode([word])) for word in words)


def test_what_cannot_be_asked_is_refused(write: Callable[..., PasskeyTexts], story_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="in 'fr' this tokenizer has 0"):
        passkey_texts(story_tokenizer, ["Il était une fois."], "fr", length=LENGTH)
    with pytest.raises(UserError, match="choose a length above"):
        write("en", length=5)
