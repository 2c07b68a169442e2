"""What all formula tests do: compare a block with its reference, outputs and gradients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["fp32", "fp64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def _run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = function(*leaves)
    upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    return output, *torch.autograd.grad(output, leaves, upstream)


@pytest.fixture
def agree() -> Callable[..., None]:
    """`agree(ours, reference, *inputs)`: the same output, and the same gradient for every input."""

    def check(ours: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor) -> None:
        tolerance = TOLERANCE[inputs[0].dtype]
        for mine, expected in zip(_run(ours, inputs), _run(reference, inputs), strict=True):
            assert mine.dtype == expected.dtype
            torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)

    return check


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """torch.compile cannot look through the run-time shape checks: while they are on, what is compiled is left out."""
    return True if collection_path.name == "test_compile.py" and config.getoption("--jaxtyping-packages") else None
