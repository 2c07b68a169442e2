"""Every spelling of the loss is the specification's: value, both gradients, with and without a cap and targets."""

import pytest
import torch
from torch import Tensor

import tsumiki.kernels.cross_entropy as kernel
from tsumiki.kernels.cross_entropy import CROSS_ENTROPIES
from tsumiki.nn.loss import IGNORE

NUM_TOKENS, WIDTH, VOCAB_SIZE = 23, 11, 37
PADDED = 64


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(NUM_TOKENS, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    unembedding = torch.randn(VOCAB_SIZE, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(VOCAB_SIZE, (NUM_TOKENS,), generator=generator)
    targets[::5] = IGNORE
    return hidden, unembedding, targets


def value_and_gradients(name: str, dtype: torch.dtype, cap: float | None) -> list[Tensor]:
    hidden, unembedding, targets = inputs(dtype)
    nats = CROSS_ENTROPIES[name](hidden, unembedding, targets, cap)
    return [nats, *torch.autograd.grad(nats / 7, (hidden, unembedding))]


@pytest.fixture(params=[1, 5 * VOCAB_SIZE, NUM_TOKENS * VOCAB_SIZE], ids=["a row", "five rows", "all rows"])
def _slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LOGITS_AT_ONCE", request.param)


@pytest.mark.usefixtures("_slices")
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("name", [name for name in CROSS_ENTROPIES if name != "eager"])
def test_equals_eager(name: str, cap: float | None) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        expected = value_and_gradients("eager", dtype, cap)
        actual = value_and_gradients(name, dtype, cap)
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cap", [None, 3.0])
def test_in_bf16_it_is_as_exact_as_eager_in_bf16(cap: float | None) -> None:
    exact = value_and_gradients("eager", torch.float64, cap)
    eager, chunked = (value_and_gradients(name, torch.bfloat16, cap) for name in ("eager", "chunked"))
    for mine, theirs, true in zip(chunked, eager, exact, strict=True):
        assert (mine.double() - true).norm() <= 2 * (theirs.double() - true).norm() + 1e-6 * true.norm()


def test_autocast_computes_in_its_own_dtype_and_gives_fp32_gradients() -> None:
    hidden, unembedding, targets = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        nats = CROSS_ENTROPIES["chunked"](hidden, unembedding, targets, None)
    gradients = torch.autograd.grad(nats, (hidden, unembedding))
    assert nats.dtype == gradients[0].dtype == gradients[1].dtype == torch.float32
    torch.testing.assert_close(nats, value_and_gradients("eager", torch.float32, None)[0], rtol=2e-3, atol=0)


def test_no_more_than_a_slice_of_logits_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PADDED > VOCAB_SIZE
    monkeypatch.setattr(kernel, "LOGITS_AT_ONCE", 4 * VOCAB_SIZE)
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
            result = function(*arguments, **(keywords or {}))
            if isinstance(result, Tensor) and result.ndim == 2 and result.shape[1] in (VOCAB_SIZE, PADDED):
                seen.append(result.shape[0])
            return result

    hidden, unembedding, targets = inputs(torch.float64)
    with Watch(), torch.no_grad():
        kernel._ChunkedSum.forward(Context(), hidden, unembedding, targets, None)
    assert seen
    assert set(seen) == {WIDTH, 4, NUM_TOKENS % 4}  # the unembedding's transpose, slices, the last slice


class Context:
    """Stands in for autograd's."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved = tensors


def test_without_any_target_it_is_nothing_and_moves_nothing() -> None:
    hidden, unembedding, targets = inputs(torch.float64)
    nats = CROSS_ENTROPIES["chunked"](hidden, unembedding, torch.full_like(targets, IGNORE), None)
    gradients = torch.autograd.grad(nats, (hidden, unembedding))
    assert nats == 0
    assert not gradients[0].any()
    assert not gradients[1].any()
