"""A model with its matrices in fewer bits: smaller on disk and in memory, and faster where memory sets the pace.

Weights only: int8 with a scale for every output channel, symmetric, or bf16. Norms, biases, sinks, routers and
positions stay as they are, and so does everything that is computed.
"""

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tsumiki.config import dump, dump_yaml
from tsumiki.errors import UserError
from tsumiki.kernels import BackendConfig
from tsumiki.kernels.stored import StoredEmbedding, StoredLinear
from tsumiki.models import LanguageModel, build_model
from tsumiki.models.artefact import CONFIG, WEIGHTS, load_config
from tsumiki.models.build import twin
from tsumiki.nn.feed_forward import MixtureOfExperts
from tsumiki.nn.linear import Linear

Stored = Literal["int8", "bf16"]
DTYPES: dict[str, torch.dtype] = {"int8": torch.int8, "bf16": torch.bfloat16}
"""Name in a file -> dtype of the matrices."""

QUANTISATION = "quantisation.json"


def quantised(model: LanguageModel, stored: Stored) -> LanguageModel:
    """The same model with rounded matrices; everything else is shared with it. It can be used, but not trained.

    The embedding is rounded by rows, which are also the output channels of a tied head: both read one table.
    """
    dtype = DTYPES[stored]
    small = twin(model)
    table = StoredLinear.rounded(model.embedding.get_parameter("weight").detach(), dtype)
    small.embedding = StoredEmbedding(table.stored, table.scale, model.unembedding.dtype)
    if small.head is None:
        small.head = table
    for module in list(small.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear) and not isinstance(module, MixtureOfExperts):
                bias = None if child.bias is None else child.bias.detach()
                setattr(module, name, StoredLinear.rounded(child.weight.detach(), dtype, bias))
    return small


def save_quantised(model: LanguageModel, stored: Stored, directory: Path) -> None:
    """Write a model that `quantised` made into an existing directory."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("embedding.")}
    save_file(tensors, directory / WEIGHTS)
    (directory / CONFIG).write_text(dump_yaml({"model": dump(model.config)}), encoding="utf-8")
    (directory / QUANTISATION).write_text(json.dumps({"stored": stored}) + "\n", encoding="utf-8")


def load_quantised(
    directory: Path, *, backend: BackendConfig | None = None, device: str | torch.device = "cpu"
) -> LanguageModel:
    """Read what `save_quantised` wrote.

    Raises:
        UserError: a file is damaged, or the tensors are not those that the configuration says.
    """
    path = directory / QUANTISATION
    stored = json.loads(path.read_text(encoding="utf-8")).get("stored")
    if stored not in DTYPES:
        raise UserError(f"{path}: stored is {stored!r}, but must be one of {', '.join(DTYPES)}.")
    config = load_config(directory)
    model = quantised(build_model(config, backend=backend).eval(), stored)
    try:
        tensors = load_file(directory / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{directory / WEIGHTS}' cannot be read ({error}); quantise the model again.") from error
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    if config.tie_embeddings:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("embedding.")}
    if shapes != {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}:
        raise UserError(f"'{directory / WEIGHTS}' does not hold the tensors of {CONFIG}; quantise the model again.")
    model.load_state_dict(tensors, strict=False)  # a tied head's table is the embedding's
    return model.to(device)


def num_bytes(model: LanguageModel) -> int:
    """Memory of a model's weights, each tensor counted once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())
