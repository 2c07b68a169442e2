"""What GPT-OSS, Qwen3 and Llama have in common in `transformers`: sizes, rotary positions, windows, norms."""

from collections.abc import Iterator
from typing import Any, Literal

from tsumiki.export.hf.parts import Part, Theirs, same
from tsumiki.models.gpt_oss import GPTOSS
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.rope import LinearScaling, NtkScaling, RopeConfig, YarnScaling


def describe_sizes(config: GPTOSS.Config) -> dict[str, Any]:
    """The fields that the three classes share."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "hidden_size": config.d_model,
        "intermediate_size": config.feed_forward.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.attention.num_heads,
        "num_key_value_heads": config.attention.num_kv_heads,
        "head_dim": config.attention.head_dim,
        "attention_bias": config.attention.bias,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        **_describe_rope(config),
    }


def understand_sizes(theirs: Theirs, *, theta: float, norm_eps: float, tied: bool = False) -> dict[str, Any]:
    """The same, as arguments of our configuration; theta, eps and tying are the class's own defaults."""
    theirs.require("hidden_act", "silu")
    return {
        "vocab_size": theirs["vocab_size"],
        "max_seq_len": theirs["max_position_embeddings"],
        "d_model": theirs["hidden_size"],
        "num_layers": theirs["num_hidden_layers"],
        "rope": _understand_rope(theirs, theta),
        "norm_eps": theirs.get("rms_norm_eps", norm_eps),
        "init_std": theirs.get("initializer_range", 0.02),
        "tie_embeddings": theirs.get("tie_word_embeddings", tied),
    }


def understand_attention(
    theirs: Theirs, *, bias: bool, qk_norm: bool = False, sinks: bool = False
) -> GroupedQueryAttention.Config:
    """Its attention as our configuration; `bias` is the class's own default."""
    num_heads = theirs["num_attention_heads"]
    return GroupedQueryAttention.Config(
        num_heads=num_heads,
        num_kv_heads=theirs.get("num_key_value_heads", num_heads),
        head_dim=theirs.get("head_dim", theirs["hidden_size"] // num_heads),
        bias=theirs.get("attention_bias", bias),
        qk_norm=qk_norm,
        sinks=sinks,
    )


def rope_objections(config: GPTOSS.Config) -> Iterator[str]:
    """What `transformers` has no rotary positions for."""
    if isinstance(config.rope.scaling, YarnScaling) and config.rope.scaling.ramp == "wavelength":
        yield "its YaRN has the index ramp only"


def attention_objections(config: GPTOSS.Config, *, qk_norm: bool, sinks: bool) -> Iterator[str]:
    """What keeps our attention from being a class's, which has QK-norm and sinks or has them not."""
    attention = config.attention
    if attention.variant != "grouped_query":
        yield f"it has no '{attention.variant}' attention"
    if attention.qk_norm != qk_norm:
        yield "it has no QK-norm" if attention.qk_norm else "it always has QK-norm"
    if attention.sinks != sinks:
        yield "it has no attention sinks" if attention.sinks else "it always has attention sinks"


def _describe_rope(config: GPTOSS.Config) -> dict[str, Any]:
    """As releases since 5.0 write it (`rope_parameters`) and as earlier ones did (`rope_theta`, `rope_scaling`)."""
    theta, scaling = config.rope.theta, config.rope.scaling
    match scaling:
        case None:
            scaled = None
        case LinearScaling():
            scaled = {"rope_type": "linear", "factor": scaling.factor}
        case NtkScaling():
            # NTK-aware scaling is another theta, which is how their files say it.
            head_dim = config.attention.head_dim
            theta, scaled = theta * scaling.factor ** (head_dim / (head_dim - 2)), None
        case YarnScaling():
            scaled = {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_max_seq_len,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
            }
            if not scaling.temperature:
                scaled["attention_factor"] = 1.0
    parameters = {"rope_type": "default", **(scaled or {}), "rope_theta": theta}
    return {"rope_parameters": parameters, "rope_theta": theta, "rope_scaling": scaled}


def _understand_rope(theirs: Theirs, default_theta: float) -> RopeConfig:
    parameters = {**theirs.get("rope_scaling", {}), **theirs.get("rope_parameters", {})}
    theta = float(parameters.get("rope_theta", theirs.get("rope_theta", default_theta)))
    if parameters.get("partial_rotary_factor", theirs.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ValueError("'partial_rotary_factor' is not 1, but tsumiki's RoPE turns all coordinates of a head")
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return RopeConfig(theta=theta)
    if kind == "linear":
        return RopeConfig(theta=theta, scaling=LinearScaling(factor=parameters["factor"]))
    if kind != "yarn":
        raise ValueError(f"its rotary positions are scaled as '{kind}', but tsumiki knows 'linear' and 'yarn'")
    if parameters.get("mscale") or parameters.get("attention_factor") not in (None, 1.0):
        raise ValueError("its YaRN has an attention factor of its own, but tsumiki knows 0.1 ln(factor) + 1, or 1")
    scaling = YarnScaling(
        factor=parameters["factor"],
        original_max_seq_len=parameters.get("original_max_position_embeddings") or theirs["max_position_embeddings"],
        beta_fast=parameters.get("beta_fast") or 32.0,
        beta_slow=parameters.get("beta_slow") or 1.0,
        truncate=parameters.get("truncate", True),
        temperature=parameters.get("attention_factor") is None,
    )
    return RopeConfig(theta=theta, scaling=scaling)


def describe_windows(config: GPTOSS.Config) -> dict[str, Any]:
    """Which layers slide, for the classes that can say it."""
    layers = ["full_attention" if window is None else "sliding_attention" for window in config.windows]
    return {"sliding_window": config.sliding_window, "layer_types": layers}


def understand_windows(theirs: Theirs, layers: list[str]) -> dict[str, Any]:
    """The same, as arguments of our configuration."""
    slides = [layer == "sliding_attention" for layer in layers]
    if not any(slides):
        return {"sliding_window": None}
    pattern: Literal["all", "even"] = "all" if all(slides) else "even"
    if pattern == "even" and slides != [layer % 2 == 0 for layer in range(len(slides))]:
        raise ValueError(
            "'layer_types' lets some layers slide, but tsumiki knows every other one from the first, or all"
        )
    return {"sliding_window": theirs["sliding_window"], "sliding_layers": pattern}


def shared_parts(config: GPTOSS.Config) -> Iterator[Part]:
    """Embedding, head, norms and attention."""
    yield same("model.embed_tokens.weight", "embedding.weight")
    yield same("model.norm.weight", "norm.weight")
    if not config.tie_embeddings:
        yield same("lm_head.weight", "head.weight")
    for layer in range(config.num_layers):
        theirs, ours = f"model.layers.{layer}", f"layers.{layer}"
        yield same(f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight")
        yield same(f"{theirs}.post_attention_layernorm.weight", f"{ours}.feed_forward_norm.weight")
        for kind in ("weight", "bias") if config.attention.bias else ("weight",):
            for part in "qkvo":
                yield same(f"{theirs}.self_attn.{part}_proj.{kind}", f"{ours}.attention.{part}_proj.{kind}")
        if config.attention.sinks:
            yield same(f"{theirs}.self_attn.sinks", f"{ours}.attention.sinks")
        if config.attention.qk_norm:
            yield same(f"{theirs}.self_attn.q_norm.weight", f"{ours}.attention.q_norm.weight")
            yield same(f"{theirs}.self_attn.k_norm.weight", f"{ours}.attention.k_norm.weight")


def dense_parts(config: GPTOSS.Config, *, bias: bool) -> Iterator[Part]:
    """The three matrices of a dense SwiGLU layer."""
    for layer in range(config.num_layers):
        for kind in ("weight", "bias") if bias else ("weight",):
            for part in ("gate_proj", "up_proj", "down_proj"):
                yield same(f"model.layers.{layer}.mlp.{part}.{kind}", f"layers.{layer}.feed_forward.{part}.{kind}")


def current_name(name: str) -> str | None:
    """Old files held RoPE's frequencies."""
    return None if name.endswith(".rotary_emb.inv_freq") else name
