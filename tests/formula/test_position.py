import math

import pytest
import torch

from tsumiki.nn.position import LearnedPosition, beginnings, inverse_frequencies, positions_in_documents, sinusoidal


def test_numbers_to_check_by_hand():
    torch.testing.assert_close(inverse_frequencies(8), torch.tensor([1, 0.1, 0.01, 0.001], dtype=torch.float64))
    expected = torch.tensor([math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)])
    torch.testing.assert_close(sinusoidal(torch.tensor([3]), 4)[0], expected)
    assert sinusoidal(torch.tensor(0), 5).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("d_model", [6, 7])
def test_sinusoidal_is_the_papers_formula(d_model):
    encoding = sinusoidal(torch.arange(11).expand(3, 11), d_model)
    assert encoding.shape == (3, 11, d_model)
    assert encoding.dtype == torch.float32
    for p in range(11):
        for j in range(d_model):
            angle = p / 10000 ** (2 * (j // 2) / d_model)
            assert encoding[1, p, j].item() == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-6)


def test_learned_positions_are_rows_of_a_table(agree, dtype):
    learned, positions = LearnedPosition(11, 5), torch.tensor([[0, 1, 2, 0], [7, 8, 9, 10]])
    agree(
        lambda weight: torch.func.functional_call(learned, {"weight": weight}, (positions,)),
        lambda weight: weight[positions],
        torch.randn(11, 5, dtype=dtype),
    )


def test_there_is_no_learned_position_beyond_the_context():
    with pytest.raises(IndexError):
        LearnedPosition(11, 5)(torch.tensor([[11]]))


def test_positions_restart_with_every_document():
    documents = torch.tensor([[7, 7, 7, 9, 9], [3, 4, 4, 4, 3], [5, 5, 5, 5, 5]])
    assert positions_in_documents(documents).tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 0], [0, 1, 2, 3, 4]]


def test_positions_in_documents_of_random_rows():
    documents = torch.randint(3, (13, 29))
    expected = documents.clone()
    for row in range(13):
        for t in range(29):
            same = t > 0 and documents[row, t] == documents[row, t - 1]
            expected[row, t] = expected[row, t - 1] + 1 if same else 0
    assert torch.equal(positions_in_documents(documents), expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3, 1)])
def test_positions_in_empty_and_single_token_rows(shape):
    positions = positions_in_documents(torch.ones(shape, dtype=torch.int64))
    assert positions.shape == shape
    assert not positions.any()


def test_positions_of_documents_in_another_layout():
    documents = torch.tensor([[7, 3], [7, 4], [9, 4]]).T
    assert positions_in_documents(documents).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_document_begins_with_its_row_and_where_the_id_changes():
    documents = torch.tensor([[7, 7, 9, 9, 7], [7, 2, 2, 2, 3]])
    assert beginnings(documents).int().tolist() == [[1, 0, 1, 0, 1], [1, 1, 0, 0, 1]]
