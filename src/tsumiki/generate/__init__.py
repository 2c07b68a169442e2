"""Writing text: tokens are chosen by `sampling`, computed by `engine` and `batch`, shown by `streaming`.

One text is written by `engine`, many at once by `batch`, whose steps (`decoder`) work on `rows` and a `cache` of fixed
shape, so that they can be compiled or captured.
"""

from tsumiki.generate.batch import Engine, Request, Text
from tsumiki.generate.engine import Generation
from tsumiki.generate.load import TextModel, Written, load
from tsumiki.generate.sampling import Sampling
from tsumiki.generate.streaming import Completion, TextStream, one_line, printable

__all__ = [
    "Completion",
    "Engine",
    "Generation",
    "Request",
    "Sampling",
    "Text",
    "TextModel",
    "TextStream",
    "Written",
    "load",
    "one_line",
    "printable",
]
