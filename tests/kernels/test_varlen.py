"""Where packed documents begin, as the kernel for sequences of many lengths is told. Its outputs: `tests/gpu`."""

import pytest
import torch

from tsumiki.kernels.attention import BACKENDS, Packed, Plain
from tsumiki.nn.attention import AttentionContext, Mask
from tsumiki.nn.position import positions_in_documents


def context(documents: torch.Tensor | None, max_documents: int | None = None) -> AttentionContext:
    positions = torch.arange(5).expand(2, 5) if documents is None else positions_in_documents(documents)
    backend = BACKENDS["varlen"]
    return AttentionContext(positions, documents, None, backend, documents is None, max_documents)


DOCUMENTS = torch.tensor([[1, 1, 2, 2, 2], [2, 2, 2, 7, 7]])  # the second row's 2 is not the first row's


@pytest.mark.parametrize(("bound", "empty"), [(None, 6), (4, 0), (5, 1)])
def test_a_document_begins_where_the_id_changes_and_with_each_row(bound: int | None, empty: int) -> None:
    step = context(DOCUMENTS, bound)
    packed = BACKENDS["varlen"].visibility(Mask(window=3), step, step.positions)
    assert isinstance(packed, Packed)
    assert packed.starts.tolist() == [0, 2, 5, 8, 10, *[10] * empty]
    assert packed.starts.dtype == torch.int32
    assert (packed.max_seq_len, packed.window) == (5, 3)


def test_more_documents_than_promised_are_noticed() -> None:
    step = context(DOCUMENTS, max_documents=3)
    with pytest.raises(RuntimeError, match="holds more documents than max_documents says"):
        BACKENDS["varlen"].visibility(Mask(), step, step.positions)


def test_without_documents_it_is_sdpa() -> None:
    step = context(None)
    assert BACKENDS["varlen"].visibility(Mask(), step, step.positions) is Plain.CAUSAL
