"""`GPT2LMHeadModel`: our family `gpt2` with multi-head attention and GELU."""

from collections.abc import Iterator
from typing import Any

from tsumiki.export.hf.parts import Part, Theirs, joined, joined_transposed, same
from tsumiki.models.gpt2 import GPT2
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import GeluFeedForward

ACTIVATIONS = {"tanh": "gelu_new", "none": "gelu"}
"""Our `approximate` -> their `activation_function`."""


class Gpt2:
    """GPT-2. It fuses queries, keys and values, and writes every matrix transposed (`Conv1D`: y = x W + b)."""

    model_type = "gpt2"
    class_name = "GPT2LMHeadModel"

    def objections(self, config: GPT2.Config) -> Iterator[str]:
        """What GPT-2 has no option for."""
        attention, feed_forward = config.attention, config.feed_forward
        if attention.variant != "grouped_query":
            yield f"it has no '{attention.variant}' attention"
        if attention.num_kv_heads != attention.num_heads:
            yield "each of its query heads has its own key/value head"
        if attention.num_heads * attention.head_dim != config.d_model:
            yield "its heads are together as wide as the model"
        if attention.qk_norm:
            yield "it has no QK-norm"
        if attention.sinks:
            yield "it has no attention sinks"
        if not attention.bias:
            yield "its attention has biases"
        if not isinstance(feed_forward, GeluFeedForward.Config):
            yield f"it has no '{feed_forward.variant}' feed-forward layer"
        elif not feed_forward.bias:
            yield "its feed-forward layer has biases"

    def describe(self, config: GPT2.Config) -> dict[str, Any]:
        """Our configuration as its `config.json`."""
        assert isinstance(config.feed_forward, GeluFeedForward.Config)
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.max_seq_len,
            "n_embd": config.d_model,
            "n_layer": config.num_layers,
            "n_head": config.attention.num_heads,
            "n_inner": config.feed_forward.d_ff,
            "activation_function": ACTIVATIONS[config.feed_forward.approximate],
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
            "layer_norm_epsilon": config.norm_eps,
            "initializer_range": config.init_std,
            "tie_word_embeddings": config.tie_embeddings,
        }

    def understand(self, theirs: Theirs) -> GPT2.Config:
        """Its `config.json` as our configuration."""
        theirs.require("scale_attn_weights", True)
        theirs.require("scale_attn_by_inverse_layer_idx", False)
        theirs.require("add_cross_attention", False)
        theirs.require("activation_function", *ACTIVATIONS.values())
        dropout = theirs.get("resid_pdrop", 0.1)
        for place in ("embd_pdrop", "attn_pdrop"):
            if theirs.get(place, 0.1) != dropout:
                raise ValueError(f"'{place}' is not 'resid_pdrop', but tsumiki's GPT-2 has one dropout for all places")
        activation = theirs.get("activation_function", "gelu_new")
        d_model, num_heads = theirs["n_embd"], theirs["n_head"]
        return GPT2.Config(
            vocab_size=theirs["vocab_size"],
            max_seq_len=theirs["n_positions"],
            d_model=d_model,
            num_layers=theirs["n_layer"],
            attention=GroupedQueryAttention.Config(
                num_heads=num_heads, num_kv_heads=num_heads, head_dim=d_model // num_heads, bias=True
            ),
            feed_forward=GeluFeedForward.Config(
                d_ff=theirs.get("n_inner", 4 * d_model), approximate="none" if activation == "gelu" else "tanh"
            ),
            dropout=float(dropout),
            tie_embeddings=theirs.get("tie_word_embeddings", True),
            norm_eps=theirs.get("layer_norm_epsilon", 1e-5),
            init_std=theirs.get("initializer_range", 0.02),
        )

    def parts(self, config: GPT2.Config) -> Iterator[Part]:
        """Where each of our tensors is."""
        yield same("transformer.wte.weight", "embedding.weight")
        yield same("transformer.wpe.weight", "position.weight")
        for kind in ("weight", "bias"):
            yield same(f"transformer.ln_f.{kind}", f"norm.{kind}")
        if not config.tie_embeddings:
            yield same("lm_head.weight", "head.weight")
        for layer in range(config.num_layers):
            theirs, ours = f"transformer.h.{layer}", f"layers.{layer}"
            for kind in ("weight", "bias"):
                fused = joined_transposed if kind == "weight" else joined
                yield same(f"{theirs}.ln_1.{kind}", f"{ours}.attention_norm.{kind}")
                yield same(f"{theirs}.ln_2.{kind}", f"{ours}.feed_forward_norm.{kind}")
                queries_keys_values = (f"{ours}.attention.{part}_proj.{kind}" for part in "qkv")
                yield fused(f"{theirs}.attn.c_attn.{kind}", *queries_keys_values)
                yield fused(f"{theirs}.attn.c_proj.{kind}", f"{ours}.attention.o_proj.{kind}")
                yield fused(f"{theirs}.mlp.c_fc.{kind}", f"{ours}.feed_forward.up_proj.{kind}")
                yield fused(f"{theirs}.mlp.c_proj.{kind}", f"{ours}.feed_forward.down_proj.{kind}")

    def rename(self, name: str) -> str | None:
        """The first files had no `transformer.` in front, and held the causal mask."""
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            return None
        return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
