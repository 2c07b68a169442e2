"""What every model must keep, whatever it is made of and however it is computed."""

import pytest
import torch

from contract.cases import BACKEND_NAMES, CASES, NUM_TOKENS, VOCAB_SIZE, Case, tokens
from tsumiki.models import load_model, save_model

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_backend = pytest.mark.parametrize("backend", BACKEND_NAMES)

# Where fp64 may differ between two orders of summation; a wrong mask differs by more than 1e-3 here.
ROUNDING = 1e-11


@every_case
@every_backend
def test_no_position_sees_the_future(case: Case, backend: str) -> None:
    assert_causal(case, backend)


def assert_causal(case: Case, backend: str) -> None:
    """Whatever comes after position t, the logits up to t stay what they are; those after it do not."""
    model, ids = case.model(backend), tokens()
    with torch.no_grad():
        before = model(ids)
        for last_kept in (0, 4, NUM_TOKENS - 2):
            changed = ids.clone()
            changed[:, last_kept + 1 :] = (changed[:, last_kept + 1 :] + 1) % VOCAB_SIZE
            after = model(changed)
            torch.testing.assert_close(after[:, : last_kept + 1], before[:, : last_kept + 1], rtol=0, atol=ROUNDING)
            assert (after[:, last_kept + 1 :] - before[:, last_kept + 1 :]).abs().amax(dim=-1).min() > 1e-3


@every_case
@every_backend
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
def test_the_cache_changes_nothing(case: Case, backend: str, dtype: torch.dtype, tolerance: float) -> None:
    model, ids = case.model(backend, dtype=dtype), tokens()
    with torch.no_grad():
        # Logits of order 1, so that the tolerance means the same for every case.
        full = model(ids)
        scale = full.std()
        # FlexAttention is slow on a CPU, so it takes the one split that has chunks and single steps.
        for chunks in ([5, 1, 1, 5],) if backend == "flex" else ([12], [5, 1, 1, 5], [1] * 12):
            cache = model.new_cache(batch_size=2, capacity=NUM_TOKENS)
            pieces = [model(piece, cache=cache) for piece in ids.split(chunks, dim=1)]
            torch.testing.assert_close(torch.cat(pieces, dim=1) / scale, full / scale, rtol=0, atol=tolerance)
            assert cache.length == NUM_TOKENS


@every_case
@every_backend
def test_padding_on_the_left_changes_nothing(case: Case, backend: str) -> None:
    model, ids = case.model(backend), tokens()
    padding = 3
    padded = torch.cat([torch.zeros(2, padding, dtype=torch.int64), ids], dim=1)
    positions = torch.arange(-padding, NUM_TOKENS).clamp(min=-1).expand(2, -1)
    cache = model.new_cache(batch_size=2)
    with torch.no_grad():
        full = model(ids)
        prefill = model(padded[:, :-2], positions=positions[:, :-2], cache=cache)
        steps = [model(padded[:, [n]], positions=positions[:, [n]], cache=cache) for n in (-2, -1)]
    cached = torch.cat([prefill, *steps], dim=1)
    assert cached.isfinite().all()
    torch.testing.assert_close(cached[:, padding:], full, rtol=0, atol=ROUNDING)


@every_case
@every_backend
def test_documents_in_one_row_do_not_meet(case: Case, backend: str) -> None:
    model, ids = case.model(backend), tokens()
    documents = torch.tensor([[4] * 5 + [1] * 1 + [9] * 6, [0] * 7 + [2] * 5])
    with torch.no_grad():
        packed = model(ids, documents=documents)
        for row, lengths in ((0, [5, 1, 6]), (1, [7, 5])):
            alone = [model(piece[None])[0] for piece in ids[row].split(lengths)]
            torch.testing.assert_close(packed[row], torch.cat(alone), rtol=0, atol=ROUNDING)


@every_case
@every_backend
def test_rows_of_a_batch_do_not_meet(case: Case, backend: str) -> None:
    model, ids = case.model(backend), tokens(batch_size=3)
    with torch.no_grad():
        together = model(ids)
        alone = torch.cat([model(row[None]) for row in ids])
    torch.testing.assert_close(together, alone, rtol=0, atol=ROUNDING)


@every_case
@pytest.mark.parametrize("backend", [name for name in BACKEND_NAMES if name != "eager"])
@pytest.mark.parametrize("packed", [False, True], ids=["one-document", "packed"])
def test_a_backend_computes_what_eager_computes(case: Case, backend: str, packed: bool) -> None:
    ids = tokens()
    documents = torch.tensor([[4] * 5 + [1] * 7, [0] * 9 + [2] * 3]) if packed else None
    expected, model = case.model("eager"), case.model(backend)
    if backend == "flex":
        # FlexAttention has no backward pass on a CPU; tests/gpu compares its gradients.
        with torch.no_grad():
            torch.testing.assert_close(
                model(ids, documents=documents), expected(ids, documents=documents), rtol=0, atol=ROUNDING
            )
        with pytest.raises(ValueError, match="no backward pass"):
            model(ids, documents=documents)
        return
    for one in (expected, model):
        nats, _ = one.loss(ids, ids.roll(-1, dims=1), documents=documents)
        nats.backward()
    torch.testing.assert_close(
        model(ids, documents=documents), expected(ids, documents=documents), rtol=0, atol=ROUNDING
    )
    gradients = [{name: p.grad for name, p in one.named_parameters()} for one in (model, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@every_case
def test_every_parameter_learns(case: Case) -> None:
    model = case.model("sdpa")
    # Every token and every position occurs, so no row of a table is left out.
    ids = torch.arange(2 * 31).reshape(2, 31) % VOCAB_SIZE
    nats, count = model.loss(ids, ids.roll(-1, dims=1))
    nats.backward()
    assert count == ids.numel()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        reached = parameter.grad.flatten(1).abs().sum(dim=1) if parameter.ndim > 1 else parameter.grad.abs()
        assert (reached > 0).all(), f"no gradient reaches a part of {name}"


@every_case
def test_a_saved_model_computes_the_same(case: Case, tmp_path) -> None:
    model, ids = case.model("sdpa", dtype=torch.float32), tokens()
    save_model(model, tmp_path)
    again = load_model(tmp_path, backend=model.backend)
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))
