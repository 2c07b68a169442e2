"""Which spelling of each function a run uses."""

from typing import Literal

from tsumiki.kernels.attention import BACKENDS
from tsumiki.spec import spec


@spec
class BackendConfig:
    """How a model is computed, not what it computes. Recorded with every run.

    `eager` is the specification in `tsumiki.nn`; every other spelling is tested against it.

    Args:
        attention: `eager`; `sdpa`, PyTorch's scaled_dot_product_attention; `varlen`, the same and packed documents by
            FlashAttention for sequences of many lengths, on a GPU in half precision; `flex`, FlexAttention (arXiv
            2412.05496); `reduction`, products and sums for one query a row.
        activation: `eager`, or `torch` with PyTorch's own SiLU.
        experts: of a mixture of experts: `eager`; `grouped`, with the tokens sorted by expert; or `dense`, every expert
            for every token.
        cross_entropy: `eager`; `torch` with PyTorch's own; or `chunked`, which never holds all logits at once.
    """

    attention: str = "sdpa"
    activation: Literal["eager", "torch"] = "torch"
    experts: Literal["eager", "grouped", "dense"] = "grouped"
    cross_entropy: Literal["eager", "torch", "chunked"] = "torch"

    def __post_init__(self) -> None:
        if self.attention not in BACKENDS:
            raise ValueError(f"attention backend is '{self.attention}', but must be one of {', '.join(BACKENDS)}.")
