"""The contract suite itself: it must find what it exists for."""

import pytest
import torch

from contract.cases import CASES, MAX_SEQ_LEN, Case
from contract.test_contract import assert_causal
from tsumiki.models import build_model
from tsumiki.nn.attention import VARIANTS, GroupedQueryAttention, Mask
from tsumiki.spec import spec


class Leaking(GroupedQueryAttention):
    """The bug that tsumiki exists for: attention without a causal mask."""

    @spec
    class Config(GroupedQueryAttention.Config):
        variant: str = "leaking"

    def __init__(self, config, **options) -> None:
        super().__init__(config, **options)
        self.mask = Mask(causal=False)


@pytest.mark.parametrize("backend", ["eager", "sdpa", "flex"])
def test_a_variant_that_sees_the_future_fails(monkeypatch, backend: str) -> None:
    monkeypatch.setitem(VARIANTS, "leaking", Leaking)
    from contract.cases import cases

    leaking = [case for case in cases() if "leaking" in case.name]
    assert len(leaking) > 5, "a variant that is registered is tested"
    with pytest.raises(AssertionError, match="not close"):
        assert_causal(leaking[0], backend)


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    model = CASES[0].model()
    with pytest.raises(ValueError, match=f"context is {MAX_SEQ_LEN}"):
        model(torch.zeros(1, MAX_SEQ_LEN + 1, dtype=torch.int64))


def test_a_full_cache_is_refused() -> None:
    model = CASES[0].model()
    cache = model.new_cache(batch_size=1, capacity=4)
    with torch.no_grad():
        model(torch.zeros(1, 3, dtype=torch.int64), cache=cache)
        with pytest.raises(ValueError, match="room for 1 more, not 2"):
            model(torch.zeros(1, 2, dtype=torch.int64), cache=cache)


def test_a_window_layer_holds_its_window_only() -> None:
    case = next(case for case in CASES if case.name == "gpt_oss-grouped_query-sliding_window")
    cache = case.model().new_cache(batch_size=1)
    window = case.config.sliding_window
    assert [layer.capacity for layer in cache.layers] == [window, MAX_SEQ_LEN, window]
    heads, width = case.config.attention.num_kv_heads, case.config.attention.head_dim
    assert cache.num_bytes == (2 * window + MAX_SEQ_LEN) * heads * width * 2 * 8


def test_the_same_seed_means_the_same_weights_and_leaves_the_global_state_alone() -> None:
    config = CASES[0].config
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second, other = build_model(config, seed=5), build_model(config, seed=5), build_model(config, seed=6)
    assert torch.equal(torch.rand(3), expected)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.unembedding, other.unembedding)


def test_case_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 50
    assert all(isinstance(case, Case) for case in CASES)
