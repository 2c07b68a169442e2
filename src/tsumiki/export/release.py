"""A trained model as one small folder that tsumiki reads by itself: what `models/` holds, and what a reader can check.

    model.safetensors config.yaml fingerprint.json    the model, in bf16 or as it was trained
    tokenizer.json
    run.yaml manifest.json metrics.jsonl              how it was trained, with what, and on what
    doctor.json                                       the receipt, if the doctor was asked
    evaluation.json                                   what `tsumiki evaluate` found of these very weights
    README.md loss.svg bits.svg                       the card and the curves

What the card says is in `tsumiki.export.release_card`.
"""

from pathlib import Path
from typing import Any, Literal

import torch

from tsumiki.config import dump_yaml, load_mapping
from tsumiki.errors import UserError
from tsumiki.export.curve import bits_curve, loss_curve
from tsumiki.export.records import load_records, read_records
from tsumiki.export.release_card import About, Facts, release_card
from tsumiki.files import read_json, sha256
from tsumiki.generate.load import find_checkpoint, load
from tsumiki.models import load_model, save_model
from tsumiki.models.artefact import WEIGHTS

RUN, EVALUATION, CARD = "run.yaml", "evaluation.json", "README.md"

Dtype = Literal["fp32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def write_model(run_dir: Path, directory: Path, *, dtype: Dtype) -> None:
    """Write a run's best checkpoint and what the run says about it into a new directory.

    Args:
        dtype: of the saved weights. bf16 halves the file; what it costs, the evaluation shows, which comes after it.

    Raises:
        UserError: the directory holds no trained run, or a file is damaged.
    """
    checkpoint = find_checkpoint(run_dir)
    text_model = load(checkpoint, device="cpu")  # compares receipt and tokenizer with the model
    records = read_records(run_dir, checkpoint)
    directory.mkdir(parents=True, exist_ok=True)
    save_model(load_model(checkpoint, dtype=DTYPES[dtype]), directory)
    text_model.tokenizer.save(directory / "tokenizer.json")
    records.save(directory)
    (directory / RUN).write_text(dump_yaml(portable(load_mapping(run_dir / "config.yaml"))), encoding="utf-8")
    (directory / "loss.svg").write_text(loss_curve(records.metrics), encoding="utf-8")
    (directory / "bits.svg").write_text(bits_curve(records.metrics), encoding="utf-8")


def portable(run: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration with files by their names alone: beside it lies the tokenizer, and may lie the texts."""

    def names(files: Any) -> Any:
        return [names(file) for file in files] if isinstance(files, list) else files and Path(files).name

    tokenizer = {"kind": "file", "path": "tokenizer.json"}
    sources = [
        {**source, "train": names(source["train"]), "validation": names(source["validation"])}
        if source["kind"] == "local"
        else source
        for source in run["data"]["sources"]
    ]
    return {**run, "tokenizer": tokenizer, "data": {"sources": sources}}


def check_evaluation(figures: dict[str, Any], directory: Path) -> None:
    """Refuse figures that are of other weights than a directory's.

    Raises:
        UserError: "The evaluation is not of these weights: ..."
    """
    if figures.get("checkpoint", {}).get("weights_sha256") != sha256(directory / WEIGHTS):
        raise UserError(
            f"The evaluation is not of the weights in '{directory}'; leave --evaluation out to make one that is."
        )


def write_card(directory: Path, about: About | None) -> None:
    """Write the card from the files beside it, and from what a person says about the model.

    Raises:
        UserError: the evaluation is not of these weights.
    """
    figures = read_json(directory / EVALUATION)
    check_evaluation(figures, directory)
    run = load_mapping(directory / RUN)
    facts = Facts(directory.resolve().name, load_records(directory), run, figures, about)
    (directory / CARD).write_text(release_card(facts), encoding="utf-8")
