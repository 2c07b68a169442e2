"""Oracles: the same weights through an independent implementation must give the same logits.

What is wrong in the same way at every position and in every setting breaks no invariant: a scale, a norm, the order of
heads. Only a second opinion finds it.
"""

from collections.abc import Mapping

from torch import Tensor

from tsumiki.doctor.localise import record
from tsumiki.doctor.subject import Subject, by_position
from tsumiki.doctor.verdict import Verdict, check, failed, passed, skipped

LIMIT = 1e-5
"""Largest relative difference from the reference, unless the model rounds more. Models take RoPE's angles in float32,
which moves logits by 1e-6; a wrong formula moves them by far more."""


@check("oracle", needs=("reference",))
def reference(subject: Subject) -> Verdict:
    """The logits are those of an independent float64 reference with the same weights, past every sliding window.

    Finds wrong formulas: scales, softmax over the wrong axis, norms, residuals, activations, the order of grouped
    heads, gates, sinks, rotary angles, windows of the wrong width.
    Misses what the reference misunderstands in the same way, and architectures that it does not know.
    """
    assert subject.adapter.reference is not None
    length = min(subject.context, max(48, *(window + 8 for window in subject.windows), 0))
    ids = subject.tokens(1, length)
    expected = subject.adapter.reference(subject.probe, ids[0])
    if expected is None:
        return skipped("unknown_to_reference")
    logits = expected[""][None]
    limit = max(LIMIT, subject.tolerance)
    change = by_position(logits, subject.logits(ids).to(logits.dtype))
    if change.max() <= limit:
        return passed(length=length, change=change.max().item())
    position = int((change > limit).nonzero()[0])
    where = _first_wrong(subject, ids, expected, position, limit)
    return failed("reference_differs", position=position, change=change.max().item(), length=length, where=where)


def _first_wrong(subject: Subject, ids: Tensor, expected: Mapping[str, Tensor], position: int, limit: float) -> str:
    """The first submodule whose output is not the reference's."""
    seen = record(subject.probe, lambda: subject.logits(ids), position=position)
    for name, output in expected.items():
        found = seen[name].output if name in seen else None
        if found is not None and (found - output[position]).abs().max() > limit * output[position].abs().max():
            return name
    return ""
