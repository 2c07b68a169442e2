"""Bits per byte: how well a model predicts a text, in a unit that does not depend on its tokenizer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsumiki.data import ValidationSet
from tsumiki.models import LanguageModel
from tsumiki.nn.loss import IGNORE, cross_entropy


@dataclass(frozen=True)
class BitsPerByte:
    """What predicting a text costs a model, as sums, so that the results of two texts can be added.

    Args:
        nats: -ln p summed over the text's tokens.
        num_tokens, num_bytes, num_characters: of the text; bytes in UTF-8.
        end_of_text_nats: -ln p summed over the ends of the documents. They are no bytes and so stand apart.
        num_documents: how many ends there were.
    """

    nats: float
    num_tokens: int
    num_bytes: int
    num_characters: int
    end_of_text_nats: float
    num_documents: int

    @property
    def bits_per_byte(self) -> float:
        """nats / (ln 2 · bytes). Compare it between models, never between languages: kana and kanji have 3 bytes."""
        return self.nats / (math.log(2) * self.num_bytes)

    @property
    def bits_per_character(self) -> float:
        """nats / (ln 2 · characters)."""
        return self.nats / (math.log(2) * self.num_characters)

    @property
    def nats_per_token(self) -> float:
        """The mean loss on the text's tokens. Depends on the tokenizer."""
        return self.nats / self.num_tokens

    @property
    def end_of_text(self) -> float:
        """The mean loss at the ends of documents, in nats; falls as the model learns when a story is over."""
        return self.end_of_text_nats / self.num_documents

    def __add__(self, other: "BitsPerByte") -> "BitsPerByte":
        return BitsPerByte(
            nats=self.nats + other.nats,
            num_tokens=self.num_tokens + other.num_tokens,
            num_bytes=self.num_bytes + other.num_bytes,
            num_characters=self.num_characters + other.num_characters,
            end_of_text_nats=self.end_of_text_nats + other.end_of_text_nats,
            num_documents=self.num_documents + other.num_documents,
        )


@dataclass(frozen=True)
class Bucket:
    """What predicting a text costs at some positions of the window: `start` to before `stop`, counted in tokens.

    Args:
        nats: -ln p summed over the text's tokens at these positions.
        num_tokens, num_bytes: how many they are, and the UTF-8 bytes that they stand for.
    """

    start: int
    stop: int
    nats: float
    num_tokens: int
    num_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """nats / (ln 2 · bytes); NaN where no token stands."""
        return self.nats / (math.log(2) * self.num_bytes) if self.num_bytes else math.nan


TokenLosses = tuple[Tensor, Tensor, Tensor]
"""Of some real targets: position in the window, id, and -ln p in fp64, on the CPU."""


def bits_per_byte(model: LanguageModel, validation: ValidationSet) -> BitsPerByte:
    """Read a validation set with a model.

    Every document is read alone, as [end of text] and its tokens, in windows of the set's `seq_len` without carry-over:
    the first tokens of a window are predicted from a short past. Nats are summed in fp64.

    Args:
        model: in evaluation mode. The caller decides on autocast.
    """
    return total(token_losses(model, validation), validation)


@torch.no_grad()
def token_losses(model: LanguageModel, validation: ValidationSet) -> Iterator[TokenLosses]:
    """What each real target of a validation set costs, batch by batch."""
    device = model.unembedding.device
    for batch in validation:
        ids, targets, documents = (tensor.to(device) for tensor in (batch.ids, batch.targets, batch.documents))
        hidden = model.hidden_states(ids, documents=documents)
        real = targets != IGNORE
        losses = cross_entropy(model.logits(hidden[real]), targets[real], reduction="none")
        yield real.nonzero()[:, 1].cpu(), targets[real].cpu(), losses.cpu().double()


def total(read: Iterable[TokenLosses], validation: ValidationSet) -> BitsPerByte:
    """What the tokens of a validation set cost altogether, the ends of texts apart."""
    nats = end_of_text_nats = torch.zeros((), dtype=torch.float64)
    num_tokens = num_documents = 0
    for _, targets, losses in read:
        ends = targets == validation.end_of_text_id
        nats = nats + losses[~ends].sum()
        end_of_text_nats = end_of_text_nats + losses[ends].sum()
        num_tokens += int((~ends).sum())
        num_documents += int(ends.sum())
    return BitsPerByte(
        nats=nats.item(),
        num_tokens=num_tokens,
        num_bytes=validation.num_bytes,
        num_characters=validation.num_characters,
        end_of_text_nats=end_of_text_nats.item(),
        num_documents=num_documents,
    )


def by_position(
    read: Iterable[TokenLosses], validation: ValidationSet, token_bytes: Sequence[int], *, width: int = 32
) -> list[Bucket]:
    """What the tokens cost at 0 to 31 in their window, at 32 to 63, and so on.

    A model that uses its context gets better along the window. It gets worse beyond the positions that it was trained
    on. Where documents are short, the late positions are those of the long documents only.

    Args:
        token_bytes: how many bytes each token of the vocabulary stands for.
        width: positions a bucket.
    """
    lengths = torch.tensor(token_bytes)
    num_buckets = -(-validation.seq_len // width)
    nats = torch.zeros(num_buckets, dtype=torch.float64)
    num_tokens, num_bytes = torch.zeros(2, num_buckets, dtype=torch.int64)
    for positions, targets, losses in read:
        text = targets != validation.end_of_text_id
        bucket = positions[text] // width
        nats.index_add_(0, bucket, losses[text])
        num_tokens.index_add_(0, bucket, torch.ones_like(bucket))
        num_bytes.index_add_(0, bucket, lengths[targets[text]])
    return [
        Bucket(
            start=number * width,
            stop=min((number + 1) * width, validation.seq_len),
            nats=nats[number].item(),
            num_tokens=int(num_tokens[number]),
            num_bytes=int(num_bytes[number]),
        )
        for number in range(num_buckets)
    ]


def by_language(model: LanguageModel, validation: Iterable[ValidationSet]) -> dict[str, BitsPerByte]:
    """Read several validation sets; those of the same language add up, languages never do."""
    results: dict[str, BitsPerByte] = {}
    for part in validation:
        result = bits_per_byte(model, part)
        results[part.language] = results[part.language] + result if part.language in results else result
    return results
