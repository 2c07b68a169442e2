"""Tokens in, whole characters out: text that can be shown while it is being written."""

import codecs
import unicodedata
from collections.abc import Iterator, Sequence

from torch import Tensor

from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError
from tsumiki.generate.batch import Engine
from tsumiki.generate.engine import Generation
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel


class TextStream:
    """Decode tokens one by one into text that never holds half a character.

    A byte-level token may end in the middle of a character (three bytes long in most of Japanese). Such bytes are held
    until the rest arrives, so the stream needs no end: what is still held then was no character. Bytes that cannot
    become one are dropped; a half-trained model writes some. So is U+FFFD, the replacement character, which no story
    holds. Special tokens write nothing.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._bytes_in = 0
        self._bytes_out = 0

    def push(self, token: int) -> str:
        """The characters that `token` completes; empty while one is still incomplete."""
        if token in self._tokenizer.special_ids:
            return ""
        data = self._tokenizer.token_bytes(token)
        text = self._decoder.decode(data).replace("\N{REPLACEMENT CHARACTER}", "")
        self._bytes_in += len(data)
        self._bytes_out += len(text.encode("utf-8"))
        return text

    @property
    def invalid_bytes(self) -> int:
        """Bytes that became no character: the dropped ones, and once the text has ended, those still held."""
        return self._bytes_in - self._bytes_out


class StopStrings:
    """Text in, text out, up to the first stop string; its beginning is held back until it turns out to be none."""

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise UserError("A stop string is empty, so that every text would end before it began; leave it out.")
        self._stops = stops
        self._held = ""
        self.found = False
        """A stop string has occurred; nothing comes any more."""

    def push(self, text: str) -> str:
        """What is certainly before a stop string."""
        self._held += text
        ends = [self._held.find(stop) for stop in self._stops if stop in self._held]
        if ends:
            self.found = True
            certain = min(ends)
        else:
            certain = len(self._held) - max((self._begun(stop) for stop in self._stops), default=0)
        piece, self._held = self._held[:certain], self._held[certain:]
        return piece

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return "" if self.found else held

    def _begun(self, stop: str) -> int:
        """How many characters of `stop` the held text ends with."""
        lengths = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((length for length in lengths if self._held.endswith(stop[:length])), 0)


class Completion(Iterator[str]):
    """What a model writes after a prompt, in pieces of at least one whole character. It ends where the story ends.

    The arguments are those of `Generation`, which is at hand as `generation` with the speed and the reason of the end.
    Like every document in training, the prompt begins with the end-of-text token; without a prompt the model begins a
    story of its own. The text also ends before the first of the strings `stop`, wherever its tokens begin and end.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        prompt: str,
        sampling: Sampling,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        use_cache: bool = True,
        engine: Engine | None = None,
        follow: Tensor | None = None,
    ) -> None:
        self._stop = StopStrings(stop)
        self.generation = Generation(
            model,
            [tokenizer.end_of_text_id, *tokenizer.encode(prompt)],
            sampling,
            max_tokens=max_tokens,
            stop_ids=[tokenizer.end_of_text_id],
            use_cache=use_cache,
            engine=engine,
            follow=follow,
        )
        self._text = TextStream(tokenizer)

    def __next__(self) -> str:
        for token in self.generation:
            piece = self._stop.push(self._text.push(token))
            if self._stop.found:
                self.generation.stop(because="stop text")
            if piece:
                return piece
        if piece := self._stop.finish():
            return piece
        raise StopIteration

    @property
    def invalid_bytes(self) -> int:
        """Bytes that the model wrote and that are no text."""
        return self._text.invalid_bytes


def printable(text: str) -> str:
    """`text` without control characters, which a model may write and a terminal would obey."""
    return "".join(character for character in text if character in "\n\t" or unicodedata.category(character) != "Cc")


def one_line(text: str) -> str:
    """`text` as one line: printable, with every run of spaces and line breaks made one space."""
    return " ".join(printable(text).split())
