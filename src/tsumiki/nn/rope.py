"""Rotary position embedding (RoPE), and the ways to stretch it beyond the length it was trained for.

RoPE turns pairs of coordinates of a query or key by an angle that grows with the position. The product of a turned
query and a turned key then depends on the difference of their positions alone. arXiv 2104.09864.

A model trained on L positions has never seen the angles beyond L. Three ways to reach `factor` · L:

- `LinearScaling` slows all pairs, so near neighbours become hard to tell apart. arXiv 2306.15595.
- `NtkScaling` slows a pair the more, the slower it is, by way of a larger theta. Described in arXiv 2309.00071.
- `YarnScaling` slows the slow pairs and leaves the fast ones alone, with a ramp between. arXiv 2309.00071.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from tsumiki.nn.position import inverse_frequencies
from tsumiki.nn.precision import at_least_fp32
from tsumiki.spec import OneOf, spec


def _check_factor(factor: float) -> None:
    if not 1.0 <= factor < math.inf:
        raise ValueError(f"factor is {factor}, but must be 1 or more: the new length divided by the trained one.")


@spec
class LinearScaling:
    """Position interpolation: ω / factor. arXiv 2306.15595.

    位置補間：すべての角周波数を factor で割ります。
    """

    kind: Literal["linear"] = "linear"
    factor: float

    def __post_init__(self) -> None:
        _check_factor(self.factor)


@spec
class NtkScaling:
    """NTK-aware: theta · factor^(d / (d - 2)), so that the slowest pair is slowed by exactly `factor`.

    NTK-aware：theta を大きくし、遅い回転ほど強く引き伸ばします。
    """

    kind: Literal["ntk"] = "ntk"
    factor: float

    def __post_init__(self) -> None:
        _check_factor(self.factor)


@spec
class YarnScaling:
    """YaRN: ω' = (1 - γ) ω / factor + γ ω, and cos and sin times 0.1 ln(factor) + 1. arXiv 2309.00071.

    A pair turns r = L ω / 2π times within the trained length L = `original_max_seq_len`. γ is 1 where r >= `beta_fast`
    (all its angles are known: leave it) and 0 where r <= `beta_slow` (it never came round: interpolate). Between these,
    `ramp="wavelength"` is linear in r, as the paper writes it; `ramp="index"` is linear in the number of the pair, as
    the paper's code and GPT-OSS do it. `truncate` rounds the ends of the index ramp outwards to whole pairs (the
    paper's code does, GPT-OSS does not). `temperature=False` leaves cos and sin alone.

    YaRN：速い回転はそのまま、遅い回転だけを補間し、その間は滑らかにつなぎます。
    """

    kind: Literal["yarn"] = "yarn"
    factor: float
    original_max_seq_len: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    ramp: Literal["index", "wavelength"] = "index"
    truncate: bool = False
    temperature: bool = True

    def __post_init__(self) -> None:
        _check_factor(self.factor)
        if self.original_max_seq_len < 1:
            raise ValueError(f"original_max_seq_len is {self.original_max_seq_len}, but must be 1 or more.")
        if not 0.0 < self.beta_slow < self.beta_fast < math.inf:
            raise ValueError(
                f"beta_slow is {self.beta_slow} and beta_fast {self.beta_fast}, but they must satisfy "
                "0 < beta_slow < beta_fast."
            )
        if self.truncate and self.ramp == "wavelength":
            raise ValueError("truncate is true, but it rounds the ends of the index ramp; set ramp to index.")


SCALINGS = {"linear": LinearScaling, "ntk": NtkScaling, "yarn": YarnScaling}
"""Name in a configuration -> how RoPE is stretched."""


@spec
class RopeConfig:
    """How fast the pairs turn.

    Args:
        theta: the slowest pair turns about once in 2π · theta positions.
        scaling: how the rotation of a trained model is stretched to a longer context; None: not at all.

    RoPE の設定：回転の速さと、長い文脈への引き伸ばし方を決めます。
    """

    theta: float = 10000.0
    scaling: Annotated[LinearScaling | NtkScaling | YarnScaling, OneOf(SCALINGS, tag="kind")] | None = None

    def __post_init__(self) -> None:
        if not 1.0 < self.theta < math.inf:
            raise ValueError(f"theta is {self.theta}, but must be above 1.")


def scaled_frequencies(head_dim: int, config: RopeConfig) -> Float[Tensor, " half"]:
    """ω' of every pair in fp64: ω = theta^(-2i / head_dim), stretched as `config.scaling` says.

    各ペアの角周波数（必要なら引き伸ばしたもの）です。
    """
    frequencies, scaling = inverse_frequencies(head_dim, config.theta), config.scaling
    match scaling:
        case None:
            return frequencies
        case LinearScaling():
            return frequencies / scaling.factor
        case NtkScaling():
            return inverse_frequencies(head_dim, config.theta * scaling.factor ** (head_dim / (head_dim - 2)))
        case YarnScaling(ramp="wavelength"):
            turns = scaling.original_max_seq_len * frequencies / (2 * math.pi)
            keep = (turns - scaling.beta_slow) / (scaling.beta_fast - scaling.beta_slow)
        case YarnScaling():
            low, high = yarn_index_range(head_dim, config.theta, scaling)
            keep = 1 - (torch.arange(head_dim // 2, dtype=torch.float64, device="cpu") - low) / (high - low)
    keep = keep.clamp(min=0, max=1)
    return keep * frequencies + (1 - keep) * frequencies / scaling.factor


def yarn_index_range(head_dim: int, theta: float, scaling: YarnScaling) -> tuple[float, float]:
    """The pairs between which YaRN's index ramp runs: i(β) = d/2 · ln(L / 2πβ) / ln(theta), for β fast and β slow.

    i(β) is the pair, as a fraction, that turns β times within L positions. For GPT-OSS (d 64, theta 150000, L 4096,
    β 32 and 1) the two are 8.0928 and 17.3980. In a short context, L < 2πβ, no pair turns β times and i(β) is negative:
    the range then begins at the first pair. It ends at d - 1 at the latest, as in transformers, and is never empty.

    YaRN の補間が始まるペアと終わるペアの番号です（短い文脈では先頭のペアで打ち切ります）。
    """

    def index(turns: float) -> float:
        wavelength = scaling.original_max_seq_len / turns
        return head_dim / 2 * math.log(wavelength / (2 * math.pi)) / math.log(theta)

    low, high = index(scaling.beta_fast), index(scaling.beta_slow)
    if scaling.truncate:
        low, high = float(math.floor(low)), float(math.ceil(high))
    low, high = max(low, 0.0), min(high, head_dim - 1.0)
    return low, max(high, low + 0.001)


class Rotation(NamedTuple):
    """cos and sin of every pair's angle at every position, in fp32. All layers share it: it is computed once a step.

    各位置・各ペアの回転（cos と sin）です。
    """

    cos: Float[Tensor, "B T half"]
    sin: Float[Tensor, "B T half"]


class Rope(Module):
    """The angles p ω' by which RoPE turns heads of width `head_dim` at position p.

    ω' is computed in fp64 and kept in fp32; the angles are fp32 whatever the model's dtype. Everything follows from the
    config, so nothing is saved with a model.

    RoPE：位置に比例した角度でベクトルを回転させ、相対位置を内積に反映させます。

    Raises:
        ValueError: "head_dim is 7, but RoPE turns pairs of coordinates; use an even number."
    """

    inverse_frequencies: Float[Tensor, " half"]

    def __init__(self, head_dim: int, config: RopeConfig) -> None:
        super().__init__()
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"head_dim is {head_dim}, but RoPE turns pairs of coordinates; use an even number.")
        if isinstance(config.scaling, NtkScaling) and head_dim == 2:
            raise ValueError("head_dim is 2, but ntk scaling slows the pairs after the first; use 4 or more.")
        self.head_dim, self.config = head_dim, config
        yarn = config.scaling if isinstance(config.scaling, YarnScaling) else None
        self.attention_scale = 0.1 * math.log(yarn.factor) + 1.0 if yarn and yarn.temperature else 1.0
        self.register_buffer("inverse_frequencies", self._frequencies(torch.get_default_device()), persistent=False)

    def _frequencies(self, device: torch.device) -> Float[Tensor, " half"]:
        return scaled_frequencies(self.head_dim, self.config).to(torch.float32).to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rope":
        """`.to(device)` moves the frequencies; `.to(bfloat16)` must not round them.

        On the same device they stay the very same tensor: a recorded step (a CUDA graph) reads their memory.
        """
        kept = self.inverse_frequencies
        super()._apply(fn, recurse)
        device = self.inverse_frequencies.device
        self.inverse_frequencies = kept if kept.device == device else self._frequencies(device)
        return self

    def rotation(self, positions: Int[Tensor, "B T"]) -> Rotation:
        """cos(p ω') and sin(p ω') times `attention_scale`, which the scores get squared: queries and keys both turn."""
        angles = positions.to(torch.float32).unsqueeze(-1) * self.inverse_frequencies
        return Rotation(cos=angles.cos() * self.attention_scale, sin=angles.sin() * self.attention_scale)


def rotate(x: Float[Tensor, "B T N D"], rotation: Rotation) -> Float[Tensor, "B T N D"]:
    """(x₁, x₂) -> (x₁ cos - x₂ sin, x₂ cos + x₁ sin) for every pair and each of N heads; the dtype of `x` is kept.

    Half-split: coordinate i is paired with i + D/2, as in GPT-OSS and transformers. (The paper pairs 2i with 2i + 1:
    the same up to the order of the coordinates, but weights trained one way do not work the other way.)

    各ヘッドのベクトルを、前半と後半の座標を組にして回転させます。
    """
    first, second = at_least_fp32(x).chunk(2, dim=-1)
    cos, sin = rotation.cos.unsqueeze(-2), rotation.sin.unsqueeze(-2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
