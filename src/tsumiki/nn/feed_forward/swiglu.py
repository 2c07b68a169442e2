"""The feed-forward layer of Llama, and the clamped one of GPT-OSS."""

from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from tsumiki.nn.activation import EAGER, Activations
from tsumiki.nn.feed_forward.config import FeedForwardConfig
from tsumiki.nn.linear import Linear
from tsumiki.spec import spec


class SwiGLUFeedForward(Module):
    """y = W_down (silu(W_gate x) ⊙ W_up x), each token by itself. arXiv 2002.05202.

    Three matrices instead of two: with d_ff = 8/3 d_model it has the parameters of a GELU layer with d_ff = 4 d_model.
    With a `limit` it is GPT-OSS's form instead, see `tsumiki.nn.activation.clamped_swiglu`.

    SwiGLU のフィードフォワード層：片方の射影が、もう片方の通る量を決めます。

    Args:
        config: width and options, see `Config`.
        d_model: width of the residual stream.
        std: standard deviation of the initial weights.
        residual_std: the same for the down projection, which writes into the residual stream.
        activations: how the activation is computed.
    """

    @spec
    class Config(FeedForwardConfig):
        """`limit` and `alpha` choose GPT-OSS's clamped form (there 7.0 and 1.702); no limit, no clamping."""

        variant: Literal["swiglu"] = "swiglu"
        bias: bool = False
        limit: float | None = None
        alpha: float = 1.0

        def __post_init__(self) -> None:
            FeedForwardConfig.__post_init__(self)
            if self.limit is None and self.alpha != 1.0:
                raise ValueError(f"alpha is {self.alpha}, but it belongs to the clamped form; set limit too.")
            if self.limit is not None and self.limit <= 0.0:
                raise ValueError(f"limit is {self.limit}, but must be above 0, or null for no limit.")

    def __init__(
        self,
        config: Config,
        *,
        d_model: int,
        std: float,
        residual_std: float,
        activations: Activations = EAGER,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.gate_proj = Linear(d_model, config.d_ff, bias=config.bias, std=std)
        self.up_proj = Linear(d_model, config.d_ff, bias=config.bias, std=std)
        self.down_proj = Linear(config.d_ff, d_model, bias=config.bias, std=residual_std)
        if config.limit is None:
            self.activation = activations.swiglu
        else:
            self.activation = partial(activations.clamped_swiglu, alpha=config.alpha, limit=config.limit)

    def forward(self, x: Float[Tensor, "*batch {self.d_model}"]) -> Float[Tensor, "*batch {self.d_model}"]:
        """The update of every token."""
        return self.down_proj(self.activation(self.gate_proj(x), self.up_proj(x)))
