"""A model as an ONNX graph with its KV cache outside, for onnxruntime on any device and in browsers.

One graph does prefill and decode. It takes some tokens and the keys and values of all tokens before them, and returns
the logits and the longer keys and values, which the caller hands in again at the next step:

    ids [B, T], positions [B, T], past_positions [B, S], past_keys.N and past_values.N [B, S, K, D] for layer N
    -> logits [B, T, V], keys.N and values.N [B, S + T, K, D]

Positions count from 0; -1 marks padding, in `positions` and in `past_positions`. The first step has S = 0.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tsumiki.errors import UserError
from tsumiki.models import LanguageModel
from tsumiki.models.build import model_of
from tsumiki.nn.feed_forward import MixtureOfExperts

OPSET = 18


@dataclass
class GrowingLayer:
    """A layer's keys and values, longer by each step's: a cache without buffers, which a graph can express."""

    k: Float[Tensor, "B S K D"]
    v: Float[Tensor, "B S K D"]
    positions: Int[Tensor, "B S"]

    def update(
        self, k: Float[Tensor, "B T K D"], v: Float[Tensor, "B T K D"], positions: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B S K D"], Float[Tensor, "B S K D"], Int[Tensor, "B S"]]:
        """Append this step's keys and values, and return all."""
        self.k, self.v = torch.cat([self.k, k], dim=1), torch.cat([self.v, v], dim=1)
        self.positions = torch.cat([self.positions, positions], dim=1)
        return self.k, self.v, self.positions


@dataclass
class GrowingCache:
    """The cache that `LanguageModel` is handed. Its length stays 0, because the caller counts the positions."""

    layers: list[GrowingLayer]
    length: int = 0

    def advance(self, num_tokens: int, *, aligned: bool) -> bool:
        """Nothing to count; positions may be padding, so the cache is never known to be aligned."""
        return False


class Step(nn.Module):
    """One step as a function of tensors: what is exported."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        positions: Int[Tensor, "B T"],
        past_positions: Int[Tensor, "B S"],
        past: list[Float[Tensor, "B S K D"]],
    ) -> tuple[Float[Tensor, "B T V"], ...]:
        """Logits, then every layer's keys and values."""
        layers = [GrowingLayer(k, v, past_positions) for k, v in zip(past[::2], past[1::2], strict=True)]
        cache = GrowingCache(layers)
        logits = self.model(ids, positions=positions, cache=cache)
        return logits, *(tensor for layer in layers for tensor in (layer.k, layer.v))


def export_onnx(model: LanguageModel, path: Path) -> None:
    """Write an ONNX file with fp32 weights.

    Raises:
        UserError: the model is a mixture of experts, or the `onnx` packages are missing.
    """
    if isinstance(model.config.feed_forward, MixtureOfExperts.Config):
        raise UserError(
            "A mixture of experts cannot be exported to ONNX: which tokens go to an expert is known at run time only; "
            "export to hf or gguf."
        )
    try:
        import onnxscript  # noqa: F401 - what PyTorch exports with
    except ImportError as error:
        raise UserError("The ONNX export needs an extra; run: pip install 'tsumiki[export]'") from error
    config, attention = model.config, model.config.attention
    weights = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    plain = model_of(config, weights).requires_grad_(False)
    batch_size, num_tokens, num_past = 2, 3, 5
    ids = torch.zeros(batch_size, num_tokens, dtype=torch.int64)
    past_positions = torch.arange(num_past).expand(batch_size, -1)
    positions = torch.arange(num_past, num_past + num_tokens).expand(batch_size, -1)
    past = [
        torch.zeros(batch_size, num_past, attention.num_kv_heads, attention.head_dim)
        for _ in range(2 * config.num_layers)
    ]
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time", max=config.max_seq_len)
    before = torch.export.Dim("past")
    kinds = [f"{kind}.{layer}" for layer in range(config.num_layers) for kind in ("keys", "values")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            Step(plain),
            (ids, positions, past_positions, past),
            path,
            input_names=["ids", "positions", "past_positions", *(f"past_{kind}" for kind in kinds)],
            output_names=["logits", *kinds],
            dynamic_shapes=(
                {0: batch, 1: time},
                {0: batch, 1: time},
                {0: batch, 1: before},
                [{0: batch, 1: before}] * len(past),
            ),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
