"""Feed-forward layers, computed as a backend says."""

from typing import Any

from torch.nn import Module

from tsumiki.kernels.activation import ACTIVATIONS
from tsumiki.kernels.config import BackendConfig
from tsumiki.kernels.moe import EXPERTS
from tsumiki.nn.feed_forward import FEED_FORWARDS, FeedForwardConfig, MixtureOfExperts


def build_feed_forward(
    config: FeedForwardConfig, backend: BackendConfig, *, d_model: int, std: float, residual_std: float
) -> Module:
    """The layer that `config` describes, with the functions that `backend` names. Arguments as every layer's."""
    functions: dict[str, Any] = {"activations": ACTIVATIONS[backend.activation]}
    if isinstance(config, MixtureOfExperts.Config):
        functions["run_experts"] = EXPERTS[backend.experts]
    layer = FEED_FORWARDS[config.variant]
    return layer(config, d_model=d_model, std=std, residual_std=residual_std, **functions)
