"""`nn`: the blocks of a language model as they stand on paper.

This is the textbook part. A block is a plain class or function over torch tensors; its gradient comes from autograd.
Nothing here reads files, keeps global state, or knows how it is trained. From `torch.nn` only `Module`, `Parameter` and
`ModuleList` are used; its layers and functions are what the tests compare with. `tsumiki.kernels` spells some of the
formulas faster; the blocks run without it.

Read in this order: `linear`, `embedding`, `norm`, `softmax`, `activation`, `position`, `rope`, `attention`,
`feed_forward`, `loss`, then `kv_cache`.
"""

from tsumiki.nn.activation import clamped_swiglu, gelu, gelu_tanh, glu, sigmoid, silu, swiglu
from tsumiki.nn.dropout import Dropout
from tsumiki.nn.embedding import Embedding
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward
from tsumiki.nn.linear import Linear
from tsumiki.nn.loss import cross_entropy
from tsumiki.nn.norm import LayerNorm, RMSNorm
from tsumiki.nn.position import LearnedPosition, positions_in_documents, sinusoidal
from tsumiki.nn.rope import Rope, RopeConfig, Rotation, rotate
from tsumiki.nn.softmax import log_softmax, softmax

__all__ = [
    "Dropout",
    "Embedding",
    "GeluFeedForward",
    "LayerNorm",
    "LearnedPosition",
    "Linear",
    "MixtureOfExperts",
    "RMSNorm",
    "Rope",
    "RopeConfig",
    "Rotation",
    "SwiGLUFeedForward",
    "clamped_swiglu",
    "cross_entropy",
    "gelu",
    "gelu_tanh",
    "glu",
    "log_softmax",
    "positions_in_documents",
    "rotate",
    "sigmoid",
    "silu",
    "sinusoidal",
    "softmax",
    "swiglu",
]
