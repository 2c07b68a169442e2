"""The soft cap of logits."""

import pytest
import torch

from tsumiki.nn.activation import softcap


def test_small_values_stay_and_large_ones_end_at_the_cap() -> None:
    x = torch.tensor([0.0, 0.1, -0.1, 1e4, -1e4, 15.0])
    expected = [0.0, 0.1, -0.1, 15.0, -15.0, 15 * 0.7615942]
    assert softcap(x, 15.0).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_is_that_of_the_formula_and_finite_far_out() -> None:
    x = torch.tensor([0.3, -2.0, 1e4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: softcap(x, 3.0), x)
    (gradient,) = torch.autograd.grad(softcap(x, 3.0).sum(), x)
    assert gradient[2] == 0.0


def test_bf16_is_capped_in_fp32() -> None:
    x = torch.randn(7, generator=torch.Generator().manual_seed(0)).bfloat16() * 9
    assert torch.equal(softcap(x, 5.0), softcap(x.float(), 5.0).bfloat16())
