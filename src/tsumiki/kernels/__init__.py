"""The functions of `nn`, computed faster. A kernel changes how something is computed, never what.

`nn` runs without this package; every kernel is tested against its specification there, outputs and gradients.
"""

from tsumiki.kernels.config import BackendConfig

__all__ = ["BackendConfig"]
