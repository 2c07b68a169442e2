"""Models of transformers are examined as they are: no false alarms, and a broken mask is named."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tsumiki.doctor import TRANSFORMERS, diagnose, packed_by_positions, sentence

warnings.filterwarnings("ignore", module="transformers")
transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}


def gpt2(**options: Any) -> Any:
    config = transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0, **options
    )
    return transformers.GPT2LMHeadModel(config)


def llama(**options: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **options))


def qwen3(**options: Any) -> Any:
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, **options))


def gpt_oss(**options: Any) -> Any:
    mixture = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "rope_parameters": YARN}
    return transformers.GptOssForCausalLM(transformers.GptOssConfig(**SIZES, **mixture, **options))


MODELS: list[Callable[..., Any]] = [gpt2, llama, qwen3, gpt_oss]


@pytest.mark.parametrize("build", MODELS)
def test_a_sound_model_passes_every_check(build: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    diagnosis = diagnose(build(), level="full")
    assert [(verdict.check, sentence(verdict)) for verdict in diagnosis.failures] == []
    passed = {verdict.check for verdict in diagnosis.verdicts if verdict.status == "passed"}
    assert passed >= {"causality", "causality_gradient", "cache", "padding", "loss", "reference", "noise_floor"}


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (gpt2, {"activation_function": "gelu", "n_inner": 40}),
        (llama, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        (llama, {"rope_parameters": YARN}),
        (qwen3, {"attention_bias": True}),
    ],
)
def test_the_reference_knows_the_options(build: Callable[..., Any], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    (verdict,) = diagnose(build(**options), checks=["reference"]).verdicts
    assert verdict.status == "passed", sentence(verdict)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (gpt2, {"scale_attn_by_inverse_layer_idx": True}),
        (llama, {"hidden_act": "relu"}),
        (llama, {"rope_parameters": {**YARN, "rope_type": "linear"}}),
    ],
)
def test_what_the_reference_does_not_know_is_skipped(build: Callable[..., Any], options: dict[str, Any]) -> None:
    (verdict,) = diagnose(build(**options), checks=["reference"]).verdicts
    assert (verdict.status, verdict.code) == ("skipped", "unknown_to_reference")


def test_a_mask_broken_by_a_monkeypatch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = llama(attn_implementation="eager")
    assert diagnose(model).ok
    module = transformers.models.llama.modeling_llama
    monkeypatch.setattr(module, "create_causal_mask", lambda **_: None)
    diagnosis = diagnose(model)
    failed = {verdict.check: sentence(verdict) for verdict in diagnosis.failures}
    assert set(failed) >= {"causality", "causality_gradient", "length_independence", "cache", "reference"}
    assert failed["causality"].startswith(
        "The model sees the future: rewriting only the tokens after position 32 moved the logits at positions 0 to 32"
    )
    assert "first in `model.layers.0.self_attn`. Usual cause: a causal mask that is missing" in failed["causality"]
    assert "first in `model.layers.0.self_attn`" in failed["reference"]


def test_a_wrong_scale_is_found_by_the_reference_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = qwen3()
    for layer in model.model.layers:
        monkeypatch.setattr(layer.self_attn, "scaling", 1.0)
    assert [verdict.check for verdict in diagnose(model).failures] == ["reference"]


def test_packed_rows_are_examined_where_they_are_meant_to_work() -> None:
    torch.manual_seed(0)
    adapter = replace(TRANSFORMERS, packed=packed_by_positions)
    (verdict,) = diagnose(llama(), adapter=adapter, checks=["documents"]).verdicts
    assert verdict.status == "passed"
