"""A model as one GGUF file, which llama.cpp and the tools built on it run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
import torch
from tokenizers import pre_tokenizers
from torch import Tensor

from tsumiki.data.sources import SampleSource
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError
from tsumiki.export.hf import architecture_for
from tsumiki.models import GPTOSS, LanguageModel
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward
from tsumiki.nn.rope import LinearScaling, NtkScaling, YarnScaling

if TYPE_CHECKING:
    from gguf import GGUFWriter

NAMES = {"gpt2": "gpt2", "gpt_oss": "gpt-oss", "llama": "llama", "qwen3": "qwen3"}
"""What transformers calls an architecture -> what GGUF calls it."""

PRE_TOKENIZERS = {
    "dbrx": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
"""llama.cpp cuts a text before BPE by one of a fixed set of patterns; these are two of them, by its names."""

NORMAL, CONTROL, UNUSED = 1, 3, 5
"""Kinds of tokens."""


def export_gguf(model: LanguageModel, tokenizer: Tokenizer, path: Path) -> None:
    """Write a GGUF file with fp32 weights.

    Raises:
        UserError: llama.cpp cannot express the model or cut texts as the tokenizer does, or the `gguf` package is
            missing.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError("The GGUF export needs an extra; run: pip install 'tsumiki[export]'") from error
    config = model.config
    model_type = architecture_for(config).model_type
    reasons = list(_objections(model_type, config))
    if reasons:
        raise UserError(f"llama.cpp cannot express this model as {NAMES[model_type]}: {', '.join(reasons)}.")
    pre_tokenizer = _pre_tokenizer(tokenizer)

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, NAMES[model_type])
    _describe(writer, config)
    if isinstance(config, GPTOSS.Config):
        _describe_rope(writer, config)
    _add_tokenizer(writer, tokenizer, pre_tokenizer)
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    for name, tensor in _tensors(model_type, config, weights):
        writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _objections(model_type: str, config: DecoderConfig) -> Iterator[str]:
    """What transformers' class of this name has, and llama.cpp's has not."""
    feed_forward, attention = config.feed_forward, config.attention
    if isinstance(feed_forward, GeluFeedForward.Config) and feed_forward.approximate != "tanh":
        yield "its GELU is the tanh approximation"
    if not isinstance(config, GPTOSS.Config):
        return
    scaling = config.rope.scaling
    if isinstance(scaling, YarnScaling) and not (scaling.truncate and scaling.temperature):
        yield "its YaRN rounds the ramp to whole pairs and has a temperature (truncate and temperature true)"
    if model_type != "gpt_oss":
        if attention.bias or getattr(feed_forward, "bias", False):
            yield "it has no biases"
        if config.sliding_window is not None:
            yield "it has no sliding window"
        return
    assert isinstance(feed_forward, MixtureOfExperts.Config | SwiGLUFeedForward.Config)
    if (feed_forward.alpha, feed_forward.limit) != (1.702, 7.0):
        yield "its SwiGLU has alpha 1.702 and limit 7"
    if not attention.bias:
        yield "its attention has biases"
    if config.sliding_window is None or config.sliding_layers != "even":
        yield "every other layer slides, from the first on"


def _describe(writer: "GGUFWriter", config: DecoderConfig) -> None:
    attention, feed_forward = config.attention, config.feed_forward
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(feed_forward.d_ff)
    writer.add_head_count(attention.num_heads)
    writer.add_head_count_kv(attention.num_kv_heads)
    writer.add_vocab_size(config.vocab_size)
    if not isinstance(config, GPTOSS.Config):
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_key_length(attention.head_dim)
    writer.add_value_length(attention.head_dim)
    if attention.sinks:
        assert config.sliding_window is not None
        writer.add_sliding_window(config.sliding_window)
        writer.add_expert_feed_forward_length(feed_forward.d_ff)
        is_mixture = isinstance(feed_forward, MixtureOfExperts.Config)
        writer.add_expert_count(feed_forward.num_experts if is_mixture else 1)
        writer.add_expert_used_count(feed_forward.experts_per_token if is_mixture else 1)


def _describe_rope(writer: "GGUFWriter", config: GPTOSS.Config) -> None:
    from gguf import RopeScalingType

    theta, scaling, head_dim = config.rope.theta, config.rope.scaling, config.attention.head_dim
    if isinstance(scaling, NtkScaling):
        theta *= scaling.factor ** (head_dim / (head_dim - 2))
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(theta)
    if isinstance(scaling, LinearScaling):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    if isinstance(scaling, YarnScaling):
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling.factor)
        writer.add_rope_scaling_orig_ctx_len(scaling.original_max_seq_len)
        writer.add_rope_scaling_yarn_beta_fast(scaling.beta_fast)
        writer.add_rope_scaling_yarn_beta_slow(scaling.beta_slow)


def _tensors(model_type: str, config: DecoderConfig, weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under GGUF's name. A matrix is [outputs, inputs], as ours are."""
    yield "token_embd.weight", weights["embedding.weight"]
    if model_type == "gpt2":
        yield "position_embd.weight", weights["position.weight"]
    yield from _renamed(weights, "norm", "output_norm")
    if not config.tie_embeddings:
        yield "output.weight", weights["head.weight"]
    elif model_type == "gpt_oss":
        yield "output.weight", weights["embedding.weight"]  # it knows no tied head
    second_norm = "post_attention_norm" if model_type == "gpt_oss" else "ffn_norm"
    for layer in range(config.num_layers):
        ours, theirs = f"layers.{layer}", f"blk.{layer}"
        yield from _renamed(weights, f"{ours}.attention_norm", f"{theirs}.attn_norm")
        yield from _renamed(weights, f"{ours}.feed_forward_norm", f"{theirs}.{second_norm}")
        yield from _renamed(weights, f"{ours}.attention.o_proj", f"{theirs}.attn_output")
        if model_type == "gpt2":
            for kind in ("weight", "bias"):
                queries_keys_values = [weights[f"{ours}.attention.{part}_proj.{kind}"] for part in "qkv"]
                yield f"{theirs}.attn_qkv.{kind}", torch.cat(queries_keys_values)
        else:
            for part in "qkv":
                for name, tensor in _renamed(weights, f"{ours}.attention.{part}_proj", f"{theirs}.attn_{part}"):
                    interleave = model_type == "llama" and part in "qk"
                    yield name, _interleaved(tensor, config.attention.head_dim) if interleave else tensor
        yield from _renamed(weights, f"{ours}.attention.q_norm", f"{theirs}.attn_q_norm")
        yield from _renamed(weights, f"{ours}.attention.k_norm", f"{theirs}.attn_k_norm")
        if config.attention.sinks:
            yield f"{theirs}.attn_sinks.weight", weights[f"{ours}.attention.sinks"]
        if model_type == "gpt_oss":
            yield from _experts(config, weights, f"{ours}.feed_forward", theirs)
        else:
            for part in ("gate", "up", "down"):
                yield from _renamed(weights, f"{ours}.feed_forward.{part}_proj", f"{theirs}.ffn_{part}")


def _renamed(weights: dict[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """The weight and the bias of a layer, if it has them."""
    for kind in ("weight", "bias"):
        if f"{ours}.{kind}" in weights:
            yield f"{theirs}.{kind}", weights[f"{ours}.{kind}"]


def _interleaved(weight: Tensor, head_dim: int) -> Tensor:
    """A query or key projection for RoPE that pairs coordinates 2i and 2i + 1, where ours pairs i and i + D/2."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def _experts(config: DecoderConfig, weights: dict[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """All experts of a layer as one tensor; a dense layer is one expert, whose router has nothing to choose."""
    mixture = config.feed_forward
    if isinstance(mixture, MixtureOfExperts.Config):
        yield from _renamed(weights, f"{ours}.router", f"{theirs}.ffn_gate_inp")
        experts = [f"{ours}.experts.{number}" for number in range(mixture.num_experts)]
    else:
        yield f"{theirs}.ffn_gate_inp.weight", torch.zeros(1, config.d_model)
        yield f"{theirs}.ffn_gate_inp.bias", torch.zeros(1)
        experts = [ours]
    for part in ("gate", "up", "down"):
        for kind in ("weight", "bias"):
            stacked = torch.stack([weights[f"{expert}.{part}_proj.{kind}"] for expert in experts])
            yield f"{theirs}.ffn_{part}_exps.{kind}", stacked


def _add_tokenizer(writer: "GGUFWriter", tokenizer: Tokenizer, pre_tokenizer: str) -> None:
    description = json.loads(tokenizer.text)
    tokens, kinds = _tokens(tokenizer, description)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = description["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(tokenizer.end_of_text_id)
    writer.add_add_bos_token(True)


def _tokens(tokenizer: Tokenizer, description: dict[str, Any]) -> tuple[list[str], list[int]]:
    """Every id's token and its kind."""
    added = {token["id"]: token["content"] for token in description["added_tokens"]}
    names = {id: token for token, id in description["model"]["vocab"].items()} | added
    tokens = [names.get(id, f"[unused {id}]") for id in range(tokenizer.vocab_size)]
    kinds = [
        CONTROL if id in tokenizer.special_ids else NORMAL if id in names else UNUSED
        for id in range(tokenizer.vocab_size)
    ]
    return tokens, kinds


def _pre_tokenizer(tokenizer: Tokenizer) -> str:
    """The pattern with which every story of the sample becomes the same tokens.

    Raises:
        UserError: "llama.cpp knows no way to cut texts as this tokenizer does; ..."
    """
    sources = [SampleSource(SampleSource.Config(language=language)) for language in ("en", "ja")]
    texts = [document.text for source in sources for document in source.documents("train")]
    expected = tokenizer.encode_batch(texts)
    for name, pattern in PRE_TOKENIZERS.items():
        theirs = tokenizers.Tokenizer.from_str(tokenizer.text)
        theirs.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        encoded = theirs.encode_batch_fast(texts, add_special_tokens=False)
        if [encoding.ids for encoding in encoded] == expected:
            return name
    raise UserError(
        "llama.cpp knows no way to cut texts as this tokenizer does, so the model would be given other tokens than "
        "those that it was trained on; export to another format."
    )
