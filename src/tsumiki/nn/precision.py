"""In which precision the blocks compute."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def as_product(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`x` in the dtype that a matrix product has: autocast's where autocast is on, otherwise its own.

    Autocast computes matrix products in bf16 and leaves the rest in fp32. A look-up in a table is a product with a
    one-hot vector. Were its result fp32, then so would be the residual stream that begins with it, at twice the memory
    traffic.

    autocast が有効なら、行列積と同じ型（bf16 など）にそろえます。
    """
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def at_least_fp32(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """`x` in fp32, or in fp64 if it comes in fp64.

    Norms, softmax, gates, rotation angles and the loss add up many terms or subtract near-equal ones. bf16 keeps 8 bits
    of a number, which is too few for that, so these blocks compute in fp32 and cast only their result back to the
    dtype of their input.

    桁落ちを防ぐため、正規化・softmax・損失などは入力の型によらず fp32 以上で計算します。
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
