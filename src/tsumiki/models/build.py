"""From a configuration to a model."""

import copy
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from tsumiki.kernels import BackendConfig
from tsumiki.models.gpt2 import GPT2
from tsumiki.models.gpt_oss import GPTOSS
from tsumiki.models.language_model import DecoderConfig, LanguageModel
from tsumiki.spec import OneOf

FAMILIES: dict[str, type[Any]] = {
    "gpt2": GPT2,
    "gpt_oss": GPTOSS,
}
"""Name in a configuration -> model."""

ModelConfig = Annotated[DecoderConfig, OneOf(FAMILIES, tag="family")]
"""The schema of a `model:` section: any family's configuration."""


def build_model(
    config: DecoderConfig,
    *,
    backend: BackendConfig | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LanguageModel:
    """Make a model with freshly drawn weights.

    Weights are drawn on the CPU, so that a seed means the same weights on every device. The global random state is
    left as it was.

    Args:
        config: a family's configuration.
        backend: how it is computed; the default backend if left out.
        seed: of the initial weights.
        device: where the model lives; `meta` counts parameters without memory.
        dtype: of the weights.
    """
    on_meta = torch.device(device).type == "meta"
    with torch.random.fork_rng(devices=[]), torch.device("meta" if on_meta else "cpu"):
        torch.manual_seed(seed)
        model = FAMILIES[config.family](config, backend or BackendConfig())
    return model.to(device=device, dtype=dtype)


def model_of(
    config: DecoderConfig, weights: Mapping[str, Tensor], *, backend: BackendConfig | None = None
) -> LanguageModel:
    """The model with these weights, on the CPU, in their dtype and in eval mode.

    The weights are copied, not adopted: fp32 sums may depend on how memory is aligned, and a file's is otherwise.
    """
    dtype = next(iter(weights.values())).dtype
    model = build_model(config, backend=backend, device="meta", dtype=dtype).to_empty(device="cpu")
    model.load_state_dict(weights)
    return model.eval()


def twin(model: LanguageModel) -> LanguageModel:
    """A model of the same structure on the same memory, which takes no gradients.

    Its modules can be exchanged, and the model keeps its own; what trains the model changes both.
    """
    shared: dict[int, Tensor] = {id(buffer): buffer for buffer in model.buffers()}
    shared |= {id(weight): Parameter(weight.detach(), requires_grad=False) for weight in model.parameters()}
    return copy.deepcopy(model, shared)
