"""A value that a compiler keeps instead of computing it anew wherever it is used."""

import torch
from torch import Tensor


@torch.library.custom_op("tsumiki::keep", mutates_args=())
def _keep(x: Tensor) -> Tensor:
    return x.clone()


@_keep.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def materialise(x: Tensor) -> Tensor:
    """`x` itself, and in a model compiled for a GPU or CPU a tensor of its own. `x` takes no gradient.

    `torch.compile` joins element-wise functions with those that read them. That is wrong for the cosines and sines of
    RoPE: they are the same in all layers, small, and slow to compute, and the compiler would compute them twice a layer
    and once more in the backward pass (an eighth of a 16-layer model's time on an H100).
    """
    return _keep(x) if torch.compiler.is_compiling() and not torch.compiler.is_exporting() else x
