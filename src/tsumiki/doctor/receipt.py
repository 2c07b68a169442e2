"""The receipt: what was verified, with what, and for which architecture. Plain data, kept with a run.

It says "verified at these lengths, dtypes and backends", and nothing about others.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tsumiki.config import differences, dump, parse
from tsumiki.doctor.adapters import is_transformers
from tsumiki.doctor.messages import sentence
from tsumiki.doctor.subject import Model, Subject
from tsumiki.doctor.verdict import Diagnosis, Verdict
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel, ModelConfig
from tsumiki.version import __version__

RECEIPT = "doctor.json"
"""What the receipt is called in a run and in a checkpoint."""

_INCIDENTAL = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}
"""What a configuration of transformers says besides the architecture."""


def describe_model(model: Model) -> dict[str, Any]:
    """Name, architecture, its hash, and the number of parameters."""
    architecture = architecture_of(model)
    canonical = json.dumps(architecture, sort_keys=True, ensure_ascii=False)
    parameters = sum(parameter.numel() for parameter in model.parameters()) if isinstance(model, nn.Module) else None
    return {
        "name": getattr(model, "__name__", type(model).__name__),
        "architecture": architecture,
        "architecture_sha256": hashlib.sha256(canonical.encode("utf-8")).hexdigest(),
        "parameters": parameters,
    }


def architecture_of(model: Model) -> dict[str, Any]:
    """What decides the architecture: the configuration where there is one, otherwise the parameters' shapes."""
    if isinstance(model, LanguageModel):
        return dump(model.config)
    if is_transformers(model):
        fields = json.loads(model.config.to_json_string(use_diff=False))
        return {name: value for name, value in fields.items() if name not in _INCIDENTAL}
    if isinstance(model, nn.Module):
        return {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    return {}


def describe_setting(subject: Subject) -> dict[str, Any]:
    """What the verdicts hold for."""
    return {
        "verified": "at these lengths, dtypes and backends",
        "context": subject.context,
        "vocab_size": subject.vocab_size,
        "windows": list(subject.windows),
        "dtype": str(subject.logits(subject.tokens(1, 2)).dtype).removeprefix("torch."),
        "precision": str(subject.precision).removeprefix("torch."),
        "tolerance": subject.tolerance,
        "device": str(subject.device),
        "backend": _backend(subject.model),
        "versions": {
            "tsumiki": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _backend(model: Model) -> Any:
    if isinstance(model, LanguageModel):
        return dump(model.backend)
    return model.config._attn_implementation if is_transformers(model) else None


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The receipt of a diagnosis: what `doctor.json` holds."""
    return {
        "ok": diagnosis.ok,
        "level": diagnosis.level,
        "model": diagnosis.model,
        "setting": diagnosis.setting,
        "verdicts": [asdict(verdict) | {"sentence": sentence(verdict)} for verdict in diagnosis.verdicts],
    }


def from_json(receipt: Mapping[str, Any]) -> Diagnosis:
    """The diagnosis that a receipt was written from."""
    verdicts = [{name: value for name, value in entry.items() if name != "sentence"} for entry in receipt["verdicts"]]
    return Diagnosis(
        receipt["model"], receipt["level"], receipt["setting"], tuple(Verdict(**entry) for entry in verdicts)
    )


def check_receipt(receipt: Mapping[str, Any], model: Model) -> list[str]:
    """Why a receipt is none for this model: a sentence for every reason, and no sentence where it holds.

    Reasons: a check failed; the architecture is not the one that was verified.

    Raises:
        UserError: the verified architecture is none that this version of tsumiki knows.
    """
    verified = receipt["model"]["architecture"]
    if isinstance(model, LanguageModel):
        # Parsed, so that a field which a later version adds has its default on both sides.
        verified = dump(parse(verified, ModelConfig, where="model.architecture"))  # type: ignore[arg-type]
    return [
        *(entry["sentence"] for entry in receipt["verdicts"] if entry["status"] == "failed"),
        *(
            f"{name} is {now}, but {before} was verified: run the doctor again."
            for name, before, now in differences(verified, architecture_of(model))
        ),
    ]


def require_receipt(directory: Path, model: Model) -> None:
    """Refuse a model whose receipt lies beside it and is none for it. A model without a receipt is taken as it is.

    Raises:
        UserError: "'runs/a/checkpoints/step-000300/doctor.json' is no receipt for the model beside it: sliding_window
            is 9, but 8 was verified: run the doctor again. ..."
    """
    path = directory / RECEIPT
    if not path.is_file():
        return
    try:
        reasons = check_receipt(json.loads(path.read_text(encoding="utf-8")), model)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is damaged. {_way_out(path)}") from error
    except UserError as error:
        reasons = [f"{error}."]
    if reasons:
        raise UserError(f"'{path}' is no receipt for the model beside it: {reasons[0]} {_way_out(path)}")


def _way_out(receipt: Path) -> str:
    return (
        f"Write a new one with `tsumiki doctor {receipt.parent} --receipt {receipt}`, or delete it to use the model "
        "unexamined."
    )
