import pytest
import torch
from torch.nn import functional

from tsumiki.nn.linear import Linear


def test_numbers_to_check_by_hand():
    linear = Linear(2, 3, bias=True)
    linear.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    linear.bias.data = torch.tensor([0.5, 0.0, -0.5])
    assert linear(torch.tensor([10.0, 1.0])).tolist() == [12.5, 34.0, 55.5]


@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_torch(agree, dtype, bias):
    linear = Linear(7, 5, bias=bias).to(dtype)
    parameters = {name: torch.randn_like(parameter) for name, parameter in linear.named_parameters()}
    names = list(parameters)
    agree(
        lambda x, *values: torch.func.functional_call(linear, dict(zip(names, values, strict=True)), (x,)),
        lambda x, *values: functional.linear(x, *values),
        torch.randn(2, 3, 7, dtype=dtype),
        *parameters.values(),
    )


def test_starts_with_the_given_spread_and_no_bias():
    linear = Linear(211, 307, bias=True, std=0.05)
    assert linear.weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert linear.weight.mean().item() == pytest.approx(0.0, abs=0.001)
    assert not linear.bias.any()
    assert not Linear(7, 5, std=0.0).weight.any()


@pytest.mark.parametrize("bias", [True, False])
def test_autocast_output_is_bf16_with_and_without_bias(bias):
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(7, 5, bias=bias)(torch.randn(3, 7)).dtype == torch.bfloat16


def test_other_layouts_of_the_input():
    linear = Linear(7, 5, bias=True)
    x = torch.randn(7, 11, 3)
    torch.testing.assert_close(linear(x.permute(2, 1, 0)), linear(x.permute(2, 1, 0).contiguous()))
    assert linear(torch.empty(0, 3, 7)).shape == (0, 3, 5)
    assert linear(torch.randn(7)).shape == (5,)
