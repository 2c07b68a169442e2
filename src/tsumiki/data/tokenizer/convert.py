"""The vocabularies of OpenAI's models, turned from tiktoken's form into a `tokenizer.json` with the same ids."""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tsumiki.data.sources import Source
from tsumiki.data.tokenizer.config import TokenizerConfig, TokenizerRecipe
from tsumiki.data.tokenizer.core import PROBES, Tokenizer, byte_characters
from tsumiki.errors import UserError
from tsumiki.spec import spec


class TiktokenTokenizer(TokenizerRecipe):
    """A tiktoken encoding by its name, such as `cl100k_base` (100,277 ids, of which 16 stand for nothing)."""

    @spec
    class Config(TokenizerConfig):
        """Which encoding; the `tiktoken` library fetches and caches it."""

        kind: Literal["tiktoken"] = "tiktoken"
        name: str

    def __init__(self, config: Config) -> None:
        self.config = config

    def identity(self, sources: Sequence[Source]) -> Any:
        """The name: what an encoding's name stands for does not change."""
        del sources
        return ["tiktoken", self.config.name]

    def build(self, sources: Sequence[Source]) -> Tokenizer:
        """Fetch and convert it.

        Raises:
            UserError: the extra is missing, there is no such encoding, or it cannot be fetched.
        """
        del sources
        name = self.config.name
        try:
            import tiktoken
        except ImportError as error:
            raise UserError("A tiktoken vocabulary needs an extra; run: pip install 'tsumiki[tiktoken]'") from error
        if name not in tiktoken.list_encoding_names():
            raise UserError(
                f"There is no tiktoken encoding '{name}'; known: {', '.join(tiktoken.list_encoding_names())}."
            )
        try:
            encoding = tiktoken.get_encoding(name)
        except OSError as error:
            raise UserError(
                f"The tiktoken encoding '{name}' could not be fetched; check the connection, "
                "or name a directory that holds it with TIKTOKEN_CACHE_DIR."
            ) from error
        return convert(encoding)


def convert(encoding: Any) -> Tokenizer:
    """A `tiktoken.Encoding` as a tokenizer with equal ids for every text.

    tiktoken stores no merges, only ranks: it joins the adjacent pair whose joined bytes have the lowest rank, leftmost
    first, until no joined pair has a rank; and a piece that is itself a token is that token at once (`ignore_merges`).
    BPE with a list of merges does the same if, for each token t, the list holds the last merge of t's own bytes, in
    the order of ranks: where t arises within a text, no merge has crossed its borders, so inside it the same
    merges have happened in the same order as in t alone, and the last one is the same.

    Ids without a token become special tokens named `<|unused_N|>`, so that all other ids keep their places.

    Raises:
        UserError: the conversion does not agree with the original on the probes.
    """
    ranks: Mapping[bytes, int] = encoding._mergeable_ranks
    character = byte_characters()
    name_of = {id: "".join(character[byte] for byte in token) for token, id in ranks.items()}
    special = {id: token for token, id in encoding._special_tokens.items()}
    unused = {id: f"<|unused_{id}|>" for id in range(encoding.n_vocab) if id not in name_of and id not in special}
    special |= unused
    merges = [
        [name_of[ranks[part]] for part in parts]
        for token in sorted(ranks, key=lambda token: ranks[token])
        if (parts := last_merge(token, ranks)) is not None
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": oniguruma(encoding._pat_str)}, "behavior": "Isolated"}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, "content": special[id], **flags} for id in sorted(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{**split, "invert": False}, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {token: id for id, token in sorted((name_of | special).items())},
            "merges": merges,
        },
    }
    tokenizer = Tokenizer(json.dumps(description, ensure_ascii=False), f"The tiktoken encoding '{encoding.name}'")
    for text in (*PROBES, *special.values()):
        if tokenizer.encode(text) != encoding.encode_ordinary(text):
            raise UserError(f"The tiktoken encoding '{encoding.name}' cannot be converted: {text!r} gets other ids.")
    return tokenizer


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that BPE leaves of a token just before it is whole; None if it never becomes whole."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [left + right for left, right in itertools.pairwise(parts)]
        best = min(range(len(joined)), key=lambda i: ranks.get(joined[i], math.inf))
        if joined[best] not in ranks:
            return None
        parts[best : best + 2] = [joined[best]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def oniguruma(pattern: str) -> str:
    """A pattern of tiktoken's regex engine, spelled for the one that `tokenizers` uses.

    Two spellings differ: a possessive interval, `X{1,3}+`, is an atomic group there; and the text's end is `\\z`, as
    `$` is the end of a line.
    """
    atom = r"(?:\\p\{\w+\}|\\.|\[(?:\\.|[^\]])*\]|[^\\\])])"
    pattern = re.sub(rf"({atom})(\{{\d+(?:,\d*)?\}})\+", r"(?>\1\2)", pattern)
    return re.sub(r"(\\.|\[(?:\\.|[^\]])*\])|\$", lambda match: match[1] or r"\z", pattern)
