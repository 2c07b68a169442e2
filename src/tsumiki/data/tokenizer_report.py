"""How well a tokenizer suits the text it is used on."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsumiki.data.document import Document
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError

RARE = 100
"""Occurrences in the training text below which a token has hardly been trained."""


@dataclass
class LanguageFigures:
    """A tokenizer on the held-out text of one language. Sizes are totals; tokens exclude end-of-text."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0
    partial_tokens: int = 0
    """Tokens that alone are not valid UTF-8: parts of characters."""
    bytes_per_token: float = 0.0
    characters_per_token: float = 0.0
    tokens_per_document: float = 0.0
    partial_share: float = 0.0


@dataclass(frozen=True)
class TokenizerReport:
    """A tokenizer on the text of a run.

    Args:
        sha256: of its `tokenizer.json`.
        vocab_size: its ids.
        unused_tokens: ids that never occur in the training text.
        rare_tokens: ids that occur there fewer than 100 times, the unused ones included ("dead" tokens).
        partial_tokens: ids that alone are not valid UTF-8.
        unigram_nats: entropy of the tokens' frequencies in the training text, -sum p ln p: the loss of a model that
            knows how frequent each token is, and nothing else.
        round_trip_documents: held-out documents that came back byte for byte, which is all of them.
        languages: figures on the held-out text.
    """

    sha256: str
    vocab_size: int
    unused_tokens: int
    rare_tokens: int
    partial_tokens: int
    unigram_nats: float
    round_trip_documents: int
    languages: dict[str, LanguageFigures] = field(default_factory=dict)


def report_tokenizer(
    tokenizer: Tokenizer, validation: Iterable[Document], train_counts: NDArray[np.int64]
) -> TokenizerReport:
    """Encode and decode every held-out document and count.

    Args:
        tokenizer: what to judge.
        validation: the held-out documents.
        train_counts: int64 [vocab_size], how often each token occurs in the training text.

    Raises:
        UserError: a document does not come back as it was. The sentence names it.
    """
    partial = np.array([not _is_text(tokenizer.token_bytes(id)) for id in range(tokenizer.vocab_size)])
    languages: dict[str, LanguageFigures] = {}
    for document in validation:
        ids = tokenizer.encode(document.text)
        if tokenizer.decode(ids) != document.text:
            raise UserError(
                f"The tokenizer does not give back the document {document.key} of '{document.source}' as it was; "
                "choose a lossless one, or train one."
            )
        figures = languages.setdefault(document.language, LanguageFigures())
        figures.documents += 1
        figures.bytes += len(document.text.encode("utf-8"))
        figures.characters += len(document.text)
        figures.tokens += len(ids)
        figures.partial_tokens += int(partial[ids].sum())
    for figures in languages.values():
        figures.bytes_per_token = figures.bytes / figures.tokens
        figures.characters_per_token = figures.characters / figures.tokens
        figures.tokens_per_document = figures.tokens / figures.documents
        figures.partial_share = figures.partial_tokens / figures.tokens
    return TokenizerReport(
        sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        unused_tokens=int((train_counts == 0).sum()),
        rare_tokens=int((train_counts < RARE).sum()),
        partial_tokens=int(partial.sum()),
        unigram_nats=_entropy(train_counts),
        round_trip_documents=sum(figures.documents for figures in languages.values()),
        languages=languages,
    )


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
