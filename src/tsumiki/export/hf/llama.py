"""`LlamaForCausalLM` and `Qwen3ForCausalLM`: our family `gpt_oss` with the plain SwiGLU, without and with QK-norm."""

from collections.abc import Iterator
from typing import Any

from tsumiki.export.hf.parts import Part, Theirs
from tsumiki.export.hf.rotary import (
    attention_objections,
    current_name,
    dense_parts,
    describe_sizes,
    describe_windows,
    rope_objections,
    shared_parts,
    understand_attention,
    understand_sizes,
    understand_windows,
)
from tsumiki.models.gpt_oss import GPTOSS
from tsumiki.nn.feed_forward import SwiGLUFeedForward


def _feed_forward_objections(config: GPTOSS.Config, *, bias: bool) -> Iterator[str]:
    feed_forward = config.feed_forward
    if not isinstance(feed_forward, SwiGLUFeedForward.Config):
        yield f"it has no '{feed_forward.variant}' feed-forward layer"
        return
    if feed_forward.limit is not None:
        yield "its SwiGLU is not clamped"
    if feed_forward.bias and not bias:
        yield "its feed-forward layer has no biases"


class Llama:
    """Llama: no QK-norm, no sinks, no sliding window."""

    model_type = "llama"
    class_name = "LlamaForCausalLM"

    def objections(self, config: GPTOSS.Config) -> Iterator[str]:
        """What Llama has no option for."""
        yield from attention_objections(config, qk_norm=False, sinks=False)
        yield from _feed_forward_objections(config, bias=True)
        yield from rope_objections(config)
        if any(window is not None for window in config.windows):
            yield "it has no sliding window"

    def describe(self, config: GPTOSS.Config) -> dict[str, Any]:
        """Our configuration as its `config.json`."""
        assert isinstance(config.feed_forward, SwiGLUFeedForward.Config)
        return {**describe_sizes(config), "mlp_bias": config.feed_forward.bias}

    def understand(self, theirs: Theirs) -> GPTOSS.Config:
        """Its `config.json` as our configuration."""
        return GPTOSS.Config(
            **understand_sizes(theirs, theta=10000.0, norm_eps=1e-6),
            attention=understand_attention(theirs, bias=False),
            feed_forward=SwiGLUFeedForward.Config(d_ff=theirs["intermediate_size"], bias=theirs.get("mlp_bias", False)),
        )

    def parts(self, config: GPTOSS.Config) -> Iterator[Part]:
        """Where each of our tensors is."""
        assert isinstance(config.feed_forward, SwiGLUFeedForward.Config)
        yield from shared_parts(config)
        yield from dense_parts(config, bias=config.feed_forward.bias)

    def rename(self, name: str) -> str | None:
        """A tensor's name as it is now."""
        return current_name(name)


class Qwen3:
    """Qwen3: QK-norm always, no sinks, no biases in the feed-forward layer."""

    model_type = "qwen3"
    class_name = "Qwen3ForCausalLM"

    def objections(self, config: GPTOSS.Config) -> Iterator[str]:
        """What Qwen3 has no option for."""
        yield from attention_objections(config, qk_norm=True, sinks=False)
        yield from _feed_forward_objections(config, bias=False)
        yield from rope_objections(config)

    def describe(self, config: GPTOSS.Config) -> dict[str, Any]:
        """Our configuration as its `config.json`."""
        slides = config.sliding_window is not None
        return {**describe_sizes(config), **describe_windows(config), "use_sliding_window": slides}

    def understand(self, theirs: Theirs) -> GPTOSS.Config:
        """Its `config.json` as our configuration."""
        num_layers = theirs["num_hidden_layers"]
        if not theirs.get("use_sliding_window", False):
            layers = ["full_attention"] * num_layers
        else:
            first = theirs.get("max_window_layers", 28)
            by_depth = ["sliding_attention" if layer >= first else "full_attention" for layer in range(num_layers)]
            layers = theirs.get("layer_types", by_depth)
        return GPTOSS.Config(
            **understand_sizes(theirs, theta=10000.0, norm_eps=1e-6),
            **understand_windows(theirs, layers),
            attention=understand_attention(theirs, bias=False, qk_norm=True),
            feed_forward=SwiGLUFeedForward.Config(d_ff=theirs["intermediate_size"]),
        )

    def parts(self, config: GPTOSS.Config) -> Iterator[Part]:
        """Where each of our tensors is."""
        yield from shared_parts(config)
        yield from dense_parts(config, bias=False)

    def rename(self, name: str) -> str | None:
        """A tensor's name as it is now."""
        return current_name(name)
