"""Texts to judge a model by: what it writes after the openings of held-out stories, beside what really follows."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tsumiki.data import PackedSource, Tokenizer
from tsumiki.data.mixing import permutation, seed_of
from tsumiki.evaluate.units import is_spaceless, units
from tsumiki.generate import Sampling, TextModel, TextStream
from tsumiki.generate.batch import Engine, Request, Text
from tsumiki.models import LanguageModel

OPENING_WORDS, OPENING_CHARACTERS = 12, 24
ROWS = 32
"""Texts that are written at once."""
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
    openings = list(story_openings(model, held_out, seed=seed, number=number))
    end = model.tokenizer.end_of_text_id
    requests = [
        Request(
            prompt=[end, *model.tokenizer.encode(opening)],
            sampling=Sampling(temperature=temperature, seed=seed_of(seed, opening) % 2**63),
            max_tokens=max_tokens,
            stop_ids=[end],
        )
        for opening, _ in openings
    ]
    written = write_all(model.model, requests, progress)
    return [_sample(model.tokenizer, *story, text) for story, text in zip(openings, written, strict=True)]


def write_all(model: LanguageModel, requests: Sequence[Request], progress: Callable[[int], None]) -> list[Text]:
    """Write texts, many at once."""
    if not requests:
        return []
    context = max(len(request.prompt) + (request.max_tokens or 0) for request in requests)
    engine = Engine(model, num_rows=min(ROWS, len(requests)), context=context)
    texts = [engine.submit(request) for request in requests]
    while engine.num_busy:
        engine.step()
        progress(sum(text.stop_reason is not None for text in texts))
    return texts


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


def _sample(tokenizer: Tokenizer, opening: str, rest: str, written: Text) -> Sample:
    stream = TextStream(tokenizer)
    text = "".join(map(stream.push, written.tokens))
    return Sample(
        opening=opening,
        text=text,
        real=rest,
        ended=written.stop_reason == "stop token",
        num_bytes=len(text.encode("utf-8")) + stream.invalid_bytes,
        invalid_bytes=stream.invalid_bytes,
    )


def cut_to_equal_length(sample: Sample, language: str) -> tuple[str, str]:
    """A sample's text and the real one, both cut to as many words (characters) as the shorter one has."""
    length = min(len(units(sample.text, language)), len(units(sample.real, language)))
    return _first(sample.text, length, language), _first(sample.real, length, language)


def _first(text: str, length: int, language: str) -> str:
    pattern = r"\S" if is_spaceless(language) else r"[\w']+"
    ends = [found.end() for found in re.finditer(pattern, text)]
    return text if length >= len(ends) else text[: ends[length - 1]] if length else ""
