"""`diagnose` takes what other people have: modules and functions that know nothing of tsumiki."""

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from doctor.decoder import SomebodysDecoder
from tsumiki.doctor import Adapter, Diagnosis, diagnose, sentence, with_compiled
from tsumiki.errors import UserError


def examine(model: Any, **options: Any) -> Diagnosis:
    return diagnose(model, vocab_size=11, max_seq_len=23, level="full", **options)


def statuses(diagnosis: Diagnosis) -> dict[str, str]:
    return {verdict.check: verdict.status for verdict in diagnosis.verdicts}


def test_a_module_of_torch_layers_passes_all_that_can_be_asked() -> None:
    diagnosis = examine(SomebodysDecoder())
    assert diagnosis.ok, [sentence(verdict) for verdict in diagnosis.failures]
    found = statuses(diagnosis)
    asked = ("causality", "causality_gradient", "past_is_used", "batch", "noise_floor", "gradient_is_derivative")
    assert [found[check] for check in asked] == ["passed"] * len(asked)
    assert found["cache"] == found["documents"] == found["reference"] == "skipped"


def test_a_module_without_its_mask_fails_with_the_place() -> None:
    diagnosis = examine(SomebodysDecoder(causal=False), checks=["causality", "causality_gradient", "noise_floor"])
    assert [verdict.check for verdict in diagnosis.failures] == ["causality", "causality_gradient", "noise_floor"]
    assert "first in `attention`" in sentence(diagnosis.failures[0])
    assert "最初は `attention`" in sentence(diagnosis.failures[0], "ja")


def test_the_model_is_left_as_it_was() -> None:
    model = SomebodysDecoder().train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    examine(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert model.attention.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_function_is_examined_as_far_as_it_goes() -> None:
    model = SomebodysDecoder().double().eval()
    diagnosis = examine(lambda ids: model(ids).detach())
    assert diagnosis.ok, [sentence(verdict) for verdict in diagnosis.failures]
    found = statuses(diagnosis)
    assert found["causality"] == "passed"
    assert found["gradient_reach"] == "skipped"


def test_a_function_that_looks_ahead_is_caught() -> None:
    table = torch.randn(11, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    diagnosis = examine(lambda ids: table[ids.roll(-1, dims=1)], checks=["causality"])
    assert "positions 11" not in sentence(diagnosis.verdicts[0])
    assert "at position 11 by" in sentence(diagnosis.verdicts[0])


def test_a_bigram_model_ignores_the_past() -> None:
    diagnosis = examine(nn.Embedding(11, 11), checks=["causality", "past_is_used"])
    assert statuses(diagnosis) == {"causality": "passed", "past_is_used": "failed"}
    assert "The model ignores the past" in sentence(diagnosis.failures[0])


@pytest.mark.parametrize("wrap", [lambda logits: (logits, None), lambda logits: SimpleNamespace(logits=logits)])
def test_tuples_and_outputs_with_logits_are_unpacked(wrap: Any) -> None:
    model = SomebodysDecoder().eval()
    assert examine(lambda ids: wrap(model(ids).detach()), checks=["batch"]).ok


def test_logits_of_the_last_position_only_are_refused() -> None:
    model = SomebodysDecoder()
    with pytest.raises(UserError, match=r"shape \(2, 23\) into \(2, 1, 11\), but the doctor needs"):
        examine(lambda ids: model(ids)[:, -1:])


def test_a_model_that_does_not_say_its_vocabulary_is_asked_for_it() -> None:
    with pytest.raises(UserError, match="SomebodysDecoder does not say how many tokens it knows; pass vocab_size"):
        diagnose(SomebodysDecoder())


def test_an_adapter_lets_more_be_asked() -> None:
    def forgetful(model: Any, ids: Tensor, chunks: Sequence[int]) -> Tensor:
        return torch.cat([model(chunk) for chunk in ids.split(list(chunks), dim=1)], dim=1)

    def loss(model: Any, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        real = targets >= 0
        return nn.functional.cross_entropy(model(ids)[real], targets[real], reduction="sum"), real.sum()

    adapter = Adapter(cached=forgetful, loss=loss)
    diagnosis = examine(SomebodysDecoder(), adapter=adapter, checks=["cache", "loss", "accumulation"])
    assert statuses(diagnosis) == {"cache": "failed", "loss": "passed", "accumulation": "passed"}
    assert "With the KV cache the logits differ from position 5 on (chunks [5, 1, 1, 5]" in sentence(
        diagnosis.failures[0]
    )


def test_a_compiled_model_is_one_more_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    diagnosis = examine(SomebodysDecoder(), adapter=with_compiled(Adapter()), checks=["backends"])
    assert diagnosis.verdicts[0].values["backends"] == ["compiled"]
    assert len(compiled) == 1


def test_a_model_that_raises_fails_the_check_with_the_place() -> None:
    def cached(model: Any, ids: Tensor, chunks: Sequence[int]) -> Tensor:
        raise IndexError("no slot left")

    diagnosis = examine(SomebodysDecoder(), adapter=Adapter(cached=cached), checks=["cache"])
    assert "The model raised IndexError where it should have answered: no slot left" in sentence(diagnosis.verdicts[0])
    assert "test_any_model.py, line" in sentence(diagnosis.verdicts[0])


def test_ids_that_mean_padding_are_left_alone() -> None:
    torch.manual_seed(0)
    model = SomebodysDecoder()
    model.tokens.padding_idx = 4  # this row gets no gradient, by intention
    diagnosis = examine(model, checks=["gradient_is_derivative", "causality", "noise_floor"])
    assert diagnosis.ok, [sentence(verdict) for verdict in diagnosis.failures]


class OnlySingle(SomebodysDecoder):
    """Stands for a fused kernel without float64."""

    def forward(self, ids: Tensor) -> Tensor:
        if self.head.weight.dtype is torch.float64:
            raise RuntimeError("expected Float, got Double")
        return super().forward(ids)


def test_a_model_without_float64_is_examined_in_float32() -> None:
    diagnosis = examine(OnlySingle())
    assert diagnosis.ok, [sentence(verdict) for verdict in diagnosis.failures]
    assert diagnosis.setting["dtype"] == "float32"
    assert statuses(diagnosis)["gradient_is_derivative"] == "skipped"


class Rounding(SomebodysDecoder):
    """Stands for a norm that computes in float32 whatever comes in."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).float().to(self.head.weight.dtype)


def test_rounding_inside_a_float64_model_is_noticed_and_allowed_for() -> None:
    diagnosis = examine(Rounding())
    assert diagnosis.ok, [sentence(verdict) for verdict in diagnosis.failures]
    assert diagnosis.setting["dtype"] == "float64"
    assert diagnosis.setting["precision"] == "float32"
    assert 1e-6 < diagnosis.setting["tolerance"] < 1e-3
