"""AdamW: by hand = by `torch` = by the formula on paper; clipping."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import Module, Parameter

from tsumiki.train.optimizer import AdamW, FusedAdamW, Optimizer, clip_gradients


class Curved(Module):
    """A matrix, a vector and a part that only every third step reaches."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.matrix = Parameter(torch.randn(5, 3, generator=generator))
        self.gain = Parameter(torch.randn(5, generator=generator))
        self.rare = Parameter(torch.randn(2, 7, generator=generator))
        self.frozen = Parameter(torch.ones(2, 2), requires_grad=False)

    def loss(self, x: Tensor, step: int) -> Tensor:
        y = (self.matrix @ x).tanh() * self.gain
        return y.square().sum() + (self.rare.square().sum() if step % 3 == 0 else 0.0)


def run(make: Callable[[Module], Optimizer], steps: range, model: Curved | None = None) -> tuple[Curved, Optimizer]:
    model = model or Curved()
    optimizer = make(model)
    for step in steps:
        x = torch.randn(3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model.loss(x, step).backward()
        optimizer.step(scale=1 / (1 + step))
    return model, optimizer


def by_hand(model: Module) -> AdamW:
    return AdamW(AdamW.Config(learning_rate=0.05, weight_decay=0.3), model.named_parameters())


def fused(model: Module) -> FusedAdamW:
    return FusedAdamW(FusedAdamW.Config(learning_rate=0.05, weight_decay=0.3), model.named_parameters())


def test_first_step_is_the_one_on_paper() -> None:
    """At t = 1 the corrected means are g and g², so p moves by η (λ p + g / (|g| + ε))."""
    parameter = Parameter(torch.tensor([[2.0, -3.0]]))
    optimizer = AdamW(AdamW.Config(learning_rate=0.1, weight_decay=0.5, eps=1.0), [("p", parameter)])
    parameter.grad = torch.tensor([[4.0, -0.25]])
    optimizer.step(scale=0.5)
    expected = [2.0 - 0.05 * (0.5 * 2.0 + 4.0 / 5.0), -3.0 - 0.05 * (0.5 * -3.0 - 0.25 / 1.25)]
    assert parameter.tolist()[0] == pytest.approx(expected, abs=1e-6)


def test_second_step_is_the_one_on_paper() -> None:
    parameter = Parameter(torch.tensor([1.0]))
    optimizer = AdamW(AdamW.Config(learning_rate=0.1, betas=(0.5, 0.75), eps=1e-8), [("p", parameter)])
    for gradient in (2.0, 1.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step(scale=1.0)
    # m = 0.5·1 + 0.5·1 = 1, m̂ = 1 / 0.75; v = 0.75·1 + 0.25·1 = 1, v̂ = 1 / 0.4375; a vector does not decay
    assert parameter.item() == pytest.approx(1.0 - 0.1 - 0.1 * (1 / 0.75) / math.sqrt(1 / 0.4375), abs=1e-6)


def test_fused_equals_by_hand() -> None:
    ours, our_optimizer = run(by_hand, range(20))
    theirs, their_optimizer = run(fused, range(20))
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, theirs.get_parameter(name), rtol=0, atol=1e-6)
    our_state, their_state = our_optimizer.state_tensors(), their_optimizer.state_tensors()
    assert our_state.keys() == their_state.keys()
    for name, tensor in our_state.items():
        torch.testing.assert_close(tensor, their_state[name], rtol=1e-5, atol=1e-6)


def test_decay_acts_on_matrices_only_and_is_decoupled() -> None:
    model = Curved()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = by_hand(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(scale=1.0)
    torch.testing.assert_close(model.matrix.detach(), before["matrix"] * (1 - 0.05 * 0.3))
    torch.testing.assert_close(model.gain.detach(), before["gain"], rtol=0, atol=0)
    torch.testing.assert_close(model.frozen.detach(), before["frozen"], rtol=0, atol=0)


@pytest.mark.parametrize("make", [by_hand, fused])
def test_state_carries_the_optimizer_on_bit_for_bit(make: Callable[[Module], Optimizer]) -> None:
    whole, _ = run(make, range(9))
    half, optimizer = run(make, range(4))
    state = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}

    def restored(model: Module) -> Optimizer:
        fresh = make(model)
        fresh.load_state_tensors(state)
        return fresh

    continued, _ = run(restored, range(4, 9), half)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, continued.get_parameter(name)), name


def test_tied_parameters_are_stepped_once() -> None:
    model = Curved()
    model.register_parameter("tied", model.matrix)
    assert "tied" not in by_hand(model).parameters


@pytest.mark.parametrize("max_norm", [0.3, 1e9])
def test_clipping_equals_torch(max_norm: float) -> None:
    ours, theirs = Curved(), Curved()
    for model in (ours, theirs):
        model.loss(torch.ones(3), step=1).backward()  # `rare` gets no gradient
    norm = clip_gradients(ours.parameters(), max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    torch.testing.assert_close(norm, expected)
    assert ours.rare.grad is None
    for name in ("matrix", "gain"):
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs.get_parameter(name).grad)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0"),
        ({"betas": (0.9, 1.0)}, "betas are"),
        ({"eps": 0.0}, "eps is 0.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AdamW.Config(**{"learning_rate": 0.1, **change})  # pyright: ignore[reportArgumentType]
