"""All that one text tells about a model, as plain data."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from tsumiki.data import Tokenizer
from tsumiki.interpret.activations import Activation, gate_sparsity, largest_activations, mean_gate
from tsumiki.interpret.heads import (
    first_token_scores,
    induction_scores,
    learned_sink_scores,
    previous_token_scores,
    repeated_texts,
    sink_share,
)
from tsumiki.interpret.lens import Guess, guesses, logit_lens
from tsumiki.interpret.recording import record
from tsumiki.interpret.trace import Trace
from tsumiki.models import LanguageModel


@dataclass(frozen=True)
class Findings:
    """What a trace means.

    Args:
        scores: [L][H] of each score: `previous`, `first`, `induction` (on random tokens of its own), and where the
            model has them `sink`, `gate` and `shut`.
        sink_share: the share of heads that rest on the first token.
        lens: the likeliest next tokens at each place of the residual stream and each token.
        largest: the largest numbers of the residual stream.
        experts: [L][X], each expert's mean share of the tokens' updates; None without a mixture of experts.
    """

    scores: dict[str, list[list[float]]]
    sink_share: float
    lens: list[list[list[Guess]]]
    largest: list[Activation]
    experts: list[list[float]] | None

    def to_json(self) -> dict[str, Any]:
        """The findings as plain data."""
        return asdict(self)


def examine(model: LanguageModel, tokenizer: Tokenizer, trace: Trace, *, seed: int = 0) -> Findings:
    """Every analysis of a trace.

    Args:
        trace: of `model`, three tokens or more.
        seed: of the random tokens on which induction is measured.
    """
    repeated = [record(model, ids).attention for ids in repeated_texts(model, tokenizer, seed=seed)]
    scores = {
        "previous": previous_token_scores(trace.attention),
        "induction": torch.stack([induction_scores(attention) for attention in repeated]).mean(dim=0),
        "first": first_token_scores(trace.attention),
    }
    if model.config.attention.sinks:
        scores["sink"] = learned_sink_scores(trace.attention)
    if trace.gates is not None:
        scores |= {"gate": mean_gate(trace.gates), "shut": gate_sparsity(trace.gates)}
    return Findings(
        scores={name: score.tolist() for name, score in scores.items()},
        sink_share=sink_share(trace.attention),
        lens=guesses(logit_lens(model, trace), tokenizer),
        largest=largest_activations(trace),
        experts=None if trace.experts is None else trace.experts.mean(dim=1).tolist(),
    )


def highest_scores(model: LanguageModel, tokenizer: Tokenizer, *, seed: int = 0) -> dict[str, float]:
    """The highest score of any head on random tokens that are repeated: whether a model has such a head at all."""
    repeated = [record(model, ids).attention for ids in repeated_texts(model, tokenizer, seed=seed)]
    kinds = {"previous": previous_token_scores, "induction": induction_scores, "first": first_token_scores}
    return {
        name: torch.stack([score(attention) for attention in repeated]).mean(dim=0).max().item()
        for name, score in kinds.items()
    }
