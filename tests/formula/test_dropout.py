import pytest
import torch

from tsumiki.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_drops_the_share_p_and_scales_the_rest(dtype):
    x = torch.ones(101, 1009, dtype=dtype)
    y = dropout(x, 0.25)
    assert y.dtype == dtype
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.005)
    assert torch.equal(y[y != 0].unique(), torch.ones(1, dtype=dtype) / 0.75)


def test_the_gradient_flows_where_the_value_does():
    x = torch.ones(7, 11, requires_grad=True)
    y = dropout(x, 0.5)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y)


def test_is_the_identity_in_eval_mode_and_at_zero():
    x = torch.randn(3, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not torch.equal(Dropout(0.5)(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_an_error(p):
    with pytest.raises(ValueError, match="must be 0 or more and below 1"):
        Dropout(p)
