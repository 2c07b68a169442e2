"""Models of transformers, told to the reference: their configuration and weights under tsumiki's names.

Knows GPT-2, Llama, Qwen3 and GPT-OSS. With it the reference is an oracle for them, too.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tsumiki.models import GPT2, GPTOSS
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward, MixtureOfExperts, SwiGLUFeedForward
from tsumiki.nn.rope import RopeConfig, YarnScaling

_GPT2 = {
    "transformer.wte": "embedding",
    "transformer.wpe": "position",
    "transformer.h": "layers",
    "transformer.ln_f": "norm",
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
    "attn.c_proj": "attention.o_proj",
    "attn": "attention",
    "mlp.c_fc": "feed_forward.up_proj",
    "mlp.c_proj": "feed_forward.down_proj",
    "mlp": "feed_forward",
    "lm_head": "head",
}
_LLAMA = {
    "model.embed_tokens": "embedding",
    "model.layers": "layers",
    "model.norm": "norm",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "feed_forward_norm",
    "self_attn": "attention",
    "mlp": "feed_forward",
    "lm_head": "head",
}
_NAMES = {"gpt2": _GPT2, "llama": _LLAMA, "qwen3": _LLAMA, "gpt_oss": _LLAMA}
"""Model type -> parts of a parameter's name there and here."""


def config_of(model: Any) -> GPT2.Config | GPTOSS.Config | None:
    """The architecture in tsumiki's words; None where it has none for it."""
    config = model.config
    if config.model_type == "gpt2":
        return _gpt2_config(config)
    if config.model_type not in _NAMES or config.hidden_act != "silu":
        return None
    rope = _rope(config)
    window, slides = _window(config)
    if rope is None or slides not in ("none", "even"):
        return None
    bias = config.attention_bias
    sizes = {"num_heads": config.num_attention_heads, "num_kv_heads": config.num_key_value_heads}
    return GPTOSS.Config(
        vocab_size=config.vocab_size,
        max_seq_len=config.max_position_embeddings,
        d_model=config.hidden_size,
        num_layers=config.num_hidden_layers,
        attention=GroupedQueryAttention.Config(
            **sizes,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            bias=bias,
            qk_norm=config.model_type == "qwen3",
            sinks=config.model_type == "gpt_oss",
        ),
        feed_forward=MixtureOfExperts.Config(
            d_ff=config.intermediate_size,
            num_experts=config.num_local_experts,
            experts_per_token=config.num_experts_per_tok,
        )
        if config.model_type == "gpt_oss"
        else SwiGLUFeedForward.Config(d_ff=config.intermediate_size, bias=getattr(config, "mlp_bias", False)),
        tie_embeddings=config.tie_word_embeddings,
        norm_eps=config.rms_norm_eps,
        rope=rope,
        sliding_window=window,
    )


def _gpt2_config(config: Any) -> GPT2.Config | None:
    usual = config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
    if config.activation_function not in ("gelu_new", "gelu") or not usual or config.add_cross_attention:
        return None
    return GPT2.Config(
        vocab_size=config.vocab_size,
        max_seq_len=config.n_positions,
        d_model=config.n_embd,
        num_layers=config.n_layer,
        attention=GroupedQueryAttention.Config(
            num_heads=config.n_head, num_kv_heads=config.n_head, head_dim=config.n_embd // config.n_head, bias=True
        ),
        feed_forward=GeluFeedForward.Config(
            d_ff=config.n_inner or 4 * config.n_embd,
            approximate="tanh" if config.activation_function == "gelu_new" else "none",
        ),
        tie_embeddings=config.tie_word_embeddings,
        norm_eps=config.layer_norm_epsilon,
    )


def _rope(config: Any) -> RopeConfig | None:
    found = getattr(config, "rope_parameters", None) or {
        "rope_theta": config.rope_theta,
        **(getattr(config, "rope_scaling", None) or {}),
    }
    kind = found.get("rope_type", "default")
    if kind == "default":
        return RopeConfig(theta=found["rope_theta"])
    if kind != "yarn" or found.get("attention_factor") is not None or found.get("mscale") is not None:
        return None
    return RopeConfig(
        theta=found["rope_theta"],
        scaling=YarnScaling(
            factor=found["factor"],
            original_max_seq_len=found["original_max_position_embeddings"],
            beta_fast=found.get("beta_fast", 32.0),
            beta_slow=found.get("beta_slow", 1.0),
            truncate=found.get("truncate", True),
        ),
    )


def _window(config: Any) -> tuple[int | None, str]:
    """The sliding window, and whether `none`, the `even` or `other` layers slide."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    if set(kinds) == {"full_attention"}:
        return None, "none"
    even = all((kind == "sliding_attention") == (number % 2 == 0) for number, kind in enumerate(kinds))
    return config.sliding_window, "even" if even else "other"


def weights_of(model: Any) -> dict[str, Tensor]:
    """The weights under tsumiki's names: matrices as [out, in]; queries, keys and values apart, and every expert.

    GPT-2 keeps its matrices as [in, out].
    """
    kind = model.config.model_type
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        here = our_name(name, kind)
        if kind == "gpt2" and here.endswith("_proj.weight"):
            weights[here] = _turned(weight)
        elif ".c_attn." in here:
            for part, piece in zip("qkv", weight.chunk(3, dim=-1), strict=True):
                weights[here.replace("c_attn", f"{part}_proj")] = _turned(piece)
        elif ".experts." in here:
            weights |= _experts(here, weight)
        else:
            weights[here] = weight
    return weights


def _experts(name: str, stacked: Tensor) -> dict[str, Tensor]:
    """GPT-OSS stacks its experts, keeps matrices as [in, out], and lets gate and up alternate."""
    prefix, what = name.rsplit(".", 1)
    kind = "bias" if what.endswith("_bias") else "weight"
    weights = {}
    for number, part in enumerate(stacked):
        pieces = {"gate": part[..., ::2], "up": part[..., 1::2]} if what.startswith("gate_up") else {"down": part}
        for piece, tensor in pieces.items():
            weights[f"{prefix}.{number}.{piece}_proj.{kind}"] = _turned(tensor)
    return weights


def _turned(weight: Tensor) -> Tensor:
    """A matrix kept as [in, out] as [out, in]; a bias as it is."""
    return weight.T if weight.ndim == 2 else weight


def our_name(name: str, kind: str) -> str:
    """A parameter's or submodule's name in tsumiki."""
    for theirs, ours in _NAMES[kind].items():
        name = f".{name}.".replace(f".{theirs}.", f".{ours}.")[1:-1]
    return name


def renamed(model: Any, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the reference gives, under the names of the model's own submodules."""
    theirs = {our_name(name, model.config.model_type): name for name, _ in model.named_modules()}
    return {theirs[name]: output for name, output in outputs.items() if name in theirs}
