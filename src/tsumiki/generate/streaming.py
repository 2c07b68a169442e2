"""Tokens in, whole characters out: text that can be shown while it is being written."""

import codecs
import unicodedata
from collections.abc import Iterator

from tsumiki.data.tokenizer import Tokenizer
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


class Completion(Iterator[str]):
    """What a model writes after a prompt, in pieces of at least one whole character. It ends where the story ends.

    The arguments are those of `Generation`, which is at hand as `generation` with the speed and the reason of the end.
    Like every document in training, the prompt begins with the end-of-text token; without a prompt the model begins a
    story of its own.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        prompt: str,
        sampling: Sampling,
        *,
        max_tokens: int | None = None,
        use_cache: bool = True,
    ) -> None:
        self.generation = Generation(
            model,
            [tokenizer.end_of_text_id, *tokenizer.encode(prompt)],
            sampling,
            max_tokens=max_tokens,
            stop_ids=[tokenizer.end_of_text_id],
            use_cache=use_cache,
        )
        self._text = TextStream(tokenizer)

    def __next__(self) -> str:
        for token in self.generation:
            if piece := self._text.push(token):
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
