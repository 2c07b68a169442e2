"""Looking inside a trained model: what it computes on the way (`trace`), and what that means."""

from tsumiki.interpret.labels import token_label
from tsumiki.interpret.recording import record
from tsumiki.interpret.trace import Trace, load_trace, save_trace

__all__ = ["Trace", "load_trace", "record", "save_trace", "token_label"]
