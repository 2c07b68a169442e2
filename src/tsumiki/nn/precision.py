"""In which precision the blocks compute."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def at_least_fp32(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """`x` in fp32, or in fp64 if it comes in fp64.

    Norms, softmax, gates, rotation angles and the loss add up many terms or subtract near-equal ones. bf16 keeps 8 bits
    of a number, which is too few for that, so these blocks compute in fp32 and cast only their result back to the
    dtype of their input.

    桁落ちを防ぐため、正規化・softmax・損失などは入力の型によらず fp32 以上で計算します。
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
