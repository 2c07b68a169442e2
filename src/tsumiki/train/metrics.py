"""What a training measured: `metrics.jsonl`, one JSON object a line, and the same figures for TensorBoard.

Every line has a `kind` ("train" or "evaluation") and a `step`. Lines are appended and handed to the operating system
one by one, so that a killed process loses none. A resumed training repeats the steps after its checkpoint; their old
lines are cut first, so that no step stands twice.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsumiki.errors import UserError
from tsumiki.train.checkpoint import reason, write_whole

METRICS = "metrics.jsonl"


class Metrics:
    """The metrics of one run, open for writing.

    Args:
        run_dir: `metrics.jsonl` and `tensorboard/` live in it.
        step: the step that training continues after; 0 for a new run.
        tensorboard: write TensorBoard events, too.
    """

    def __init__(self, run_dir: Path, *, step: int, tensorboard: bool) -> None:
        self.path = run_dir / METRICS
        cut_after(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1, flush_secs=10)

    def write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Append a line. Numbers in it, also those one mapping deeper, become TensorBoard scalars.

        Raises:
            UserError: "'runs/a/metrics.jsonl' could not be written: no space left on device. ..."
        """
        try:
            self._file.write(one_line({"kind": kind, "step": step, **figures}) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"'{self.path}' could not be written: {reason(error)}. Mend the cause, then resume the training."
            ) from error
        if self._board is not None:
            for name, value in scalars(figures):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        self._file.close()
        if self._board is not None:
            self._board.close()


class Unwritten:
    """The metrics of a process that does not lead. They are those of the one that does."""

    def write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def one_line(entry: Mapping[str, Any]) -> str:
    """An entry as JSON. A model may write characters that some readers take for the end of a line; they are escaped."""
    return json.dumps(entry, ensure_ascii=False).translate({0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"})


def scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in `figures`, named `loss` or, one mapping deeper, `bits_per_byte/ja`."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", number) for key, number in value.items())
        elif isinstance(value, int | float):
            yield name, value


def cut_after(path: Path, step: int) -> None:
    """Keep only what a training resumed after `step` will not repeat.

    It evaluates `step` itself anew, because its predecessor may have been killed in the middle of that. A last line
    that a crash tore apart goes, too.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        entry = json.loads(line) if line.endswith("\n") else {"kind": "torn", "step": step}
        if entry["step"] < step or (entry["step"] == step and entry["kind"] == "train"):
            kept.append(line)
    write_whole(path, "".join(kept))
