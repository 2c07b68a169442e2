"""A mixture of experts while it trains: how busy each expert is, and whether a router has collapsed."""

from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from tsumiki.nn.feed_forward import Routing
from tsumiki.nn.feed_forward.moe import collapsed_layers, effective_experts, expert_load


def step_load(routings: Sequence[Routing], num_layers: int) -> Int[Tensor, "L X"]:
    """How many tokens each expert had in a step, whose micro-batches each went through all layers."""
    return expert_load(routings).unflatten(0, (-1, num_layers)).sum(dim=0)


def load_figures(load: Int[Tensor, "L X"]) -> dict[str, Any]:
    """What a line of metrics says: each expert's tokens, layer by layer, and how many experts these amount to."""
    effective = effective_experts(load).tolist()
    return {
        "tokens_per_expert": load.tolist(),
        "effective_experts": {f"layer {layer}": round(number, 2) for layer, number in enumerate(effective)},
    }


def collapse_warnings(load: Int[Tensor, "L X"], experts_per_token: int) -> Iterator[str]:
    """A sentence for every layer whose router has collapsed."""
    for layer in collapsed_layers(load, experts_per_token):
        yield (
            f"The router of layer {layer} has collapsed: nearly all tokens go to the same {experts_per_token} of "
            f"{load.shape[1]} experts, and the others learn nothing. A balance loss keeps them apart, such as "
            "model.feed_forward.balance_coefficient=0.01."
        )
