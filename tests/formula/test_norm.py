import pytest
import torch
from torch.nn import functional

from tsumiki.nn.norm import LayerNorm, RMSNorm

SHAPE = (3, 5, 7)


def layer_norm(x, gain, bias=None):
    norm = LayerNorm(x.shape[-1], bias=bias is not None)
    parameters = {"weight": gain} if bias is None else {"weight": gain, "bias": bias}
    return torch.func.functional_call(norm, parameters, (x,))


def rms_norm(x, gain):
    return torch.func.functional_call(RMSNorm(x.shape[-1]), {"weight": gain}, (x,))


def test_numbers_to_check_by_hand():
    x = torch.tensor([1.0, 3.0, 5.0, 7.0])  # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    torch.testing.assert_close(LayerNorm(4, eps=0.0)(x), torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 5**0.5)
    x = torch.tensor([1.0, 7.0])  # mean square 25
    torch.testing.assert_close(RMSNorm(2, eps=0.0)(x), torch.tensor([0.2, 1.4]))


def test_layer_norm_agrees_with_torch(agree, dtype):
    inputs = [torch.randn(SHAPE, dtype=dtype), torch.randn(7, dtype=dtype), torch.randn(7, dtype=dtype)]
    agree(layer_norm, lambda x, gain, bias: functional.layer_norm(x, (7,), gain, bias), *inputs)
    agree(layer_norm, lambda x, gain: functional.layer_norm(x, (7,), gain), *inputs[:2])


def test_rms_norm_agrees_with_torch(agree, dtype):
    inputs = [torch.randn(SHAPE, dtype=dtype), torch.randn(7, dtype=dtype)]
    agree(rms_norm, lambda x, gain: functional.rms_norm(x, (7,), gain, eps=1e-5), *inputs)


@pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
def test_bf16_is_computed_in_fp32_and_scaled_before_it_is_rounded(make):
    norm = make(7)
    norm.weight.data = 1 + 0.1 * torch.randn(7)
    x = torch.randn(SHAPE).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    assert torch.equal(norm(x), norm(x.float()).bfloat16())


@pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
def test_the_gradient_is_right(make):
    norm = make(5).double()
    assert torch.autograd.gradcheck(norm, torch.randn(2, 5, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
def test_zeros_and_large_numbers_stay_finite(make):
    for value in (0.0, 1e4, -1e4):
        x = torch.full((1, 7), value, requires_grad=True)
        y = make(7)(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
def test_other_layouts_of_the_input(make):
    norm, x = make(7), torch.randn(7, 5, 3)
    torch.testing.assert_close(norm(x.permute(1, 2, 0)), norm(x.permute(1, 2, 0).contiguous()))
    assert norm(torch.empty(0, 7)).shape == (0, 7)
