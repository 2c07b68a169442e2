"""A second opinion: tsumiki's families, written again from the papers in plain numpy and float64.

It shares no line with `nn` or `kernels`: loops over rows, heads and positions instead of einsums, a list of the keys
that a query sees instead of a mask, positions turned as complex numbers. A misunderstanding would have to be made
twice, in two different ways, to pass unseen. Slow, and meant to be.
"""

import cmath
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Weights = Mapping[str, Array]

KNOWN = {
    "family": {"gpt2", "gpt_oss"},
    "attention": {"grouped_query", "gated"},
    "feed_forward": {"gelu", "swiglu", "moe"},
}
"""What is written again here. A variant that somebody adds is not, and the check says so."""


def knows(config: Any) -> bool:
    """Whether every part of the architecture is written again here."""
    return (
        config.family in KNOWN["family"]
        and config.attention.variant in KNOWN["attention"]
        and config.feed_forward.variant in KNOWN["feed_forward"]
    )


def reference_outputs(config: Any, weights: Weights, ids: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Array]:
    """What each part of a model with this configuration and these weights gives for one row of token ids.

    Keys are names of submodules, in the order of computation; the last one, "", is the model, and its output [T, V] are
    the logits.
    """
    w, outputs = weights, {}
    x = w["embedding.weight"][ids]
    if config.family == "gpt2":
        x = x + w["position.weight"][: len(ids)]
    for number in range(config.num_layers):
        name = f"layers.{number}"
        normed = _norm(config, w, f"{name}.attention_norm", x)
        outputs[f"{name}.attention_norm"] = normed
        outputs[f"{name}.attention"] = _attention(config, number, w, f"{name}.attention.", normed)
        x = x + outputs[f"{name}.attention"]
        normed = _norm(config, w, f"{name}.feed_forward_norm", x)
        outputs[f"{name}.feed_forward_norm"] = normed
        outputs[f"{name}.feed_forward"] = _feed_forward(config, w, f"{name}.feed_forward.", normed)
        x = x + outputs[f"{name}.feed_forward"]
        outputs[name] = x
    outputs["norm"] = _norm(config, w, "norm", x)
    logits = outputs["norm"] @ (w["embedding.weight"] if config.tie_embeddings else w["head.weight"]).T
    cap = config.logit_softcap
    outputs[""] = logits if cap is None else cap * np.tanh(logits / cap)
    return outputs


def _linear(w: Weights, name: str, x: Array) -> Array:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def _norm(config: Any, w: Weights, name: str, x: Array) -> Array:
    """GPT-2: LayerNorm. GPT-OSS: RMSNorm."""
    if config.family == "gpt_oss":
        return _rms_norm(x, w[f"{name}.weight"], config.norm_eps)
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + config.norm_eps)
    return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def _rms_norm(x: Array, gain: Array, eps: float) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * gain


def _attention(config: Any, layer: int, w: Weights, name: str, x: Array) -> Array:
    options = config.attention
    width, group = options.head_dim, options.num_heads // options.num_kv_heads
    q, k, v = (_linear(w, f"{name}{part}_proj", x).reshape(len(x), -1, width) for part in "qkv")
    if options.qk_norm:
        q = _rms_norm(q, w[f"{name}q_norm.weight"], config.norm_eps)
        k = _rms_norm(k, w[f"{name}k_norm.weight"], config.norm_eps)
    if config.family == "gpt_oss":
        q, k = _turn(q, config.rope), _turn(k, config.rope)

    out = np.zeros_like(q)
    slides = config.family == "gpt_oss" and (config.sliding_layers == "all" or layer % 2 == 0)
    for head in range(options.num_heads):
        shared = head // group
        for t in range(len(x)):
            oldest = max(0, t + 1 - config.sliding_window) if slides and config.sliding_window else 0
            scores = k[oldest : t + 1, shared] @ q[t, head] / math.sqrt(width)
            if options.sinks:
                scores = np.append(scores, w[f"{name}sinks"][head])
            shares = np.exp(scores - scores.max())
            shares = shares / shares.sum()
            out[t, head] = shares[: t + 1 - oldest] @ v[oldest : t + 1, shared]

    if options.variant == "gated":
        source = f"{name}gate_proj"
        gate = _linear(w, source, x) if options.gate_input == "query" else w[f"{source}.value"][None]
        out = out * (1 / (1 + np.exp(-gate))).reshape(len(gate), options.num_heads, -1)
    return _linear(w, f"{name}o_proj", out.reshape(len(x), -1))


def _turn(x: Array, rope: Any) -> Array:
    """RoPE: coordinates i and i + D/2 are a complex number, turned by position times frequency i."""
    half = x.shape[-1] // 2
    pairs = x[..., :half] + 1j * x[..., half:]
    frequencies, scale = _frequencies(half, rope)
    for i, frequency in enumerate(frequencies):
        turns = np.array([cmath.rect(scale, position * frequency) for position in range(len(x))])
        pairs[..., i] = pairs[..., i] * turns[:, None]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def _frequencies(half: int, rope: Any) -> tuple[list[float], float]:
    """Radians a position of every pair, and what YaRN multiplies queries and keys with."""
    scaling, theta = rope.scaling, rope.theta
    if scaling is not None and scaling.kind == "ntk":
        theta = theta * scaling.factor ** (half / (half - 1))
    plain = [theta ** (-i / half) for i in range(half)]
    if scaling is None or scaling.kind == "ntk":
        return plain, 1.0
    if scaling.kind == "linear":
        return [frequency / scaling.factor for frequency in plain], 1.0

    def pair_turning(times: float) -> float:
        return half * math.log(scaling.original_max_seq_len / (2 * math.pi * times)) / math.log(theta)

    first, last = pair_turning(scaling.beta_fast), pair_turning(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    mixed = []
    for i, frequency in enumerate(plain):
        if scaling.ramp == "wavelength":
            turns = scaling.original_max_seq_len * frequency / (2 * math.pi)
            interpolated = (scaling.beta_fast - turns) / (scaling.beta_fast - scaling.beta_slow)
        else:
            interpolated = (i - first) / max(last - first, 0.001)
        interpolated = min(max(interpolated, 0.0), 1.0)
        mixed.append(interpolated * frequency / scaling.factor + (1 - interpolated) * frequency)
    return mixed, 0.1 * math.log(scaling.factor) + 1 if scaling.temperature else 1.0


def _feed_forward(config: Any, w: Weights, name: str, x: Array) -> Array:
    options = config.feed_forward
    if options.variant == "gelu":
        return _linear(w, f"{name}down_proj", _gelu(options.approximate, _linear(w, f"{name}up_proj", x)))
    if options.variant == "swiglu":
        return _swiglu(options, w, name, x)
    scores = _linear(w, f"{name}router", x)
    y = np.zeros_like(x)
    for t in range(len(x)):
        best = sorted(range(options.num_experts), key=lambda expert: -scores[t, expert])[: options.experts_per_token]
        shares = np.exp(scores[t, best] - scores[t].max())
        for expert, share in zip(best, shares / shares.sum(), strict=True):
            y[t] += share * _swiglu(options, w, f"{name}experts.{expert}.", x[t : t + 1])[0]
    return y


def _gelu(approximate: str, x: Array) -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _swiglu(options: Any, w: Weights, name: str, x: Array) -> Array:
    """Llama's, or with a limit GPT-OSS's, which clamps both halves and adds one."""
    gate, up = _linear(w, f"{name}gate_proj", x), _linear(w, f"{name}up_proj", x)
    if options.limit is not None:
        gate = np.minimum(gate, options.limit)
        up = np.clip(up, -options.limit, options.limit) + 1
    return _linear(w, f"{name}down_proj", gate / (1 + np.exp(-options.alpha * gate)) * up)
