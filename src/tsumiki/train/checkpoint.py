"""Checkpoints: what training can be continued from, bit for bit, and what can be used as a model.

A checkpoint is a directory `checkpoints/step-000300/` that stands for itself: the model (what `save_model` writes),
the optimizer (`optimizer.safetensors`; several files where processes hold parts of it, see
`tsumiki.train.shards`), the tokenizer, the doctor's receipt, and `state.json` with the step, the tokens
seen and the SHA-256 of every other file. `evaluation.json` joins it once that step was evaluated. Nothing in it can run
code.

No random state is stored, because none is needed: before every step the generators are seeded with (seed, step).

A checkpoint appears whole or not at all: it is written under a temporary name (`.step-000300`), every file and the
directory are synchronised to the disk, and only then it is renamed. There is no index that could disagree with the
directories: the last checkpoint is the one with the highest step, the best is the one with the lowest loss in its
`evaluation.json`.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tsumiki.doctor import require_receipt
from tsumiki.errors import UserError
from tsumiki.files import read_json, sha256
from tsumiki.generate.load import CHECKPOINTS, best_of, checkpoints_of, step_of
from tsumiki.models import LanguageModel, load_model, save_model
from tsumiki.train.distributed import World, like
from tsumiki.train.optimizer import Optimizer
from tsumiki.train.shards import StoredTensors, write_part

OPTIMIZER = "optimizer"
STATE = "state.json"


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Args:
        step: updates made so far.
        seconds: time spent on them, over all sessions; without evaluations and checkpoints.
        tokens: target tokens seen in them, by language.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: Mapping[str, int] = field(default_factory=dict)

    def after_update(self, tokens: Mapping[str, int]) -> "Progress":
        """The progress after one more update, which saw `tokens`."""
        return replace(self, step=self.step + 1, tokens=dict(Counter(self.tokens) + Counter(tokens)))

    def after(self, seconds: float) -> "Progress":
        """The progress once it is known that the latest updates took `seconds`."""
        return replace(self, seconds=self.seconds + seconds)

    @property
    def total_tokens(self) -> int:
        """Target tokens of all languages."""
        return sum(self.tokens.values())


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_dir: they live in its `checkpoints/`.
        keep_last: how many of the latest to keep; the best is kept besides.
        world: the processes that write them together, into the same directory.
    """

    def __init__(self, run_dir: Path, *, keep_last: int, world: World | None = None) -> None:
        self.run_dir = run_dir
        self.world = world or World()
        self.directory = run_dir / CHECKPOINTS
        self.keep_last = keep_last

    def at(self, step: int) -> Path:
        """Where the checkpoint of a step is or would be."""
        return self.directory / f"step-{step:06d}"

    def all(self) -> list[Path]:
        """Every finished checkpoint, earliest first."""
        return checkpoints_of(self.run_dir)

    @property
    def last(self) -> Path | None:
        """The latest checkpoint."""
        return next(reversed(self.all()), None)

    @property
    def last_step(self) -> int:
        """The step of the latest checkpoint; 0 while there is none."""
        return 0 if self.last is None else step_of(self.last)

    @property
    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss; None while none was evaluated."""
        return best_of(self.all())

    def save(
        self, progress: Progress, model: LanguageModel | None, optimizer: Optimizer, files: Mapping[str, bytes]
    ) -> Path:
        """Write a checkpoint, then delete those that need not be kept. All processes call it, with their own optimizer.

        Args:
            model: with its whole weights; only the leading process needs it.
            files: further files to put in, by name: the tokenizer, the doctor's receipt.

        Raises:
            UserError: "Checkpoint step-000300 could not be written: no space left on device. ..." What was there
                before is untouched, and nothing half-written stays behind.
        """
        final = self.at(progress.step)
        partial = final.with_name(f".{final.name}")
        try:
            with self.world.together():
                if self.world.leads:
                    partial.mkdir(parents=True)
            with self.world.together():
                written = write_part(optimizer.state_tensors(), partial, OPTIMIZER, self.world)
                if written is not None:
                    synchronise(written)
                if model is not None:
                    save_model(model, partial)
            with self.world.together():
                if self.world.leads:
                    self._finish(partial, final, progress, files)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"Checkpoint {final.name} could not be written: {reason(error)}. {self.last_good()} "
                "Mend the cause, then resume the training."
            ) from error
        finally:
            if self.world.leads:
                shutil.rmtree(partial, ignore_errors=True)
        if self.world.leads:
            self._delete_old()
        return final

    def _finish(self, partial: Path, final: Path, progress: Progress, files: Mapping[str, bytes]) -> None:
        """Complete what all processes have written, make it last, and give it its name."""
        for name, content in files.items():
            (partial / name).write_bytes(content)
        hashes = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        write_json(partial / STATE, {**asdict(progress), "sha256": hashes})
        for path in (*partial.iterdir(), partial):
            synchronise(path)
        partial.rename(final)
        synchronise(self.directory)

    def restore(self, path: Path, model: LanguageModel, optimizer: Optimizer) -> Progress:
        """Give model and optimizer the state that a checkpoint holds; each process takes its part.

        Raises:
            UserError: "The checkpoint '...' is damaged: optimizer.safetensors is not what was saved. ...", or its
                receipt is none for the model.
        """
        state = self._verified(path)
        require_receipt(path, model)
        # Copied, not adopted: fp32 sums may depend on how the memory is aligned, and a file's is aligned otherwise.
        weights, moments = load_model(path).state_dict(), StoredTensors(path, OPTIMIZER)
        model.load_state_dict({name: like(weights[name], part) for name, part in model.state_dict().items()})
        optimizer.load_state_tensors(
            {name: like(moments[name], part) for name, part in optimizer.state_tensors().items()}
        )
        return Progress(step=state["step"], seconds=state["seconds"], tokens=state["tokens"])

    def remove_unfinished(self) -> None:
        """Delete what a killed process left half-written or half-deleted."""
        for path in self.directory.glob(".step-*"):
            shutil.rmtree(path)

    def _verified(self, path: Path) -> dict[str, Any]:
        """What `state.json` holds, once every file has been found to be what was saved."""
        try:
            state = read_json(path / STATE)
            damaged = [name for name, expected in state["sha256"].items() if not has_hash(path / name, expected)]
        except (OSError, ValueError, KeyError):
            state, damaged = {}, [STATE]
        if damaged:
            raise UserError(
                f"The checkpoint '{path}' is damaged: {damaged[0]} is not what was saved. {self._way_around(path)}"
            )
        return state

    def last_good(self) -> str:
        """A sentence about what is left when something went wrong."""
        return "There is no checkpoint yet." if self.last is None else f"The last good checkpoint is '{self.last}'."

    def _way_around(self, damaged: Path) -> str:
        earlier = [path for path in self.all() if step_of(path) < step_of(damaged)]
        if not earlier:
            return "There is no earlier checkpoint; delete this one, and resuming begins anew."
        return f"Delete it, and resuming continues from the one before, '{earlier[-1]}'."

    def _delete_old(self) -> None:
        kept = {*self.all()[-self.keep_last :], self.best}
        for path in self.all():
            if path not in kept:
                unfinished = path.rename(path.with_name(f".{path.name}"))  # never a half-deleted `step-*`
                shutil.rmtree(unfinished)


def has_hash(path: Path, expected: str) -> bool:
    """Whether a file is there with this SHA-256."""
    return path.is_file() and sha256(path) == expected


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that a person can read, whole or not at all."""
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a kill or a power failure leaves the old one or the new one, nothing between."""
    partial = path.with_name(f".{path.name}")
    try:
        partial.write_text(text, encoding="utf-8")
        synchronise(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    synchronise(path.parent)


def synchronise(path: Path) -> None:
    """Wait until the disk holds a file's content, or a directory's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: OSError | SafetensorError) -> str:
    """Why a file could not be written, as the end of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rsplit(": ", maxsplit=1)[-1].partition(" (")[0].lower()
