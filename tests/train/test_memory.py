"""Out of memory: found out before, or said with the way out. A GPU that is too small is played by the model."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tsumiki.config import load
from tsumiki.errors import UserError
from tsumiki.models import build_model
from tsumiki.models.language_model import LanguageModel
from tsumiki.train import RunConfig, RunResult, train
from tsumiki.train.memory import compiled_loss, fits, functorch, micro_batch_sizes

Run = Callable[..., RunResult]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how many rows at once there is memory for."""
    sound = LanguageModel.loss

    def make(rows: int) -> None:
        def loss(self: LanguageModel, ids: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            if len(ids) > rows:
                raise torch.OutOfMemoryError
            return sound(self, ids, *args, **kwargs)

        monkeypatch.setattr(LanguageModel, "loss", loss)

    return make


def test_sizes_halve_and_divide() -> None:
    assert micro_batch_sizes(8) == [8, 4, 2, 1]
    assert micro_batch_sizes(45) == [45, 15, 5, 1]
    assert micro_batch_sizes(1) == [1]
    assert micro_batch_sizes(13) == [13, 1]


def test_only_want_of_memory_is_caught() -> None:
    def fail() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        fits(fail)
    assert fits(lambda: None)


def test_the_largest_micro_batch_is_found_and_written_down(
    make_config: Callable[..., RunConfig], tmp_path: Path, room: Callable[[int], None], run: Run
) -> None:
    room(2)
    config = make_config(samples={"prompts": []})
    train(config, tmp_path / "found", skip_doctor=True, find_micro_batch=True, device="cpu")
    assert load(tmp_path / "found" / "config.yaml", RunConfig).train.micro_batch_size == 2
    run("told", micro_batch_size=2, samples={"prompts": []})
    metrics = [(tmp_path / name / "checkpoints/step-000006/model.safetensors") for name in ("found", "told")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes(), "trying changes nothing"


def test_not_even_one_row(make_config: Callable[..., RunConfig], tmp_path: Path, room: Callable[[int], None]) -> None:
    room(0)
    with pytest.raises(UserError, match="Not even one row of 23 tokens fits into the memory of cpu: choose a smaller"):
        train(make_config(), tmp_path / "run", skip_doctor=True, find_micro_batch=True, device="cpu")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (2, "with 4 rows at once; 2 fit; go on with: tsumiki train --resume .*/run train.micro_batch_size=2"),
        (1, "with 4 rows at once; 1 fit"),
        (0, "with 4 rows at once; not even one row fits: choose a smaller model"),
    ],
)
def test_out_of_memory_names_what_fits(run: Run, room: Callable[[int], None], rows: int, sentence: str) -> None:
    room(rows)
    with pytest.raises(UserError, match=rf"Step 1 needs more memory than cpu has, {sentence}"):
        run()


def test_and_goes_on_with_it(run: Run, room: Callable[[int], None]) -> None:
    room(2)
    with pytest.raises(UserError, match="2 fit"):
        run()
    assert run(resume=True, micro_batch_size=2).checkpoint.is_dir()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_activation_memory_is_what_the_compiler_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """The compiler decides what to keep; what it keeps changes no loss."""
    told = []

    def backend(graph: Any, inputs: Any) -> Any:
        told.append(functorch.activation_memory_budget)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    run("compiled", steps=2, model={"dropout": 0.0}, compile=True, activation_memory=share)
    assert set(told) == {share}
    assert functorch.activation_memory_budget == 1.0


def test_less_activation_memory_keeps_less_and_gives_the_same_gradients(make_config: Callable[..., RunConfig]) -> None:
    """With the compiler's own partition of forward and backward pass, and without its slow code generation."""
    kept, gradients = [], []
    for share in (1.0, 0.4):
        config = make_config(compile=True, activation_memory=share, model={"dropout": 0.0})
        model = build_model(config.model, seed=0).train()
        ids = torch.arange(4 * 23).reshape(4, 23) % 50
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.compiler.reset()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            nats, _ = compiled_loss(model, config.train)(ids, ids)
        nats.backward()
        kept.append(sum(saved.values()))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert kept[1] < 0.9 * kept[0]
    torch.testing.assert_close(gradients[1], gradients[0])
