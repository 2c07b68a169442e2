"""What more context is worth: the same tokens, predicted from a shorter and from a longer past."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tsumiki.data import PackedSource
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel
from tsumiki.nn.loss import cross_entropy

BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class ContextCost:
    """What predicting the target tokens costs when a model reads windows of `context` tokens.

    Args:
        nats: -ln p summed over the targets.
        num_tokens, num_bytes: how many targets there are, and the UTF-8 bytes that they stand for.
    """

    context: int
    nats: float
    num_tokens: int
    num_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """nats / (ln 2 · bytes)."""
        return self.nats / (math.log(2) * self.num_bytes)


def by_context(
    model: LanguageModel,
    source: PackedSource,
    token_bytes: Sequence[int],
    *,
    contexts: Sequence[int],
    longest: int,
    targets: int = 64,
    blocks: int = 256,
) -> list[ContextCost]:
    """Bits per byte of the same target tokens for several lengths of context.

    Figures of different lengths are usually means over different tokens: a longer window has fewer beginnings, and only
    long documents have late positions. Here the targets are blocks of tokens that have at least `longest` tokens before
    them in their document. For each length L a block stands at the end of a window of L tokens, so that its targets
    are predicted from L - `targets` + 1 to L tokens before them, at positions that begin at 0 with the window.

    Args:
        model: in evaluation mode. The caller decides on autocast.
        source: held-out documents, longer than `longest` tokens; shorter ones are left out.
        token_bytes: how many bytes each token of the vocabulary stands for.
        contexts: the lengths L.
        longest: decides which tokens are targets; equal for all calls that are to be compared.
        targets: tokens a block.
        blocks: at most so many, spread evenly over all that there are.

    Raises:
        UserError: no document is long enough.
    """
    if not targets <= min(contexts) <= max(contexts) <= longest:
        raise ValueError(f"contexts {contexts} must lie between targets, {targets}, and longest, {longest}.")
    places = target_blocks(source, longest=longest, targets=targets, blocks=blocks)
    rows = torch.tensor([source.document(document, end - longest - 1, end).tolist() for document, end in places])
    lengths = torch.tensor(token_bytes)
    num_bytes = int(lengths[rows[:, -targets:]].sum())
    return [
        ContextCost(context, block_nats(model, rows[:, -context - 1 :], targets), targets * len(rows), num_bytes)
        for context in contexts
    ]


def target_blocks(source: PackedSource, *, longest: int, targets: int, blocks: int) -> list[tuple[int, int]]:
    """Document and end of every block of targets, spread over the source.

    Raises:
        UserError: "No document of 'long-en' is longer than 2048 tokens, so ..."
    """
    places = [
        (document, end)
        for document, length in enumerate(source.lengths.tolist())
        for end in range(longest + 1, length + 1, targets)
    ]
    if not places:
        raise UserError(
            f"No document of '{source.name}' is longer than {longest} tokens, so none shows what a context of that "
            "length is worth; join documents into longer ones, or choose a shorter context."
        )
    count = min(blocks, len(places))
    return [places[number * len(places) // count] for number in range(count)]


@torch.no_grad()
def block_nats(model: LanguageModel, rows: torch.Tensor, targets: int) -> float:
    """-ln p of the last `targets` tokens of each row, summed in fp64."""
    device, total = model.unembedding.device, 0.0
    for batch in rows.split(max(1, BATCH_TOKENS // rows.shape[1])):
        ids = batch.to(device)
        logits = model.logits(model.hidden_states(ids[:, :-1])[:, -targets:])
        losses = cross_entropy(logits.flatten(0, 1), ids[:, -targets:].flatten(), reduction="none")
        total += losses.double().sum().item()
    return total
