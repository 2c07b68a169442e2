"""Random models of `transformers`, small and with odd sizes, and the rounding that it does inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import transformers
from torch import Tensor, nn

VOCAB_SIZE = 131
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "truncate": False,
}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def gpt2(**changes) -> transformers.PreTrainedModel:
    options = {"n_embd": 42, "n_layer": 3, "n_head": 3, "n_inner": 67}
    config = transformers.GPT2Config(vocab_size=VOCAB_SIZE, n_positions=64, **options, **changes)
    return random_weights(transformers.GPT2LMHeadModel(config))


def rotary(config_class, model_class, **changes) -> transformers.PreTrainedModel:
    options = {
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": 64,
        "hidden_size": 42,
        "intermediate_size": 67,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 14,
        "rope_parameters": PLAIN,
        "pad_token_id": 0,
    }
    return random_weights(model_class(config_class(**{**options, **changes})))


def gpt_oss(**changes) -> transformers.PreTrainedModel:
    model = rotary(transformers.GptOssConfig, transformers.GptOssForCausalLM, **changes)
    # Its grouped kernel takes neither odd sizes nor fp64.
    model.set_experts_implementation("eager")
    return model


def llama(**changes) -> transformers.PreTrainedModel:
    return rotary(transformers.LlamaConfig, transformers.LlamaForCausalLM, **changes)


def qwen3(**changes) -> transformers.PreTrainedModel:
    return rotary(transformers.Qwen3Config, transformers.Qwen3ForCausalLM, **changes)


def random_weights(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Every parameter drawn anew, so that no bias, sink or gain keeps a value that hides a mistake."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        is_gain = name.endswith("weight") and parameter.ndim == 1
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.2 if is_gain else 0.3) + is_gain
    return model.eval()


DENSE = {"num_local_experts": 1, "num_experts_per_tok": 1}
MIXTURE = {"num_local_experts": 8, "num_experts_per_tok": 2}
MODELS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "gpt2": gpt2,
    "gpt2-untied-erf": lambda: gpt2(activation_function="gelu", tie_word_embeddings=False),
    "gpt_oss-dense": lambda: gpt_oss(**DENSE, sliding_window=8),
    "gpt_oss-moe": lambda: gpt_oss(**MIXTURE, sliding_window=8),
    "gpt_oss-moe-yarn": lambda: gpt_oss(**MIXTURE, sliding_window=8, rope_parameters=YARN),
    "gpt_oss-no-window": lambda: gpt_oss(
        **DENSE, layer_types=["full_attention"] * 3, attention_bias=False, swiglu_alpha=1.3, swiglu_limit=0.7
    ),
    "llama": llama,
    "llama-yarn-tied": lambda: llama(
        rope_parameters=YARN | {"truncate": True}, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "llama-linear": lambda: llama(
        rope_parameters=PLAIN | {"rope_type": "linear", "factor": 4.0}, num_key_value_heads=6, rms_norm_eps=1e-3
    ),
    "qwen3": lambda: qwen3(rms_norm_eps=1e-3),
    "qwen3-yarn": lambda: qwen3(rope_parameters=YARN | {"attention_factor": 1.0}, tie_word_embeddings=True),
    "qwen3-window": lambda: qwen3(
        use_sliding_window=True,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}
"""One for each thing that a class can be told to do."""


@pytest.fixture(params=MODELS)
def theirs(request) -> transformers.PreTrainedModel:
    return MODELS[request.param]()


@contextmanager
def without_rounding(model: transformers.PreTrainedModel, inverse_frequencies: Tensor | None) -> Iterator[None]:
    """Keep `transformers` from rounding to fp32 inside an fp64 model, which alone moves logits by 1e-6.

    Its RMSNorms cast to fp32: PyTorch's own take their place. Its rotary frequencies are powers computed in fp32, off
    in the last digits: ours, which are computed in fp64 and then rounded, take their place once both were seen to agree
    to fp32's precision.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = nn.RMSNorm.forward.__get__(_torch_norm(module))
        if type(module).__name__.endswith("RotaryEmbedding"):
            assert inverse_frequencies is not None
            torch.testing.assert_close(module.inv_freq.float(), inverse_frequencies, rtol=1e-6, atol=0)
            module.inv_freq = inverse_frequencies
    yield


def _torch_norm(module: nn.Module) -> nn.RMSNorm:
    norm = nn.RMSNorm(len(module.weight), eps=module.variance_epsilon)
    norm.weight = module.weight
    return norm
