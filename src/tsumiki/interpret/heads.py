"""What attention heads do, as one number a head: [L, H] tensors out of attention weights [L, H, T, T]."""

import torch
from torch import Tensor

from tsumiki.data import Tokenizer
from tsumiki.models import LanguageModel

SINK_THRESHOLD = 0.3


def previous_token_scores(attention: Tensor) -> Tensor:
    """mean over t ≥ 2 of A[t, t-1]: how much a head reads the token before (arXiv 2209.11895).

    1 for a head that does nothing else. t = 1 is left out, whose previous token is the first one, too.
    """
    return attention.diagonal(offset=-1, dim1=-2, dim2=-1)[..., 1:].mean(dim=-1)


def first_token_scores(attention: Tensor) -> Tensor:
    """mean over t ≥ 1 of A[t, 0]: how much a head rests on the first token, the attention sink (arXiv 2309.17453).

    A model whose heads cannot attend to nothing learns to attend to a token that says nothing.
    """
    return attention[..., 1:, 0].mean(dim=-1)


def learned_sink_scores(attention: Tensor) -> Tensor:
    """1 - mean over t of Σ_s A[t, s]: what a learned sink took away; 0 without one."""
    return 1 - attention.sum(dim=-1).mean(dim=-1)


def sink_share(attention: Tensor) -> float:
    """The share of heads that give the first token more than 0.3 of their attention (arXiv 2410.10781)."""
    return (first_token_scores(attention) > SINK_THRESHOLD).double().mean().item()


def repeated_texts(
    model: LanguageModel, tokenizer: Tokenizer | None = None, *, length: int = 32, number: int = 4, seed: int = 0
) -> list[list[int]]:
    """Texts r r behind the token that begins a document: different random tokens, and the same again.

    Args:
        tokenizer: says which token begins a document, and which are special and not drawn; 0 and none without one.
        length: tokens of r; no more than what fits into the context and the vocabulary.
        number: how many texts.
        seed: of the tokens.
    """
    start, special = (0, frozenset[int]()) if tokenizer is None else (tokenizer.end_of_text_id, tokenizer.special_ids)
    drawable = torch.tensor(sorted(set(range(model.config.vocab_size)) - special - {start}))
    n = min(length, (model.config.max_seq_len - 1) // 2, len(drawable))
    generator = torch.Generator().manual_seed(seed)
    halves = [drawable[torch.randperm(len(drawable), generator=generator)[:n]].tolist() for _ in range(number)]
    return [[start, *half, *half] for half in halves]


def induction_scores(attention: Tensor) -> Tensor:
    """mean over the second half of A[t, t - n + 1], on a text of `repeated_texts`, of n tokens and the same again.

    A head that looks for what followed the present token last time, and so can repeat what it has seen once, scores 1
    (arXiv 2209.11895). A head that reads everything evenly scores the mean of 1 / (t + 1).
    """
    n = (attention.shape[-1] - 1) // 2
    queries = torch.arange(n + 1, 2 * n + 1)
    return attention[..., queries, queries - n + 1].mean(dim=-1)


def even_induction_score(length: int) -> float:
    """The induction score of a head that reads everything evenly: the mean of 1 / (t + 1) over the second half."""
    return sum(1 / (t + 1) for t in range(length + 1, 2 * length + 1)) / length
