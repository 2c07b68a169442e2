"""The feed-forward layer of GPT-2."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from tsumiki.nn.activation import EAGER, Activations
from tsumiki.nn.feed_forward.config import FeedForwardConfig
from tsumiki.nn.linear import Linear
from tsumiki.spec import spec


class GeluFeedForward(Module):
    """y = W_down gelu(W_up x + b_up) + b_down, each token by itself. arXiv 1706.03762, with GELU: arXiv 1606.08415.

    GELU のフィードフォワード層：幅を広げ、曲げてから、元の幅に戻します。

    Args:
        config: width and options, see `Config`.
        d_model: width of the residual stream.
        std: standard deviation of the initial weights.
        residual_std: the same for the down projection, which writes into the residual stream.
        activations: how the activation is computed.
    """

    @spec
    class Config(FeedForwardConfig):
        """`approximate`: `tanh` is GPT-2's approximation of GELU, `none` the exact one."""

        variant: Literal["gelu"] = "gelu"
        bias: bool = True
        approximate: Literal["tanh", "none"] = "tanh"

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
        self.up_proj = Linear(d_model, config.d_ff, bias=config.bias, std=std)
        self.down_proj = Linear(config.d_ff, d_model, bias=config.bias, std=residual_std)
        self.activation = activations.gelu_tanh if config.approximate == "tanh" else activations.gelu

    def forward(self, x: Float[Tensor, "*batch {self.d_model}"]) -> Float[Tensor, "*batch {self.d_model}"]:
        """The update of every token."""
        return self.down_proj(self.activation(self.up_proj(x)))
