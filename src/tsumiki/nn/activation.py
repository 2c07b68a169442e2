"""Activations: the element-wise bends between linear layers, and the gates made of them.

Everything is computed in fp32 (fp64 stays fp64) and returned in the dtype of the input. Forward and gradient are finite
for every input of ordinary size, ±1e4 included, and the small values of the left tails keep their digits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tsumiki.nn.precision import at_least_fp32


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """σ(x) = 1 / (1 + e⁻ˣ) = e^min(x, 0) / (1 + e^-|x|).

    The first form overflows in e⁻ˣ for very negative x, and its gradient becomes 0 · inf = NaN. In the second no
    exponent is above 0. min(x, 0) is written (x - |x|) / 2: autograd takes the slope of |x| at 0 to be 0, half-way
    between -1 and 1, and so finds the true slope σ'(0) = 1/4. (With `x.clamp(max=0)`, whose slope at 0 is 1, σ'(0)
    would be 1/2.)

    シグモイド：どんな実数も 0 と 1 の間に収めます。
    """
    x32 = at_least_fp32(x)
    size = x32.abs()
    return (((x32 - size) / 2).exp() / (1 + (-size).exp())).to(x.dtype)


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """silu(x) = x σ(x), also called swish. arXiv 1606.08415, 1710.05941.

    SiLU：入力に、自分自身のシグモイドを掛けます。
    """
    x32 = at_least_fp32(x)
    return (x32 * sigmoid(x32)).to(x.dtype)


def softcap(x: Float[Tensor, "*shape"], cap: float) -> Float[Tensor, "*shape"]:
    """softcap(x) = c tanh(x / c): the identity near 0, and never beyond ±c. arXiv 2408.00118 (Gemma 2, on logits).

    ソフトキャップ：小さい値はほぼそのまま、大きい値は ±cap までに抑えます。
    """
    return (cap * (at_least_fp32(x) / cap).tanh()).to(x.dtype)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """gelu(x) = x Φ(x) = x/2 · (1 + erf(x/√2)) = x/2 · erfc(-x/√2), Φ being the normal distribution. arXiv 1606.08415.

    In the last form nothing cancels for negative x, where erf is close to -1.

    GELU：入力に、標準正規分布でその値以下になる確率を掛けます。
    """
    x32 = at_least_fp32(x)
    return (x32 / 2 * torch.erfc(-x32 / math.sqrt(2))).to(x.dtype)


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """gelu(x) ≈ x/2 · (1 + tanh z) = x σ(2z) with z = √(2/π) (x + 0.044715 x³), as GPT-2 has it. arXiv 1606.08415.

    tanh を使った GELU の近似で、GPT-2 はこちらを使います。
    """
    x32 = at_least_fp32(x)
    z = math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32**3)
    return (x32 * sigmoid(2 * z)).to(x.dtype)


def glu(gate: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """glu(g, v) = σ(g) v: the gate says how much of the value passes. arXiv 1612.08083.

    ゲート付き線形ユニット：ゲートが値の通る割合を決めます。
    """
    return (sigmoid(at_least_fp32(gate)) * value).to(value.dtype)


def swiglu(gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """swiglu(g, u) = silu(g) u. arXiv 2002.05202.

    SwiGLU：シグモイドの代わりに SiLU をゲートに使います。
    """
    return (silu(at_least_fp32(gate)) * up).to(up.dtype)


def clamped_swiglu(
    gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"], *, alpha: float = 1.702, limit: float = 7.0
) -> Float[Tensor, "*shape"]:
    """g σ(alpha g) (u + 1) with g = min(gate, limit), u = clamp(up, -limit, limit), as in GPT-OSS. arXiv 2508.10925.

    The gate needs no lower limit, since g σ(alpha g) goes to 0 there. x σ(1.702 x) is another approximation of GELU
    (arXiv 1606.08415), and the 1 lets the gated value pass even while `up` is still near 0.

    GPT-OSS の SwiGLU：値を limit で打ち切り、up に 1 を足します。
    """
    g = at_least_fp32(gate).clamp(max=limit)
    u = at_least_fp32(up).clamp(min=-limit, max=limit)
    return (g * sigmoid(alpha * g) * (u + 1)).to(up.dtype)


@dataclass(frozen=True)
class Activations:
    """The functions feed-forward layers are built of: the ones above, or faster spellings of the same formulas.

    フィードフォワード層に渡す活性化関数の組です（同じ式の高速版と入れ替えられます）。
    """

    gelu: Callable[[Tensor], Tensor] = gelu
    gelu_tanh: Callable[[Tensor], Tensor] = gelu_tanh
    swiglu: Callable[[Tensor, Tensor], Tensor] = swiglu
    clamped_swiglu: Callable[..., Tensor] = clamped_swiglu


EAGER = Activations()
"""Every activation as this file writes it."""
