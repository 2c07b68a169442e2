import pytest
import torch
from torch.nn import functional

from tsumiki.nn.embedding import Embedding


def test_numbers_to_check_by_hand():
    embedding = Embedding(3, 2)
    embedding.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert embedding(torch.tensor([[2, 0], [2, 1]])).tolist() == [[[5, 6], [1, 2]], [[5, 6], [3, 4]]]


def test_is_a_one_hot_vector_times_the_table(agree, dtype):
    embedding = Embedding(13, 5)
    ids = torch.randint(13, (3, 17))
    one_hot = functional.one_hot(ids, 13).to(dtype)
    agree(
        lambda weight: torch.func.functional_call(embedding, {"weight": weight}, (ids,)),
        lambda weight: one_hot @ weight,
        torch.randn(13, 5, dtype=dtype),
    )


@pytest.mark.parametrize("wrong", [-1, 13])
def test_an_id_outside_the_vocabulary_is_an_error(wrong):
    with pytest.raises(IndexError):
        Embedding(13, 5)(torch.tensor([0, wrong]))


def test_other_layouts_of_the_ids():
    embedding = Embedding(13, 5)
    ids = torch.randint(13, (3, 7))
    assert torch.equal(embedding(ids.T), embedding(ids.T.contiguous()))
    assert torch.equal(embedding(ids.int()), embedding(ids))
    assert embedding(ids[:0]).shape == (0, 7, 5)
    assert embedding(torch.tensor(2)).shape == (5,)


def test_starts_with_the_given_spread():
    assert Embedding(211, 307, std=0.05).weight.std().item() == pytest.approx(0.05, rel=0.02)
