"""A directory that `transformers` wrote, as a model of ours."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsumiki.data.tokenizer import Tokenizer
from tsumiki.data.tokenizer.core import read_text
from tsumiki.data.tokenizer.file import import_tokenizer
from tsumiki.errors import UserError
from tsumiki.export.hf.architectures import BY_MODEL_TYPE
from tsumiki.export.hf.parts import Architecture, Theirs
from tsumiki.kernels import BackendConfig
from tsumiki.models import LanguageModel, build_model
from tsumiki.models.artefact import check_tensors, read_tensors
from tsumiki.models.build import model_of
from tsumiki.models.fingerprint import dtype_name
from tsumiki.models.language_model import DecoderConfig

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def import_hf(directory: Path, *, backend: BackendConfig | None = None) -> tuple[LanguageModel, Tokenizer]:
    """Read a model with its tokenizer.

    Embedding rows that no token of the tokenizer has are left out: some models are padded to a round number.

    Raises:
        UserError: a file is missing, damaged or a pickle; the model is of a class or has an option that our blocks
            cannot express; the tokenizer is not lossless. The sentence says which.
    """
    path = directory / "tokenizer.json"
    tokenizer = import_tokenizer(read_text(path), None, str(path))
    model = import_model(directory, backend=backend, vocab_size=tokenizer.vocab_size)
    return model, tokenizer


def import_model(
    directory: Path, *, backend: BackendConfig | None = None, vocab_size: int | None = None
) -> LanguageModel:
    """Read a model without a tokenizer; with `vocab_size`, its first so many tokens."""
    path = directory / "config.json"
    architecture, config = _understand(path)
    tensors = _translate(architecture, config, _read_weights(directory, architecture), directory)
    if vocab_size is not None and vocab_size != config.vocab_size:
        if vocab_size > config.vocab_size:
            raise UserError(
                f"The tokenizer in '{directory}' has {vocab_size} tokens, but the model beside it knows "
                f"{config.vocab_size}: they do not belong together."
            )
        config, tensors = _without_unused_rows(architecture, path, tensors, vocab_size)
    shapes = {name: tensor.shape for name, tensor in build_model(config, device="meta").state_dict().items()}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise UserError(
                f"'{directory}': '{name}' holds {dtype_name(tensor)}, but weights are floating-point numbers."
            )
    # Some files keep the norms in fp32 and the rest in bf16; the widest holds both.
    widest = functools.reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()})
    tensors = {name: tensor.to(widest) for name, tensor in tensors.items()}
    check_tensors(tensors, shapes, dtype_name(next(iter(tensors.values()))), directory / WEIGHTS)
    return model_of(config, tensors, backend=backend)


def _understand(path: Path) -> tuple[Architecture, DecoderConfig]:
    fields = _read_json(path)
    model_type = fields.get("model_type")
    if model_type not in BY_MODEL_TYPE:
        raise UserError(
            f"'{path}' describes a '{model_type}' model; tsumiki can import {', '.join(sorted(BY_MODEL_TYPE))}."
        )
    if fields.get("quantization_config") is not None:
        raise UserError(f"'{path}' describes quantised weights; import the model in its full precision.")
    architecture = BY_MODEL_TYPE[model_type]
    try:
        return architecture, architecture.understand(Theirs(fields))
    except (ValueError, TypeError) as error:
        raise UserError(f"'{path}' cannot be imported: {error}.") from error


def _without_unused_rows(
    architecture: Architecture, path: Path, tensors: dict[str, Tensor], vocab_size: int
) -> tuple[DecoderConfig, dict[str, Tensor]]:
    config = architecture.understand(Theirs({**_read_json(path), "vocab_size": vocab_size}))
    tables = ("embedding.weight", "head.weight")
    return config, {name: tensor[:vocab_size] if name in tables else tensor for name, tensor in tensors.items()}


def _read_weights(directory: Path, architecture: Architecture) -> dict[str, Tensor]:
    """All tensors, from one file or from several with an index, under the names that they have now."""
    if (directory / INDEX).is_file():
        names = sorted(set(_read_json(directory / INDEX)["weight_map"].values()))
        files = [directory / Path(name).name for name in names]
    elif (directory / WEIGHTS).is_file():
        files = [directory / WEIGHTS]
    else:
        pickles = sorted(path.name for path in directory.glob("*.bin"))
        found = f" '{pickles[0]}' is a pickle, which can run code, and was not opened." if pickles else ""
        raise UserError(f"'{directory}' holds no {WEIGHTS}.{found} Ask for the model's safetensors.")
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in read_tensors(file).items():
            current = architecture.rename(name)
            if current is not None:
                tensors[current] = tensor
    return tensors


def _translate(
    architecture: Architecture, config: Any, weights: dict[str, Tensor], directory: Path
) -> dict[str, Tensor]:
    """Their tensors as ours; none may be missing, none may be left."""
    if config.tie_embeddings:
        weights.pop("lm_head.weight", None)  # some files repeat the embedding
    tensors: dict[str, Tensor] = {}
    for part in architecture.parts(config):
        if part.theirs not in weights:
            raise UserError(f"'{directory}' holds no tensor '{part.theirs}', which its config.json needs.")
        tensors |= zip(part.ours, part.split(weights.pop(part.theirs)), strict=True)
    if weights:
        raise UserError(f"'{directory}' holds a tensor '{min(weights)}', which its config.json does not know.")
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds no mapping of fields to values.")
    return content
