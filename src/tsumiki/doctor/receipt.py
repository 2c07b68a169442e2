"""The receipt: what was verified, with what, and for which architecture. Plain data, kept with a run.

It says "verified at these lengths, dtypes and backends", and nothing about others.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from tsumiki.config import differences, dump
from tsumiki.doctor.adapters import is_transformers
from tsumiki.doctor.messages import sentence
from tsumiki.doctor.subject import Model, Subject
from tsumiki.doctor.verdict import Diagnosis, Verdict
from tsumiki.models import LanguageModel
from tsumiki.version import __version__

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
    """
    reasons = [entry["sentence"] for entry in receipt["verdicts"] if entry["status"] == "failed"]
    described = describe_model(model)
    if receipt["model"]["architecture_sha256"] == described["architecture_sha256"]:
        return reasons
    return [
        *reasons,
        *(
            f"{name} is {now}, but {before} was verified: run the doctor again."
            for name, before, now in differences(receipt["model"]["architecture"], described["architecture"])
        ),
    ]
