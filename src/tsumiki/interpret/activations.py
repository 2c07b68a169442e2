"""Gates that are shut, and numbers that stand out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tsumiki.interpret.trace import Trace

SHUT = 0.1


def gate_sparsity(gates: Tensor) -> Tensor:
    """The share of gates below 0.1, [L, H], of gates [L, T, H, D] (arXiv 2505.06708, section 4.2, looks at their mean).

    1/2 is where every gate starts, so 0 after training means that a head's gate does little.
    """
    return (gates < SHUT).double().mean(dim=(1, 3))


def mean_gate(gates: Tensor) -> Tensor:
    """How much of a head's output passes on average, [L, H]."""
    return gates.double().mean(dim=(1, 3))


@dataclass(frozen=True)
class Activation:
    """A number of the residual stream that stands out.

    Args:
        place: 0 is the embedding, n the output of block n.
        token, width: where it stands.
        value: what it is.
        times_median: its size, as a multiple of the median size at this place.
    """

    place: int
    token: int
    width: int
    value: float
    times_median: float


def largest_activations(trace: Trace, number: int = 5) -> list[Activation]:
    """The largest numbers of the residual stream in size, the largest first ("massive activations", arXiv 2402.17762).

    Some models have a few that are hundreds of times the median, at the first token and the same widths everywhere.
    They act as biases, go with attention sinks, and make quantisation hard.
    """
    residual = trace.residual.float()
    medians = residual.abs().flatten(1).median(dim=1).values
    largest = residual.abs().flatten().topk(min(number, residual.numel())).indices
    found = []
    for place, token, width in torch.stack(torch.unravel_index(largest, residual.shape), dim=1).tolist():
        value = residual[place, token, width].item()
        found.append(Activation(place, token, width, value, abs(value) / max(medians[place].item(), 1e-12)))
    return found
