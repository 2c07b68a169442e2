import json
from importlib import resources

import pytest
import torch

from tsumiki.data import Document
from tsumiki.data.tokenizer import Tokenizer, train_tokenizer
from tsumiki.generate.streaming import TextStream, printable


class ByteTokenizer:
    """Token n is byte n; 256 is the end of a text."""

    special_ids = frozenset({256})

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])


def stories(language: str) -> list[str]:
    lines = resources.files("tsumiki").joinpath("sample", f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["story"] for line in lines]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    documents = [
        Document(text=story, language=language, source="sample", key=str(number))
        for language in ("en", "ja")
        for number, story in enumerate(stories(language))
    ]
    return train_tokenizer(documents, vocab_size=8192, train_bytes=10**6)


def written(data: bytes) -> tuple[str, int]:
    stream = TextStream(ByteTokenizer())  # type: ignore[arg-type]
    text = "".join(stream.push(byte) for byte in data)
    return text, stream.invalid_bytes


def test_every_japanese_story_cut_at_every_byte_shows_whole_characters() -> None:
    for story in stories("ja"):
        stream = TextStream(ByteTokenizer())  # type: ignore[arg-type]
        for character in story:
            *head, last = character.encode("utf-8")
            assert all(stream.push(byte) == "" for byte in head)  # a cut within the character shows none of it
            assert stream.push(last) == character
        assert stream.invalid_bytes == 0


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_story_streams_exactly(tokenizer: Tokenizer, language: str) -> None:
    for story in stories(language):
        stream = TextStream(tokenizer)
        shown = ""
        for token in tokenizer.encode(story):
            shown += stream.push(token)
            assert story.startswith(shown)
        assert shown == story
        assert stream.invalid_bytes == 0


def test_ten_thousand_random_token_sequences_give_valid_text(tokenizer: Tokenizer) -> None:
    generator = torch.Generator().manual_seed(0)
    sequences = torch.randint(0, tokenizer.vocab_size, (10_000, 37), generator=generator).tolist()
    dropped = 0
    for sequence in sequences:
        stream = TextStream(tokenizer)
        text = "".join(stream.push(token) for token in sequence)
        data = b"".join(tokenizer.token_bytes(token) for token in sequence)
        assert "\ufffd" not in text
        assert (
            text.encode("utf-8").decode("utf-8") == text == data.decode("utf-8", errors="ignore").replace("\ufffd", "")
        )
        assert stream.invalid_bytes == len(data) - len(text.encode("utf-8"))
        dropped += stream.invalid_bytes
    assert dropped > 0  # random tokens do write broken characters, so the test has seen some


@pytest.mark.parametrize(
    ("data", "text", "invalid"),
    [
        (b"a\xffb", "ab", 1),
        ("あ".encode()[:2] + b"b", "b", 2),  # a character that breaks off
        ("あ".encode()[:2], "", 2),  # a text that breaks off
        ("あ".encode()[1:] + b"b", "b", 2),  # a character without its beginning
        ("あ".encode()[:2] + "い".encode(), "い", 2),
        ("😀".encode(), "😀", 0),
        (b"\xed\xa0\x80", "", 3),  # a surrogate is no character
        (b"\xc0\xaf", "", 2),  # nor is an overlong form
        (b"\xf4\x90\x80\x80", "", 4),  # nor anything beyond U+10FFFF
        ("\ufffd".encode() + b"c", "c", 3),  # the replacement character itself
        (b"", "", 0),
    ],
)
def test_bytes_that_are_no_character_are_dropped_and_counted(data: bytes, text: str, invalid: int) -> None:
    assert written(data) == (text, invalid)


def test_special_tokens_write_nothing() -> None:
    stream = TextStream(ByteTokenizer())  # type: ignore[arg-type]
    assert stream.push(ord("a")) + stream.push(256) + stream.push(ord("b")) == "ab"


def test_control_characters_are_not_printable() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9bあ\u3000👩\u200d🚀\n\t") == "a[2Jbあ\u3000👩\u200d🚀\n\t"
