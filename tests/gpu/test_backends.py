"""What only a CUDA device can show: compiled FlexAttention, its gradients, and fused kernels in bf16.

Run with `pytest -m gpu` on a machine with a GPU.
"""

import dataclasses
import random

import pytest
import torch

from contract.cases import CASES, Case
from tsumiki.kernels import BackendConfig
from tsumiki.models import build_model
from tsumiki.nn.attention import VARIANTS

pytestmark = pytest.mark.gpu

SEQ_LEN = 200  # no multiple of a kernel's block
# Compiling a kernel takes seconds, so a few cases stand for all: with and without every option, of each family.
FEW = [case for case in CASES if case.name.count("-") <= 1 or "headwise-query-qk_norm-sinks-rope" in case.name]
FEW += random.Random(0).sample([case for case in CASES if case not in FEW], 6)


def gpu_model(case: Case, attention: str, dtype: torch.dtype):
    """The case's model with heads that the GPU's kernels take, on the GPU."""
    config = dataclasses.replace(
        case.config,
        attention=dataclasses.replace(case.config.attention, head_dim=32),
        max_seq_len=SEQ_LEN,
        init_std=0.1,
    )
    other = "eager" if attention == "eager" else "torch"
    backend = BackendConfig(attention=attention, activation=other, cross_entropy=other)
    return build_model(config, backend=backend, seed=3, device="cuda", dtype=dtype).eval()


def inputs(packed: bool):
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 53, (3, SEQ_LEN), generator=generator).cuda()
    first = torch.tensor([20, 160, SEQ_LEN - 1])  # tokens of each row's first document; the others are its second
    documents = (torch.arange(SEQ_LEN) >= first[:, None]).long().cuda() if packed else None
    return ids, documents


def loss_and_gradients(model, ids, documents):
    nats, count = model.loss(ids, ids.roll(-1, dims=1), documents=documents)
    (nats / count).backward()
    return nats / count, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
@pytest.mark.parametrize("packed", [False, True], ids=["one-document", "packed"])
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_outputs_and_gradients_equal_eager(case: Case, backend: str, packed: bool) -> None:
    ids, documents = inputs(packed)
    expected = loss_and_gradients(gpu_model(case, "eager", torch.float32), ids, documents)
    actual = loss_and_gradients(gpu_model(case, backend, torch.float32), ids, documents)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_bf16_is_as_exact_as_eager_in_bf16(variant: str, backend: str) -> None:
    """The distance from fp64 is at most twice eager's own, as a rounding error of the same format must be."""
    case = next(case for case in CASES if case.name.startswith(f"gpt_oss-{variant}") and "sinks-rope" in case.name)
    ids, documents = inputs(packed=True)
    with torch.no_grad():
        exact = gpu_model(case, "eager", torch.float64)(ids, documents=documents)
        errors = {
            name: (gpu_model(case, name, torch.bfloat16)(ids, documents=documents).double() - exact).norm()
            / exact.norm()
            for name in ("eager", backend)
        }
    assert 0 < errors[backend] <= 2 * errors["eager"]


WITHOUT_SINKS = [case for case in CASES if case.name.startswith("gpt_oss-grouped") and "sinks" not in case.name]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bound", [None, 6, 64])
@pytest.mark.parametrize("case", WITHOUT_SINKS, ids=lambda case: case.name)
def test_varlen_is_as_exact_as_eager_in_bf16(case: Case, bound: int | None, compiled: bool) -> None:
    """Loss and gradients of packed rows, with any bound for the documents: at most twice eager's own distance."""
    ids, documents = inputs(packed=True)  # six documents
    exact = loss_and_gradients(gpu_model(case, "eager", torch.float64), ids, documents)[1]
    eager = loss_and_gradients(gpu_model(case, "eager", torch.bfloat16), ids, documents)[1]
    model = gpu_model(case, "varlen", torch.bfloat16)
    loss = torch.compile(model.loss) if compiled else model.loss
    nats, count = loss(ids, ids.roll(-1, dims=1), documents=documents, max_documents=bound)
    (nats / count).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        own = (eager[name].double() - exact[name]).norm()
        assert (parameter.grad.double() - exact[name]).norm() <= 2 * own + 1e-3 * exact[name].norm(), name


@pytest.mark.parametrize("backend", ["sdpa", "varlen", "flex"])
def test_packed_stories_do_not_meet_in_a_compiled_model(backend: str) -> None:
    case = next(case for case in CASES if case.name == "gpt_oss-grouped_query-qk_norm")
    # varlen has a path of its own in half precision only
    model = gpu_model(case, backend, torch.bfloat16 if backend == "varlen" else torch.float32)
    ids, documents = inputs(packed=True)
    compiled = torch.compile(model)
    with torch.no_grad():
        before = compiled(ids, documents=documents)
        changed = ids.clone()
        changed[:, :10] = (changed[:, :10] + 1) % 53
        after = compiled(changed, documents=documents)
    assert torch.equal(after[0, 20:], before[0, 20:])
    assert not torch.equal(after[0, :20], before[0, :20])


def test_the_cache_changes_nothing_on_the_gpu() -> None:
    for case in FEW:
        model = gpu_model(case, "sdpa", torch.float32)
        ids, _ = inputs(packed=False)
        with torch.no_grad():
            full = model(ids)
            cache = model.new_cache(batch_size=3)
            pieces = [model(piece, cache=cache) for piece in ids.split([50, 1, 1, SEQ_LEN - 52], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), full, rtol=1e-3, atol=1e-4)
