"""Texts to judge a model by: what it writes after the openings of held-out stories, beside what really follows."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tsumiki.data import PackedSource
from tsumiki.data.mixing import permutation, seed_of
from tsumiki.evaluate.units import is_spaceless, units
from tsumiki.generate import Completion, Sampling, TextModel

OPENING_WORDS, OPENING_CHARACTERS = 12, 24
SHORTEST = 20
"""Units that a story must have after its opening to be used."""


@dataclass(frozen=True)
class Sample:
    """A story's opening, and how it goes on.

    Args:
        opening: the first words of a held-out story.
        text: what the model writes after them.
        real: what the story says after them.
        ended: the model ended its text by itself.
        num_bytes, invalid_bytes: what the model wrote, and how much of it was no UTF-8, which `text` leaves out.
    """

    opening: str
    text: str
    real: str
    ended: bool
    num_bytes: int
    invalid_bytes: int


def draw_samples(
    model: TextModel,
    held_out: Sequence[PackedSource],
    *,
    number: int,
    max_tokens: int,
    temperature: float,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Sample]:
    """Let a model continue the openings of held-out stories of one language.

    Args:
        held_out: the sources of the language; stories are taken from all of them together, in an order that only `seed`
            and their number decide.
        number: how many; fewer if there are not as many stories.
        progress: called with how many are done.
    """
    samples = []
    for opening, rest in story_openings(model, held_out, seed=seed, number=number):
        sampling = Sampling(temperature=temperature, seed=seed_of(seed, opening) % 2**63)
        samples.append(_continue(model, opening, rest, sampling, max_tokens))
        progress(len(samples))
    return samples


def story_openings(
    model: TextModel, held_out: Sequence[PackedSource], *, seed: int, number: int
) -> Iterator[tuple[str, str]]:
    """Opening and rest of held-out stories, at most `number`.

    Left out are stories that end soon after their opening, and openings that fill more than half of the context.
    """
    stories = [(source, index) for source in held_out for index in range(source.num_documents)]
    for choice in permutation(len(stories), seed_of("openings", seed)):
        if number == 0:
            return
        source, index = stories[choice]
        opening, rest = split_opening(model.tokenizer.decode(source.document(index).tolist()), source.language)
        room = model.model.config.max_seq_len // 2 - len(model.tokenizer.encode(opening))
        if room > 0 and len(units(rest, source.language)) >= SHORTEST:
            number -= 1
            yield opening, rest


def split_opening(story: str, language: str) -> tuple[str, str]:
    """The first 12 words (24 characters) of a story, and the rest, which begins with a space where the language has."""
    length = OPENING_CHARACTERS
    if not is_spaceless(language):
        ends = [word.end() for word in re.finditer(r"\S+", story)]
        length = ends[min(OPENING_WORDS, len(ends)) - 1] if ends else 0
    return story[:length], story[length:]


def _continue(model: TextModel, opening: str, rest: str, sampling: Sampling, max_tokens: int) -> Sample:
    completion = Completion(model.model, model.tokenizer, opening, sampling, max_tokens=max_tokens)
    text = "".join(completion)
    return Sample(
        opening=opening,
        text=text,
        real=rest,
        ended=completion.generation.stop_reason == "stop token",
        num_bytes=len(text.encode("utf-8")) + completion.invalid_bytes,
        invalid_bytes=completion.invalid_bytes,
    )


def cut_to_equal_length(sample: Sample, language: str) -> tuple[str, str]:
    """A sample's text and the real one, both cut to as many words (characters) as the shorter one has."""
    length = min(len(units(sample.text, language)), len(units(sample.real, language)))
    return _first(sample.text, length, language), _first(sample.real, length, language)


def _first(text: str, length: int, language: str) -> str:
    pattern = r"\S" if is_spaceless(language) else r"[\w']+"
    ends = [found.end() for found in re.finditer(pattern, text)]
    return text if length >= len(ends) else text[: ends[length - 1]] if length else ""
