"""Activations computed by PyTorch's own fused functions. `tsumiki.nn.activation` says what they must compute."""

from functools import partial

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tsumiki.nn.activation import EAGER, Activations


def swiglu(gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """silu(g) u. PyTorch computes silu in fp32 inside and rounds it to the input's dtype."""
    return functional.silu(gate) * up


def clamped_swiglu(
    gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"], *, alpha: float = 1.702, limit: float = 7.0
) -> Float[Tensor, "*shape"]:
    """GPT-OSS's form: g σ(alpha g) (u + 1) with g = min(gate, limit) and u = clamp(up, -limit, limit)."""
    g = gate.clamp(max=limit)
    return g * (alpha * g).sigmoid() * (up.clamp(min=-limit, max=limit) + 1)


ACTIVATIONS = {
    "eager": EAGER,
    "torch": Activations(
        gelu=functional.gelu,
        gelu_tanh=partial(functional.gelu, approximate="tanh"),
        swiglu=swiglu,
        clamped_swiglu=clamped_swiglu,
    ),
}
"""Name in a configuration -> the functions that feed-forward layers are built of."""
