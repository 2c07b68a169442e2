"""Training a byte-level BPE on the sources' own text."""

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tsumiki.config import dump
from tsumiki.data.document import Document
from tsumiki.data.sources import Source
from tsumiki.data.tokenizer.config import TokenizerConfig, TokenizerRecipe
from tsumiki.data.tokenizer.core import END_OF_TEXT, Tokenizer
from tsumiki.errors import UserError
from tsumiki.spec import spec

_JAPANESE = r"\p{Han}\p{Hiragana}\p{Katakana}ー゙゚ｰﾞﾟ"
_MARKS = "。、！？「」『』（）"

PATTERN = "|".join(
    (
        r"['’](?:[sdmt]|ll|ve|re)(?!\p{L})",  # it's, they’ve
        rf" ?[\p{{L}}&&[^{_JAPANESE}]][[\p{{L}}\p{{M}}]&&[^{_JAPANESE}]]*",  # a word, with the space before it
        r"\p{Han}+",
        r"\p{Hiragana}[\p{Hiragana}ー゙゚]*",
        r"[\p{Katakana}ーｰﾞﾟ][\p{Katakana}ーｰﾞﾟ゙゚]*",
        r"\p{N}{1,3}",
        rf"[{_MARKS}]",  # each alone: 。 and 」 are two tokens, and the same two everywhere
        rf" ?[^\s\p{{L}}\p{{N}}{_MARKS}]+",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",  # all spaces but the last, which goes with the word
        r"\s+",
    )
)
"""The pieces that a text is cut into before BPE; no token reaches across a cut. What no line matches is a piece too."""


class TrainedTokenizer(TokenizerRecipe):
    """Byte-level BPE (arXiv 1508.07909, on bytes): `<|endoftext|>`, the 256 bytes, then the most frequent merges.

    Learned from the training documents: of each language the same number of bytes, at most `train_bytes`, as many as
    the language with the least text has. A language's documents are chosen by hash, so evenly over its sources, and
    the same documents give the same tokenizer.
    """

    @spec
    class Config(TokenizerConfig):
        """How large the vocabulary is and how much text it is learned from.

        Args:
            vocab_size: tokens, the special one and the 256 bytes included.
            train_bytes: UTF-8 bytes of text a language.
        """

        kind: Literal["train"] = "train"
        vocab_size: int = 8192
        train_bytes: int = 15_000_000

        def __post_init__(self) -> None:
            if self.vocab_size < 257:
                raise ValueError(f"vocab_size is {self.vocab_size}, but 256 bytes and one special token need 257.")
            if self.train_bytes < 1:
                raise ValueError(f"train_bytes is {self.train_bytes}, but must be 1 or more.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def identity(self, sources: Sequence[Source]) -> Any:
        """The options, the pattern and the sources."""
        return [dump(self.config), PATTERN, [[source.language, source.identity] for source in sources]]

    def build(self, sources: Sequence[Source]) -> Tokenizer:
        """Read the sources once, choose the documents and learn the merges.

        Raises:
            UserError: the text is too small for so many tokens; the sentence says how many it gives.
        """
        return train_tokenizer(
            (document for source in sources for document in source.documents("train")),
            vocab_size=self.config.vocab_size,
            train_bytes=self.config.train_bytes,
        )


def train_tokenizer(documents: Iterable[Document], *, vocab_size: int, train_bytes: int) -> Tokenizer:
    """`TrainedTokenizer` for documents that are at hand."""
    texts = balanced_texts(documents, train_bytes)
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer=trainer)
    if inner.get_vocab_size() < vocab_size:
        raise UserError(
            f"The training text gives a vocabulary of {inner.get_vocab_size()} tokens, not {vocab_size}: it holds too "
            f"little text; set vocab_size to {inner.get_vocab_size()} or less, or add text."
        )
    return Tokenizer(inner.to_str())


def balanced_texts(documents: Iterable[Document], limit: int) -> list[str]:
    """Texts of equal size a language: the documents with the smallest hashes, up to `limit` bytes.

    A document that would go over the limit is the last one taken, so that every language gives at least one.
    """
    chosen: dict[str, _Smallest] = {}
    for document in documents:
        chosen.setdefault(document.language, _Smallest(limit)).add(document.text)
    fair = min((language.size for language in chosen.values()), default=0)
    return [text for language in sorted(chosen) for text in chosen[language].texts(min(fair, limit))]


class _Smallest:
    """The texts with the smallest hashes: the fewest that together have `limit` bytes, of all texts seen."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[int, int, str]] = []
        self.size = 0

    def add(self, text: str) -> None:
        data = text.encode("utf-8")
        # Negated, because Python's heap has its smallest item on top and the largest hash is to go first.
        rank = -int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
        heapq.heappush(self._heap, (rank, len(data), text))
        self.size += len(data)
        while self.size - self._heap[0][1] >= self._limit:
            self.size -= heapq.heappop(self._heap)[1]

    def texts(self, limit: int) -> list[str]:
        taken, size = [], 0
        for _, length, text in sorted(self._heap, reverse=True):
            if size >= limit:
                break
            taken.append(text)
            size += length
        return taken
