"""A model on disk: `model.safetensors`, `config.yaml` and `fingerprint.json`, nothing that can run code.

Loading is strict. Every tensor must be there, with the shape that the configuration says and the dtype that was saved,
and none besides; the configuration must be the one that the weights were saved with; and the model must answer what it
answered then.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tsumiki.config import dump, dump_yaml, load_mapping, parse
from tsumiki.errors import UserError
from tsumiki.kernels import BackendConfig
from tsumiki.models.build import ModelConfig, build_model, model_of
from tsumiki.models.fingerprint import check_config, check_logits, dtype_name, load_fingerprint, save_fingerprint
from tsumiki.models.language_model import DecoderConfig, LanguageModel

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"


def save_model(model: LanguageModel, directory: Path) -> None:
    """Write a model's weights, configuration and fingerprint into an existing directory."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / WEIGHTS)
    (directory / CONFIG).write_text(dump_yaml({"model": dump(model.config)}), encoding="utf-8")
    save_fingerprint(model.config, tensors, directory)


def load_config(directory: Path) -> DecoderConfig:
    """The architecture that stands beside the weights.

    Raises:
        UserError: there is no `config.yaml`, or it holds no valid `model:` section.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise UserError(f"'{directory}' holds no {CONFIG}; a model's directory has {WEIGHTS} and {CONFIG}.")
    section = load_mapping(path).get("model")
    if not isinstance(section, dict):
        raise UserError(f"{path}: the key 'model' is missing; it says what the weights are.")
    return parse(section, ModelConfig, where=f"{path}, model")  # type: ignore[arg-type]


def load_model(
    directory: Path,
    *,
    backend: BackendConfig | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> LanguageModel:
    """Read a model; what it is stands beside the weights, so no configuration is asked for.

    Args:
        directory: holds what `save_model` wrote.
        backend: how the model is computed; the default backend if left out.
        device, dtype: where and as what the weights are kept; their own dtype if left out.

    Raises:
        UserError: a file is missing or damaged, the weights do not fit the configuration, the configuration is not the
            one that they were saved with, or the model answers otherwise than it did then.
    """
    config = load_config(directory)
    path = directory / WEIGHTS
    tensors = read_tensors(path)
    stored = load_fingerprint(directory)
    check_config(config, stored, directory)
    shapes = {name: tensor.shape for name, tensor in build_model(config, device="meta").state_dict().items()}
    check_tensors(tensors, shapes, stored["dtype"], path)
    check_logits(config, tensors, stored, directory)
    return model_of(config, tensors, backend=backend).to(device=device, dtype=dtype)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        UserError: the file is missing, cut short, or no safetensors file.
    """
    if not path.is_file():
        raise UserError(f"The file '{path}' does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise UserError(
            f"'{path}' is cut short or no safetensors file ({error}); use another copy or an earlier checkpoint."
        ) from error


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], dtype: str, path: Path) -> None:
    """Compare names, shapes and dtypes of what was read with what is expected.

    Raises:
        UserError: names the first tensor that is missing, unknown, of another shape or of another dtype.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise UserError(f"'{path}' holds no '{name}', which the configuration beside it needs.")
        found = tensors[name]
        if found.shape != shape:
            raise UserError(
                f"'{path}': '{name}' is {list(found.shape)}, but the configuration beside it says {list(shape)}."
            )
        if dtype_name(found) != dtype:
            raise UserError(f"'{path}': '{name}' holds {dtype_name(found)}, but the weights were saved as {dtype}.")
    unknown = sorted(tensors.keys() - shapes.keys())
    if unknown:
        raise UserError(f"'{path}' holds '{unknown[0]}', which the configuration beside it does not know.")
