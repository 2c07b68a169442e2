"""`GptOssForCausalLM`: our family `gpt_oss` with sinks and the clamped SwiGLU, dense or as a mixture of experts."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tsumiki.export.hf.parts import Part, Theirs, same
from tsumiki.export.hf.rotary import (
    attention_objections,
    current_name,
    describe_sizes,
    describe_windows,
    rope_objections,
    shared_parts,
    understand_attention,
    understand_sizes,
    understand_windows,
)
from tsumiki.models.gpt_oss import GPTOSS
from tsumiki.nn.feed_forward import FeedForwardConfig, MixtureOfExperts, SwiGLUFeedForward


class GptOss:
    """GPT-OSS. All experts of a layer are one tensor, with gate and up outputs interleaved, and transposed.

    A dense model is a mixture of one expert. Its router has nothing to choose, so its weights are zero in their files
    and absent in ours.
    """

    model_type = "gpt_oss"
    class_name = "GptOssForCausalLM"

    def objections(self, config: GPTOSS.Config) -> Iterator[str]:
        """What GPT-OSS has no option for."""
        yield from attention_objections(config, qk_norm=False, sinks=True)
        yield from rope_objections(config)
        feed_forward = config.feed_forward
        if not isinstance(feed_forward, MixtureOfExperts.Config | SwiGLUFeedForward.Config):
            yield f"it has no '{feed_forward.variant}' feed-forward layer"
            return
        if feed_forward.limit is None:
            yield "its SwiGLU is clamped"
        if not feed_forward.bias:
            yield "its experts have biases"

    def describe(self, config: GPTOSS.Config) -> dict[str, Any]:
        """Our configuration as its `config.json`."""
        feed_forward = config.feed_forward
        assert isinstance(feed_forward, MixtureOfExperts.Config | SwiGLUFeedForward.Config)
        balance = feed_forward.balance_coefficient if isinstance(feed_forward, MixtureOfExperts.Config) else 0.0
        return {
            **describe_sizes(config),
            **describe_windows(config),
            "num_local_experts": _num_experts(feed_forward),
            "num_experts_per_tok": getattr(feed_forward, "experts_per_token", 1),
            "swiglu_alpha": feed_forward.alpha,
            "swiglu_limit": feed_forward.limit,
            "router_aux_loss_coef": balance,
            "output_router_logits": balance > 0,
        }

    def understand(self, theirs: Theirs) -> GPTOSS.Config:
        """Its `config.json` as our configuration."""
        num_layers, num_experts = theirs["num_hidden_layers"], theirs["num_local_experts"]
        even = ["full_attention" if layer % 2 else "sliding_attention" for layer in range(num_layers)]
        expert = {
            "d_ff": theirs["intermediate_size"],
            "bias": True,
            "limit": theirs.get("swiglu_limit", 7.0),
            "alpha": theirs.get("swiglu_alpha", 1.702),
        }
        if num_experts == 1:
            feed_forward: FeedForwardConfig = SwiGLUFeedForward.Config(**expert)
        else:
            balanced = theirs.get("output_router_logits", False)
            feed_forward = MixtureOfExperts.Config(
                **expert,
                num_experts=num_experts,
                experts_per_token=theirs["num_experts_per_tok"],
                balance_coefficient=theirs.get("router_aux_loss_coef", 0.001) if balanced else 0.0,
            )
        return GPTOSS.Config(
            **understand_sizes(theirs, theta=150000.0, norm_eps=1e-5),
            **understand_windows(theirs, theirs.get("layer_types", even)),
            attention=understand_attention(theirs, bias=True, sinks=True),
            feed_forward=feed_forward,
        )

    def parts(self, config: GPTOSS.Config) -> Iterator[Part]:
        """Where each of our tensors is."""
        yield from shared_parts(config)
        num_experts = _num_experts(config.feed_forward)
        is_mixture = isinstance(config.feed_forward, MixtureOfExperts.Config)
        for layer in range(config.num_layers):
            theirs, ours = f"model.layers.{layer}.mlp", f"layers.{layer}.feed_forward"
            experts = [f"{ours}.experts.{number}" for number in range(num_experts)] if is_mixture else [ours]
            for kind, suffix in (("weight", ""), ("bias", "_bias")):
                if is_mixture:
                    yield same(f"{theirs}.router.{kind}", f"{ours}.router.{kind}")
                else:
                    shape = (1, config.d_model) if kind == "weight" else (1,)
                    yield _nothing(f"{theirs}.router.{kind}", shape)
                gate_up = [f"{expert}.{part}_proj.{kind}" for part in ("gate", "up") for expert in experts]
                down = [f"{expert}.down_proj.{kind}" for expert in experts]
                yield Part(f"{theirs}.experts.gate_up_proj{suffix}", tuple(gate_up), _interleave, _deinterleave)
                yield Part(f"{theirs}.experts.down_proj{suffix}", tuple(down), _stack, _unstack)

    def rename(self, name: str) -> str | None:
        """A tensor's name as it is now."""
        return current_name(name)


def _num_experts(feed_forward: FeedForwardConfig) -> int:
    return feed_forward.num_experts if isinstance(feed_forward, MixtureOfExperts.Config) else 1


def _nothing(theirs: str, shape: tuple[int, ...]) -> Part:
    """A tensor that decides nothing and that we do not have."""
    return Part(theirs, (), join=lambda _: torch.zeros(shape), split=lambda _: ())


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Experts' weights [out, in] or biases [out] as one tensor [X, in, out] or [X, out]."""
    stacked = torch.stack(list(tensors))
    return stacked.mT if stacked.ndim == 3 else stacked


def _unstack(tensor: Tensor) -> Sequence[Tensor]:
    return (tensor.mT if tensor.ndim == 3 else tensor).unbind()


def _interleave(tensors: Sequence[Tensor]) -> Tensor:
    """All experts' gates, then all their ups, as one tensor whose outputs are gate, up, gate, up, ..."""
    half = len(tensors) // 2
    return torch.stack((_stack(tensors[:half]), _stack(tensors[half:])), dim=-1).flatten(-2)


def _deinterleave(tensor: Tensor) -> Sequence[Tensor]:
    return (*_unstack(tensor[..., ::2]), *_unstack(tensor[..., 1::2]))
