import math

import pytest
import torch

from tsumiki.nn.softmax import log_softmax, softmax

BOTH = pytest.mark.parametrize(
    ("ours", "reference"), [(softmax, torch.softmax), (log_softmax, torch.log_softmax)], ids=["softmax", "log_softmax"]
)


def test_numbers_to_check_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0]).log()
    torch.testing.assert_close(softmax(x, dim=0), torch.tensor([1 / 6, 1 / 3, 1 / 2]))
    torch.testing.assert_close(log_softmax(torch.zeros(4), dim=0), torch.full((4,), -math.log(4)))


@BOTH
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_agrees_with_torch(agree, dtype, ours, reference, dim):
    agree(lambda x: ours(x, dim), lambda x: reference(x, dim), 3 * torch.randn(3, 5, 7, dtype=dtype))


@BOTH
def test_large_numbers_stay_finite(agree, ours, reference):
    x = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3e38, 1e38, 0.0]])
    agree(lambda x: ours(x, -1), lambda x: reference(x, -1), x)
    assert ours(x, -1).isfinite().all()


@BOTH
def test_masked_places_have_no_part(ours, reference):
    x = torch.randn(5, 7)
    masked = x.masked_fill(torch.arange(7) >= 3, -math.inf)
    torch.testing.assert_close(ours(masked, -1)[:, :3], ours(x[:, :3], -1))
    torch.testing.assert_close(ours(masked, -1), reference(masked, -1))


@BOTH
def test_a_fully_masked_row_has_no_probability_and_a_finite_gradient(ours, reference):
    x = torch.randn(2, 3)
    x[0] = -math.inf
    x.requires_grad_()
    y = ours(x, -1)
    y[1].sum().backward(retain_graph=True)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[0].any()
    (y.exp() if ours is log_softmax else y).sum().backward()
    assert x.grad.isfinite().all()
    assert torch.equal(y[0], torch.full((3,), 0.0 if ours is softmax else -math.inf))
    torch.testing.assert_close(y[1], reference(x[1], -1))


@BOTH
def test_nan_is_not_hidden(ours, reference):
    assert ours(torch.tensor([0.0, math.nan, -math.inf]), 0).isnan().all()
    assert reference(torch.tensor([0.0, math.nan, -math.inf]), 0).isnan().all()


@BOTH
def test_bf16_is_computed_in_fp32(ours, reference):
    x = torch.randn(5, 1009).bfloat16()
    assert ours(x, -1).dtype == torch.bfloat16
    assert torch.equal(ours(x, -1), ours(x.float(), -1).bfloat16())
    torch.testing.assert_close(ours(x, -1), reference(x, -1))


@BOTH
def test_other_layouts_of_the_input(ours, reference):
    x = torch.randn(7, 5)
    torch.testing.assert_close(ours(x.T, -1), reference(x.T.contiguous(), -1))
    assert ours(torch.empty(0, 5), -1).shape == (0, 5)


@BOTH
def test_the_gradient_is_right(ours, reference):
    del reference
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x, -1), x)
