"""The tokenizer that everything else sees: lossless, with one token that ends texts."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from tsumiki.errors import UserError

END_OF_TEXT = "<|endoftext|>"
"""The one special token that tsumiki uses: it begins every document, and so ends the one before."""

PROBES = (
    "Once upon a time, there was a frog.  He couldn't swim!\n\n",
    " 昔々、「おはよう。」と言った。\r\n　コーヒーを１２杯、がぶがぶ。ﾊﾝｶｸ",
    "がき\t\u00a0\u2028\ufeff\x00\x7f\ufffd ﬁ ½ é e\u0301 K \u200d",
    "Привет, 안녕, שלום, สวัสดี 🐸👩‍👩‍👧 \U0010ffff",
    "▁ Ġ Ċ ## @@ </w> <0x41> <unk> <s> </s> [UNK] <|endoftext|>",
)
"""Texts that a tokenizer with a normaliser, a gap or a marker of its own gives back changed."""


class Tokenizer:
    """A `tokenizer.json` (Hugging Face's format) that gives back every text as it was, byte for byte.

    Args:
        text: the file's content.
        where: what to call it in an error, usually the path.

    Raises:
        UserError: the content is no tokenizer; it changes text; it has no special token `<|endoftext|>`. The sentence
            says which, and why.
    """

    def __init__(self, text: str, where: str = "The tokenizer") -> None:
        self.text = text
        """The content of the `tokenizer.json`."""
        self.sha256 = hashlib.sha256(text.encode("utf-8")).hexdigest()
        description = _parse(text, where)
        self._inner = tokenizers.Tokenizer.from_str(text)
        # A story that holds "<|endoftext|>" holds thirteen characters, not the token.
        self._inner.encode_special_tokens = True
        self._inner.no_truncation()
        self._inner.no_padding()
        added = self._inner.get_added_tokens_decoder()
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        vocabulary = self._inner.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        """One more than the highest id; ids that stand for nothing count."""
        self._bytes = _bytes_of_ids(vocabulary, added, _is_byte_level(description, where), self.vocab_size, where)
        self.end_of_text_id = vocabulary.get(END_OF_TEXT, -1)
        if self.end_of_text_id not in self.special_ids:
            raise UserError(f"{where} has no special token '{END_OF_TEXT}', which begins every document.")
        self._prove_lossless(where)

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read a `tokenizer.json`. Raises a UserError as the class does, or if the file is missing."""
        return cls(read_text(Path(path)), where=str(path))

    def save(self, path: Path) -> None:
        """Write the `tokenizer.json`; its SHA-256 is `sha256`."""
        path.write_bytes(self.text.encode("utf-8"))

    def encode(self, text: str) -> list[int]:
        """The ids of a text; never a special one, whatever the text says."""
        return self._inner.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all cores."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Special tokens are empty; bytes that form no character become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for, perhaps only part of a character; none for a special token."""
        return self._bytes[id]

    def _prove_lossless(self, where: str) -> None:
        for token in sorted(self.special_ids):
            content = self._inner.id_to_token(token) or ""
            if not self.special_ids.isdisjoint(self.encode(content)):
                raise UserError(f"{where} makes a special token out of ordinary text that reads {content!r}.")
        for probe in PROBES:
            if self.decode(self.encode(probe)) != probe:
                raise UserError(
                    f"{where} is not lossless: {probe!r} comes back as {self.decode(self.encode(probe))!r}; "
                    "choose a byte-level tokenizer, or train one."
                )


def read_text(path: Path) -> str:
    """The content of a tokenizer file; a UserError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"The tokenizer '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The tokenizer '{path}' is not UTF-8 text; is it a tokenizer.json?") from error


def byte_characters() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte (as in GPT-2's vocabulary).

    Printable Latin-1 characters stand for themselves; the remaining bytes, in order, for U+0100 and on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON ({error}); is it a complete tokenizer.json?") from error
    if not isinstance(description, dict) or "vocab" not in (description.get("model") or {}):
        raise UserError(f"{where} is no tokenizer.json: it holds no model with a vocabulary.")
    return description


def _is_byte_level(description: dict[str, Any], where: str) -> bool:
    """True for byte-level, False for byte fallback; a UserError for anything else, or where text would be changed."""
    normalizer = description.get("normalizer")
    if normalizer and normalizer.get("normalizers") != []:
        raise UserError(
            f"{where} has a normaliser ({normalizer['type']}), which changes texts; choose one without, or train one."
        )
    if description["model"].get("dropout"):
        raise UserError(f"{where} has dropout, so a text's tokens change from time to time; set it to null.")
    for token in description.get("added_tokens") or ():
        if (token["lstrip"] or token["rstrip"]) and not token["special"]:
            raise UserError(f"{where}: its token {token['content']!r} swallows the spaces around it.")
    pre_tokenizer = description.get("pre_tokenizer") or {}
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    if any(step.get("type") == "ByteLevel" for step in steps):
        return True
    if description["model"].get("byte_fallback"):
        return False
    raise UserError(
        f"{where} is neither byte-level nor has it byte fallback, so some characters would be lost; "
        "choose such a one, or train one."
    )


def _bytes_of_ids(
    vocabulary: dict[str, int], added: dict[int, Any], byte_level: bool, size: int, where: str
) -> list[bytes]:
    byte_of = {character: byte for byte, character in byte_characters().items()}
    table = [b""] * size
    single = set()
    for token, id in vocabulary.items():
        if id in added:
            table[id] = b"" if added[id].special else token.encode("utf-8")
        elif not byte_level:
            fallback = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
            table[id] = bytes.fromhex(fallback[1]) if fallback else token.encode("utf-8")
            single |= {table[id]} if fallback else set()
        elif all(character in byte_of for character in token):
            table[id] = bytes(byte_of[character] for character in token)
            single |= {table[id]} if len(token) == 1 else set()
    if len(single) < 256:
        raise UserError(f"{where} has tokens for only {len(single)} of the 256 bytes, so some texts would be lost.")
    return table
