"""Whether a model finds a word again that was told once, far back: passkey retrieval, in a story."""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsumiki.data import Tokenizer
from tsumiki.errors import UserError
from tsumiki.evaluate.statistics import Proportion
from tsumiki.models import LanguageModel

CANDIDATES = 10
"""Words that a secret is chosen from; a model that does not look back is right in a tenth of all trials."""

BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class Wording:
    """How a secret is told and asked for in a language.

    Args:
        cue: what stands before the word, both times.
        end: what stands behind it when it is told.
        word: a token that is a whole word, as a regular expression.
        sentence: a sentence, as a regular expression.
    """

    cue: str
    end: str
    word: str
    sentence: str


WORDINGS = {
    "en": Wording(
        cue=" Remember, the secret word is", end=".", word=r" [a-z]{4,}", sentence=r"\S[^.!?]*[.!?][\"'”’]*\s*"
    ),
    "ja": Wording(
        cue="わすれないで、ひみつのことばは「",
        end="」だよ。",
        word=r"[ぁ-んァ-ヶ一-龠]{2,}",
        sentence=r"[^。！？]+[。！？]」?\s*",
    ),
}
"""By language. English words have their space in front, Japanese ones stand in brackets."""


@dataclass(frozen=True)
class PasskeyTexts:
    """Texts that tell a secret and ask for it.

    Args:
        ids: [N, T], each up to the question.
        candidates: [N, 10], the words that the secret was drawn from.
        secrets: [N], which of them it is.
    """

    ids: Tensor
    candidates: Tensor
    secrets: Tensor


def passkey_texts(
    tokenizer: Tokenizer, stories: Iterable[str], language: str, *, length: int, trials: int = 100, seed: int = 0
) -> PasskeyTexts:
    """Write the texts: [end of text], sentences of stories, one that tells the secret, sentences again, the question.

    The question is the beginning of the sentence that told: "Remember, the secret word is". The secret is drawn evenly
    from ten words, so a model that does not look back is right in 1/10 of all trials, whatever it thinks of the words.
    It is told at depths that are spread evenly over the texts.

    Args:
        stories: what the sentences are taken from.
        language: `en` or `ja`.
        length: tokens of a text.
        trials: how many texts.
        seed: of words and sentences.

    Raises:
        UserError: the language has no wording, the tokenizer too few words in one token, or the stories no sentence.
    """
    words = words_of(tokenizer, language)
    if len(words) < CANDIDATES:
        raise UserError(
            f"Passkey texts are written in {' and '.join(WORDINGS)} and need {CANDIDATES} words of one token; "
            f"in '{language}' this tokenizer has {len(words)}."
        )
    wording = WORDINGS[language]
    sentences = tokenizer.encode_batch([found for story in stories for found in re.findall(wording.sentence, story)])
    cue, end = tokenizer.encode(wording.cue), tokenizer.encode(wording.end)
    room = length - 2 * len(cue) - len(end) - 2  # two: the end of text before everything, and the secret
    if room < 1 or not sentences:
        raise UserError(
            f"A passkey text needs sentences between its {length - room} tokens about the secret; choose a length "
            "above that, and stories that have sentences."
        )
    chance = random.Random(seed)
    ids, candidates, secrets = [], [], []
    for trial in range(trials):
        choice, secret = chance.sample(words, CANDIDATES), chance.randrange(CANDIDATES)
        before, after = filler(sentences, room, depth=(trial + 0.5) / trials, chance=chance)
        ids.append([tokenizer.end_of_text_id, *before, *cue, choice[secret], *end, *after, *cue])
        candidates.append(choice)
        secrets.append(secret)
    return PasskeyTexts(torch.tensor(ids), torch.tensor(candidates), torch.tensor(secrets))


@torch.no_grad()
def passkey(model: LanguageModel, texts: PasskeyTexts) -> Proportion:
    """How often a model finds the secret the most probable of the ten words.

    Passkey retrieval of arXiv 2305.16300 by rank instead of by generation: a small model follows no instructions.

    Args:
        model: in evaluation mode. The caller decides on autocast.
    """
    device, right = model.unembedding.device, 0
    for trials in torch.arange(len(texts.ids)).split(max(1, BATCH_TOKENS // texts.ids.shape[1])):
        logits = model.logits(model.hidden_states(texts.ids[trials].to(device))[:, -1]).cpu()
        answers = logits.gather(1, texts.candidates[trials]).argmax(dim=1)
        right += int((answers == texts.secrets[trials]).sum())
    return Proportion(right, len(texts.ids))


def words_of(tokenizer: Tokenizer, language: str) -> list[int]:
    """The tokens that are whole words of a language; none for a language without a wording."""
    if language not in WORDINGS:
        return []
    ordinary = (token for token in range(tokenizer.vocab_size) if token not in tokenizer.special_ids)
    return [token for token in ordinary if re.fullmatch(WORDINGS[language].word, tokenizer.decode([token]))]


def filler(
    sentences: Sequence[list[int]], room: int, *, depth: float, chance: random.Random
) -> tuple[list[int], list[int]]:
    """`room` tokens of sentences in random order, parted at the end of the sentence that is nearest to `depth`.

    The very first sentence lacks its beginning, so that the tokens come out even.
    """
    chosen: list[list[int]] = []
    while (missing := room - sum(map(len, chosen))) > 0:
        chosen.append(chance.choice(sentences)[-missing:])
    chosen.reverse()
    ends = [sum(map(len, chosen[: number + 1])) for number in range(len(chosen))]
    parting = min(ends, key=lambda end: abs(end - depth * room))
    tokens = [token for sentence in chosen for token in sentence]
    return tokens[:parting], tokens[parting:]
