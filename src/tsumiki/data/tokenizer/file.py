"""A tokenizer that somebody else made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tsumiki.data.sources import Source
from tsumiki.data.tokenizer.config import TokenizerConfig, TokenizerRecipe
from tsumiki.data.tokenizer.core import END_OF_TEXT, Tokenizer, read_text
from tsumiki.errors import UserError
from tsumiki.spec import spec

USUAL_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]")
"""What the token that ends a text is usually called, in the order in which they are looked for."""


class TokenizerFile(TokenizerRecipe):
    """A BPE's `tokenizer.json`, if it is lossless: byte-level or with byte fallback, without a normaliser.

    Its ids stay what they are. Its end-of-text token is renamed to `<|endoftext|>`, and what it would cut off, pad or
    put around a text is dropped, because that is the packing's business; so every run's tokenizer is of one form.
    """

    @spec
    class Config(TokenizerConfig):
        """Which file.

        Args:
            path: a `tokenizer.json`.
            end_of_text: the token that ends a text; None looks for one of the usual names.
        """

        kind: Literal["file"] = "file"
        path: str
        end_of_text: str | None = None

    def __init__(self, config: Config) -> None:
        self.config = config

    def identity(self, sources: Sequence[Source]) -> Any:
        """The file's content and the end-of-text token."""
        del sources
        return [self.config.end_of_text, read_text(Path(self.config.path))]

    def build(self, sources: Sequence[Source]) -> Tokenizer:
        """Read the file. Raises a UserError that says why if it cannot be used."""
        del sources
        return import_tokenizer(read_text(Path(self.config.path)), self.config.end_of_text, self.config.path)


def import_tokenizer(text: str, end_of_text: str | None, where: str) -> Tokenizer:
    """Make a foreign `tokenizer.json`'s content one of ours; see `TokenizerFile`."""
    try:
        description = json.loads(text)
        model, added = description["model"], description.setdefault("added_tokens", [])
        kind, vocabulary = model.get("type", "BPE"), model["vocab"]
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where} is no tokenizer.json: it holds no model with a vocabulary.") from error
    if kind != "BPE":
        raise UserError(f"{where} is a {kind} model, which cannot give back every text; choose a BPE, or train one.")
    ids = vocabulary | {token["content"]: token["id"] for token in added}
    name = _end_of_text_name(ids, end_of_text, where)
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    entry |= {"id": ids[name], "content": END_OF_TEXT}
    others = [token for token in added if token["content"] != name]
    description["added_tokens"] = sorted([*others, entry], key=lambda token: token["id"])
    model["vocab"] = {END_OF_TEXT if token == name else token: id for token, id in vocabulary.items()}
    description |= {"truncation": None, "padding": None, "post_processor": None}
    return Tokenizer(json.dumps(description, ensure_ascii=False), where)


def _end_of_text_name(ids: dict[str, int], wanted: str | None, where: str) -> str:
    if wanted is None:
        wanted = next((name for name in USUAL_NAMES if name in ids), None)
        if wanted is None:
            raise UserError(
                f"{where} has no token that ends a text (looked for {', '.join(USUAL_NAMES)}); "
                "name it with `end_of_text`."
            )
    if wanted not in ids:
        raise UserError(f"{where} has no token '{wanted}'; name another one with `end_of_text`.")
    if wanted != END_OF_TEXT and END_OF_TEXT in ids:
        raise UserError(f"{where} has a token '{END_OF_TEXT}' already; leave `end_of_text` out to use that one.")
    return wanted
