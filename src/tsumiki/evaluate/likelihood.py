"""How probable a model finds a text."""

from collections.abc import Sequence

import torch

from tsumiki.data import Tokenizer
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel
from tsumiki.nn.loss import IGNORE, cross_entropy

BATCH_TOKENS = 1024


@torch.inference_mode()
def log_probabilities(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> list[float]:
    """ln p(text | a document begins) of each text: Σ_t ln p(token t | end-of-text, tokens before t), summed in fp64.

    The end of the text is not predicted: a sentence need not be a whole story. Texts of similar length share a batch
    and are padded on the right, which no token sees.

    Args:
        model: in evaluation mode.
        texts: each shorter than the model's context.

    Raises:
        UserError: a text does not fit into the context.
    """
    rows = [[tokenizer.end_of_text_id, *ids] for ids in tokenizer.encode_batch(texts)]
    longest = max(map(len, rows), default=0)
    if longest - 1 > model.config.max_seq_len:
        raise UserError(
            f"A sentence has {longest - 1} tokens, but the model's context holds {model.config.max_seq_len}: "
            "choose a model with a longer context, or leave the minimal pairs out with --no-minimal-pairs."
        )
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    results = [0.0] * len(rows)
    while order:
        width = len(rows[order[-1]])
        batch = [order.pop() for _ in range(min(len(order), max(1, BATCH_TOKENS // width)))]
        scores = _score(model, [rows[number] for number in batch], width, tokenizer.end_of_text_id)
        for number, score in zip(batch, scores, strict=True):
            results[number] = score
    return results


def _score(model: LanguageModel, rows: list[list[int]], width: int, padding: int) -> list[float]:
    device = model.unembedding.device
    ids = torch.tensor([row[:-1] + [padding] * (width - len(row)) for row in rows], device=device)
    targets = torch.tensor([row[1:] + [IGNORE] * (width - len(row)) for row in rows], device=device)
    real = targets != IGNORE
    logits = model.logits(model.hidden_states(ids)[real])
    losses = torch.zeros(targets.shape, dtype=torch.float64)
    losses[real.cpu()] = cross_entropy(logits, targets[real], reduction="none").cpu().double()
    return (-losses.sum(dim=1)).tolist()
