"""The logit lens: what each place of the residual stream would say if the model ended there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tsumiki.data import Tokenizer
from tsumiki.interpret.labels import token_label
from tsumiki.interpret.trace import Trace
from tsumiki.models import LanguageModel
from tsumiki.nn.softmax import softmax


@dataclass(frozen=True)
class Guess:
    """A token that may come next, and how probable the lens finds it."""

    label: str
    probability: float


@torch.inference_mode()
def logit_lens(model: LanguageModel, trace: Trace) -> Tensor:
    """logits(norm(residual)) [L + 1, T, V]: every place through the final norm and unembedding (nostalgebraist 2020).

    The last place gives the model's logits. Earlier ones were never trained to be read like this, so what they do not
    show may be there all the same (arXiv 2303.08112).
    """
    norm = model.get_submodule("norm")
    return model.logits(norm(trace.residual.to(model.unembedding)))


def guesses(logits: Tensor, tokenizer: Tokenizer, number: int = 5) -> list[list[list[Guess]]]:
    """The likeliest next tokens at each place and token of a lens's logits [L + 1, T, V]."""
    top = softmax(logits.float(), dim=-1).topk(number, dim=-1)
    return [
        [
            [Guess(token_label(tokenizer, token), p) for token, p in zip(tokens, ps, strict=True)]
            for tokens, ps in zip(place_tokens, place_ps, strict=True)
        ]
        for place_tokens, place_ps in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
