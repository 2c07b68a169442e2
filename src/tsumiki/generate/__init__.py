"""Writing text: how tokens are chosen (`sampling`), computed (`engine`), shown (`streaming`), and by whom (`load`)."""

from tsumiki.generate.engine import Generation
from tsumiki.generate.load import TextModel, load
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.streaming import Completion, TextStream, one_line, printable

__all__ = ["Completion", "Generation", "Sampling", "TextModel", "TextStream", "load", "one_line", "printable"]
