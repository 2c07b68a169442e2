"""The loss of a language model: how many nats it is surprised by the tokens that come."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tsumiki.nn.precision import at_least_fp32
from tsumiki.nn.softmax import log_softmax

IGNORE = -100
"""The target of a place that has no next token."""


def cross_entropy(
    logits: Float[Tensor, "N V"],
    targets: Int[Tensor, " N"],
    *,
    ignore_index: int = IGNORE,
    reduction: Literal["sum", "mean", "none"] = "mean",
) -> Float[Tensor, "*reduced"]:
    """-log softmax(logits)[target], in nats and fp32 (fp64 stays fp64): summed, averaged, or one number a target.

    A target of `ignore_index` is no target: its row adds nothing to the value and nothing to the gradient, even where
    the logits are not finite. The mean is over the real targets; without any it is 0, as is the sum, so that a batch of
    padding moves no weight (PyTorch says 0 / 0 = NaN).

    交差エントロピー：正解トークンの対数確率の符号を変えた値（単位はナット）です。

    Raises:
        ValueError: "A target is 50257, but there are 50257 logits, for ids 0 to 50256." Checked on the CPU only: on a
            GPU, looking at the targets would make the program wait for the device, and its own assertion stops it.
    """
    real = targets != ignore_index
    targets = torch.where(real, targets, 0)
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_targets(targets, vocab_size=logits.shape[1])
    log_probabilities = log_softmax(torch.where(real.unsqueeze(1), at_least_fp32(logits), 0.0), dim=1)
    nats = torch.where(real, -log_probabilities.gather(1, targets.unsqueeze(1)).squeeze(1), 0.0)
    match reduction:
        case "none":
            return nats
        case "sum":
            return nats.sum()
        case "mean":
            return nats.sum() / real.sum().clamp(min=1)
        case _:
            raise ValueError(f"reduction is '{reduction}', but must be sum, mean or none.")


def _check_targets(targets: Int[Tensor, " N"], *, vocab_size: int) -> None:
    wrong = targets[(targets < 0) | (targets >= vocab_size)]
    if len(wrong):
        raise ValueError(
            f"A target is {int(wrong[0])}, but there are {vocab_size} logits, for ids 0 to {vocab_size - 1}."
        )
