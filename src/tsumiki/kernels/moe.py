"""A mixture of experts computed on tokens sorted by expert. `tsumiki.nn.feed_forward.moe` says what it must compute."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import ModuleList

from tsumiki.nn.feed_forward.moe import Routing, RunExperts, each_expert_in_turn


@torch.compiler.disable()
def grouped(x: Float[Tensor, "N E"], routing: Routing, experts: ModuleList) -> Float[Tensor, "N E"]:
    """Σ_x p_nx expert_x(x_n), with each expert's tokens side by side.

    One sort replaces a search for each expert, so a GPU is waited for once a layer, not once an expert. Each token's
    results are added in a fixed order, so that a run can be repeated bit for bit. `torch.compile` leaves the experts
    out: how many tokens each has is known at run time only, and it would compile anew for every count.
    """
    num_chosen = routing.chosen.shape[1]
    order = routing.chosen.flatten().argsort(stable=True)
    rows = x[order // num_chosen].split(routing.tokens_per_expert.tolist())
    sorted_results = torch.cat([expert(rows_of_expert) for expert, rows_of_expert in zip(experts, rows, strict=True)])
    results_NAE = sorted_results[order.argsort()].unflatten(0, (-1, num_chosen))
    return (routing.weights[:, :, None] * results_NAE).sum(dim=1).to(x.dtype)


def dense(x: Float[Tensor, "N E"], routing: Routing, experts: ModuleList) -> Float[Tensor, "N E"]:
    """Σ_x p_nx expert_x(x_n) over all experts, with p = 0 for those that were not chosen.

    X / A times the work, but no shape depends on where the tokens go, so that a step can be compiled or captured whole.
    For the few tokens of a decoding step.
    """
    shares_NX = torch.zeros_like(routing.logits, dtype=x.dtype).scatter(1, routing.chosen, routing.weights)
    results_NXE = torch.stack([expert(x) for expert in experts], dim=1)
    return (shares_NX[:, :, None] * results_NXE).sum(dim=1)


EXPERTS: dict[str, RunExperts] = {"eager": each_expert_in_turn, "grouped": grouped, "dense": dense}
"""Name in a configuration -> how a mixture computes its experts."""
