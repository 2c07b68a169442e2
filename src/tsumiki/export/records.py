"""What a run says about the model that came out of it, for people who get the model and not the run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumiki.doctor.receipt import RECEIPT
from tsumiki.errors import UserError
from tsumiki.files import read_json
from tsumiki.generate.load import step_of

MANIFEST, METRICS = "manifest.json", "metrics.jsonl"


@dataclass(frozen=True)
class Records:
    """A run's files, as far as they concern one of its checkpoints.

    Args:
        manifest: the run's, without what may tell the paths of somebody's machine: its command lines, and where its
            tokenizer lay.
        metrics: the run's, as far as the checkpoint was trained.
        receipt: the doctor's; None if it was skipped.
    """

    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    receipt: dict[str, Any] | None

    @property
    def parameters(self) -> int:
        """How many the model has."""
        return self.manifest["sessions"][-1]["parameters"]

    def save(self, directory: Path) -> None:
        """Write them into an existing directory."""
        write_json(directory / MANIFEST, self.manifest)
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in self.metrics]
        (directory / METRICS).write_text("".join(lines), encoding="utf-8")
        if self.receipt is not None:
            write_json(directory / RECEIPT, self.receipt)


def read_records(run_dir: Path, checkpoint: Path) -> Records:
    """Read them from the run that a checkpoint belongs to.

    Raises:
        UserError: the directory holds no run, or the run wrote no metrics.
    """
    for path in (run_dir / MANIFEST, run_dir / METRICS):
        if not path.is_file():
            raise UserError(f"'{path}' is missing; name the directory of a run that `tsumiki train` has trained.")
    manifest = read_json(run_dir / MANIFEST)
    for session in manifest["sessions"]:
        session.pop("command", None)
    tokenizer = manifest["data"]["tokenizer"]["config"]
    if "path" in tokenizer:
        tokenizer["path"] = Path(tokenizer["path"]).name
    lines = map(json.loads, (run_dir / METRICS).read_text(encoding="utf-8").splitlines())
    metrics = [line for line in lines if line["step"] <= step_of(checkpoint)]
    if not any(line["kind"] == "train" for line in metrics):
        raise UserError(f"'{run_dir / METRICS}' tells nothing of the training; lower train.log_every.")
    receipt = checkpoint / RECEIPT
    return Records(manifest, metrics, read_json(receipt) if receipt.is_file() else None)


def load_records(directory: Path) -> Records:
    """Read what `Records.save` wrote."""
    lines = (directory / METRICS).read_text(encoding="utf-8").splitlines()
    receipt = directory / RECEIPT
    return Records(
        read_json(directory / MANIFEST),
        [json.loads(line) for line in lines],
        read_json(receipt) if receipt.is_file() else None,
    )


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read, too."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
