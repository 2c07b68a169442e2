"""Feed-forward layers, one file a variant.

To add a variant: write a file with its `@spec Config` and a plain `forward`, and name it in `FEED_FORWARDS`.
"""

from typing import Any

from tsumiki.nn.feed_forward.config import FeedForwardConfig
from tsumiki.nn.feed_forward.gelu import GeluFeedForward
from tsumiki.nn.feed_forward.moe import MixtureOfExperts, Routing
from tsumiki.nn.feed_forward.swiglu import SwiGLUFeedForward

FEED_FORWARDS: dict[str, type[Any]] = {
    "gelu": GeluFeedForward,
    "swiglu": SwiGLUFeedForward,
    "moe": MixtureOfExperts,
}
"""Name in a configuration -> block."""

__all__ = [
    "FEED_FORWARDS",
    "FeedForwardConfig",
    "GeluFeedForward",
    "MixtureOfExperts",
    "Routing",
    "SwiGLUFeedForward",
]
