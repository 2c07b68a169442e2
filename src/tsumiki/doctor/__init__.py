"""The doctor: no model trains for hours on a silent bug.

    from tsumiki.doctor import diagnose

    diagnosis = diagnose(model, vocab_size=8192, max_seq_len=512)
    assert diagnosis.ok, diagnosis.failures

The model may be any torch module, or any function, from token ids [B, T] to logits [B, T, V].
"""

from tsumiki.doctor.adapters import TRANSFORMERS, TSUMIKI, adapter_for, packed_by_positions, with_compiled
from tsumiki.doctor.checks import diagnose
from tsumiki.doctor.curves import Moment, disagreement, explain
from tsumiki.doctor.history import History, read_history
from tsumiki.doctor.messages import default_language, sentence
from tsumiki.doctor.receipt import check_receipt, from_json, require_receipt, to_json
from tsumiki.doctor.statistical import too_good
from tsumiki.doctor.subject import Adapter
from tsumiki.doctor.terminal import render, render_curves
from tsumiki.doctor.verdict import Diagnosis, Verdict

__all__ = [
    "TRANSFORMERS",
    "TSUMIKI",
    "Adapter",
    "Diagnosis",
    "History",
    "Moment",
    "Verdict",
    "adapter_for",
    "check_receipt",
    "default_language",
    "diagnose",
    "disagreement",
    "explain",
    "from_json",
    "packed_by_positions",
    "read_history",
    "render",
    "render_curves",
    "require_receipt",
    "sentence",
    "to_json",
    "too_good",
    "with_compiled",
]
