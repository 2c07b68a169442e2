"""tsumiki (積み木): build small language models block by block, verify that they train correctly, and use them."""

from typing import TYPE_CHECKING, Any

from tsumiki.version import __version__

if TYPE_CHECKING:
    from tsumiki.generate import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`tsumiki.load`, imported when it is first asked for: PyTorch takes a second, and not everyone needs it."""
    if name == "load":
        from tsumiki.generate import load

        return load
    raise AttributeError(f"module 'tsumiki' has no attribute '{name}'")
