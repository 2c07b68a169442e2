"""Tokenizers: trained here, read from a file, or converted from tiktoken; afterwards all are one `tokenizer.json`.

To add a way to get one: write a file with a `TokenizerRecipe` and its `@spec Config`, and name it in `TOKENIZERS`.
"""

from typing import Any

from tsumiki.data.tokenizer.config import TokenizerConfig, TokenizerRecipe
from tsumiki.data.tokenizer.convert import TiktokenTokenizer
from tsumiki.data.tokenizer.core import END_OF_TEXT, Tokenizer
from tsumiki.data.tokenizer.file import TokenizerFile
from tsumiki.data.tokenizer.train import TrainedTokenizer, train_tokenizer

TOKENIZERS: dict[str, type[Any]] = {
    "train": TrainedTokenizer,
    "file": TokenizerFile,
    "tiktoken": TiktokenTokenizer,
}
"""Every way to get a tokenizer by the `kind` that a configuration names it with."""

__all__ = [
    "END_OF_TEXT",
    "TOKENIZERS",
    "TiktokenTokenizer",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerFile",
    "TokenizerRecipe",
    "TrainedTokenizer",
    "train_tokenizer",
]
