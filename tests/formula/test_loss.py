import math

import pytest
import torch
from torch.nn import functional

from tsumiki.nn.loss import cross_entropy

REDUCTIONS = pytest.mark.parametrize("reduction", ["sum", "mean", "none"])


def test_numbers_to_check_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    nats = cross_entropy(logits, torch.tensor([1, 0]), reduction="none")
    torch.testing.assert_close(nats, torch.tensor([math.log(4 / 3), math.log(2)]))


@REDUCTIONS
@pytest.mark.parametrize("ignore_index", [-100, 3, 9999])
def test_agrees_with_torch(agree, dtype, reduction, ignore_index):
    targets = torch.randint(13, (17,))
    targets[::5] = ignore_index
    arguments = {"ignore_index": ignore_index, "reduction": reduction}
    agree(
        lambda logits: cross_entropy(logits, targets, **arguments),
        lambda logits: functional.cross_entropy(logits, targets, **arguments),
        3 * torch.randn(17, 13, dtype=dtype),
    )


@REDUCTIONS
def test_large_logits_stay_finite(agree, reduction):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 1e4]])
    targets = torch.tensor([0, 0, 2])  # surely right, surely wrong, one of three
    agree(
        lambda logits: cross_entropy(logits, targets, reduction=reduction),
        lambda logits: functional.cross_entropy(logits, targets, reduction=reduction),
        logits,
    )
    expected = torch.tensor([0.0, 2e4, math.log(3)])
    torch.testing.assert_close(cross_entropy(logits, targets, reduction="none"), expected)


@REDUCTIONS
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_an_ignored_row_touches_neither_value_nor_gradient(reduction, garbage):
    logits = torch.randn(5, 7)
    targets = torch.tensor([1, -100, 3, -100, 0])
    expected = cross_entropy(logits[::2], targets[::2], reduction=reduction)
    logits[1::2] = garbage
    logits.requires_grad_()
    nats = cross_entropy(logits, targets, reduction=reduction)
    torch.testing.assert_close(nats[::2] if reduction == "none" else nats, expected)
    nats.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[1::2].any()
    assert logits.grad[::2].isfinite().all()


@pytest.mark.parametrize("rows", [0, 3])
def test_without_targets_the_loss_is_zero_and_moves_nothing(rows):
    logits = torch.randn(rows, 7, requires_grad=True)
    loss = cross_entropy(logits, torch.full((rows,), -100), reduction="mean")
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("wrong", [-1, 7])
def test_a_target_outside_the_vocabulary_is_an_error(wrong):
    with pytest.raises(ValueError, match=f"A target is {wrong}, but there are 7 logits, for ids 0 to 6"):
        cross_entropy(torch.randn(2, 7), torch.tensor([0, wrong]))


def test_bf16_logits_give_an_fp32_loss(agree):
    logits, targets = torch.randn(17, 1009).bfloat16(), torch.randint(1009, (17,))
    loss = cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, functional.cross_entropy(logits.float(), targets), rtol=1e-6, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cross_entropy(logits, targets), loss)


def test_other_layouts_of_the_logits():
    logits, targets = torch.randn(13, 5), torch.randint(13, (5,))
    torch.testing.assert_close(cross_entropy(logits.T, targets), cross_entropy(logits.T.contiguous(), targets))


def test_the_gradient_is_right():
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([4, -100, 0])
    assert torch.autograd.gradcheck(lambda logits: cross_entropy(logits, targets), logits)
