import math

import pytest
import torch
from torch.nn import functional

from tsumiki.nn.activation import clamped_swiglu, gelu, gelu_tanh, glu, sigmoid, silu, swiglu


def torch_gelu_tanh(x):
    return functional.gelu(x, approximate="tanh")


def torch_glu(gate, value):
    return functional.glu(torch.cat((value, gate), dim=-1))


def torch_swiglu(gate, up):
    return functional.silu(gate) * up


def torch_clamped_swiglu(gate, up):
    gate, up = torch.clamp(gate, max=7.0), torch.clamp(up, -7.0, 7.0)
    return gate * torch.sigmoid(1.702 * gate) * (up + 1)


SINGLE = pytest.mark.parametrize(
    ("ours", "reference"),
    [(sigmoid, torch.sigmoid), (silu, functional.silu), (gelu, functional.gelu), (gelu_tanh, torch_gelu_tanh)],
    ids=["sigmoid", "silu", "gelu", "gelu_tanh"],
)
GATED = pytest.mark.parametrize(
    ("ours", "reference"),
    [(glu, torch_glu), (swiglu, torch_swiglu), (clamped_swiglu, torch_clamped_swiglu)],
    ids=["glu", "swiglu", "clamped_swiglu"],
)


def slope(function, x):
    x = torch.tensor(x, requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    return x.grad.item()


def test_numbers_to_check_by_hand():
    zero, one, large = torch.tensor(0.0), torch.tensor(1.0), torch.tensor(100.0)
    assert sigmoid(zero).item() == 0.5
    assert sigmoid(torch.tensor(math.log(3))).item() == pytest.approx(0.75)  # 1 / (1 + 1/3)
    assert silu(torch.tensor(math.log(3))).item() == pytest.approx(0.75 * math.log(3))
    assert gelu(one).item() == pytest.approx(0.8413447)  # the normal distribution's 84 % below one deviation
    assert gelu_tanh(one).item() == pytest.approx(0.8411920)
    assert [gelu(large).item(), gelu_tanh(large).item(), silu(large).item()] == [100.0] * 3
    assert glu(zero, large).item() == 50.0
    assert swiglu(large, torch.tensor(-2.0)).item() == -200.0
    assert clamped_swiglu(large, large).item() == pytest.approx(7 * 8, abs=1e-3)  # 7 σ(11.9) (7 + 1)
    assert clamped_swiglu(large, -large).item() == pytest.approx(7 * -6, abs=1e-3)  # 7 σ(11.9) (-7 + 1)


@SINGLE
def test_agrees_with_torch(agree, dtype, ours, reference):
    agree(ours, reference, 3 * torch.randn(3, 5, 7, dtype=dtype))
    agree(ours, reference, torch.linspace(-40, 40, 1009, dtype=dtype))


@GATED
def test_gates_agree_with_torch(agree, dtype, ours, reference):
    agree(ours, reference, 5 * torch.randn(3, 5, 7, dtype=dtype), 5 * torch.randn(3, 5, 7, dtype=dtype))


def test_the_slope_at_zero_is_exact():
    assert slope(sigmoid, 0.0) == 0.25
    assert slope(silu, 0.0) == 0.5
    assert slope(gelu, 0.0) == 0.5
    assert slope(gelu_tanh, 0.0) == 0.5


@SINGLE
@pytest.mark.parametrize("x", [1e4, -1e4, 88.8, -88.8])
def test_large_numbers_stay_finite(ours, reference, x):
    assert ours(torch.tensor(x)).item() == pytest.approx(reference(torch.tensor(x)).item(), abs=1e-6)
    assert slope(ours, x) == pytest.approx(slope(reference, x), abs=1e-6)


@GATED
@pytest.mark.parametrize("gate", [1e4, -1e4, 0.0])
@pytest.mark.parametrize("value", [1e4, -1e4, 0.0])
def test_large_numbers_in_gates_stay_finite(agree, ours, reference, gate, value):
    agree(ours, reference, torch.tensor([gate]), torch.tensor([value]))
    assert ours(torch.tensor([gate]), torch.tensor([value])).isfinite().all()


@SINGLE
def test_the_left_tail_keeps_its_digits(ours, reference):
    """Small values are right relative to their size, which 1 + erf(x) or 1 + tanh(x) could not give."""
    x = torch.linspace(-9, -1, 101)
    exact = {
        sigmoid: lambda x: torch.sigmoid(x),
        silu: lambda x: x * torch.sigmoid(x),
        gelu: lambda x: x / 2 * torch.erfc(-x / math.sqrt(2)),
        gelu_tanh: lambda x: x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    }[ours](x.double())
    torch.testing.assert_close(ours(x).double(), exact, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(ours(x), reference(x), rtol=0.0, atol=1e-6)


@SINGLE
def test_bf16_is_computed_in_fp32(ours, reference):
    x = (3 * torch.randn(3, 101)).bfloat16()
    assert ours(x).dtype == torch.bfloat16
    assert torch.equal(ours(x), ours(x.float()).bfloat16())
    torch.testing.assert_close(ours(x), reference(x))


@GATED
def test_gates_in_bf16_are_computed_in_fp32(ours, reference):
    gate, value = (3 * torch.randn(2, 3, 101)).bfloat16()
    assert ours(gate, value).dtype == torch.bfloat16
    assert torch.equal(ours(gate, value), ours(gate.float(), value.float()).bfloat16())
    torch.testing.assert_close(ours(gate, value), reference(gate.float(), value.float()).bfloat16())


@SINGLE
def test_the_gradient_is_right(ours, reference):
    del reference
    x = torch.tensor([-3.0, -0.1, 0.2, 1.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, x)


def test_clamping_stops_the_gradient_where_it_cuts():
    gate = torch.tensor([7.1, 6.9, -1e4, 2.0, 2.0, 2.0], requires_grad=True)
    up = torch.tensor([2.0, 2.0, 2.0, 7.1, -7.1, 6.9], requires_grad=True)
    clamped_swiglu(gate, up).sum().backward()
    assert gate.grad is not None
    assert up.grad is not None
    assert gate.grad[0] == 0.0
    assert gate.grad[1] != 0.0
    assert (up.grad[3:] != 0.0).tolist() == [False, False, True]


def test_there_is_no_lower_limit_on_the_gate():
    gate, zero = torch.tensor([-8.0, -7.0]), torch.zeros(2)
    lower, at_limit = clamped_swiglu(gate, zero, alpha=0.1).tolist()
    assert lower == pytest.approx(-8 / (1 + math.exp(0.8)))
    assert at_limit == pytest.approx(-7 / (1 + math.exp(0.7)))


@SINGLE
def test_other_layouts_of_the_input(ours, reference):
    x = torch.randn(7, 5)
    torch.testing.assert_close(ours(x.T), reference(x.T.contiguous()))
    assert ours(torch.empty(0, 5)).shape == (0, 5)
