"""A run's directory: whether a training may begin or go on in it, and the files that say what the run is."""

import errno
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsumiki.config import differences, dump, dump_yaml, load
from tsumiki.data import PreparedData
from tsumiki.doctor import Diagnosis, to_json
from tsumiki.errors import UserError
from tsumiki.files import read_json, sha256
from tsumiki.train.checkpoint import write_json, write_whole
from tsumiki.train.config import RunConfig
from tsumiki.train.schedule import build_schedule

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
DOCTOR = "doctor.json"

LOCK = ".lock"

CHANGEABLE = re.compile(
    r"(backend"
    r"|data\.cache"
    r"|data\.sources\.\d+\.licence"
    r"|train\.activation_memory"
    r"|train\.checkpoint_every"
    r"|train\.compile"
    r"|train\.evaluate_every"
    r"|train\.evaluate_max_bytes"
    r"|train\.keep_last"
    r"|train\.log_every"
    r"|train\.micro_batch_size"
    r"|train\.parallel"
    r"|train\.samples"
    r"|train\.tensorboard"
    r")(\..*)?"
)
"""What a resumed run may have otherwise than before: how it is computed and watched. Everything else decides what is
computed, and a run is one computation. `train.steps` may change where the steps already made stay as they were."""


def holds_run(run_dir: Path) -> bool:
    """Whether a training has begun there."""
    return (run_dir / CONFIG).exists()


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training in the directory, which is made if need be, until this one ends.

    The lock is the operating system's: it ends with its process, even a killed one, though its file stays. Where the
    file system knows no locks there is none.

    Raises:
        UserError: "Another process is training in 'runs/a': ..."
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a", encoding="utf-8") as file:
        try:
            take_lock(file.fileno())
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    f"Another process is training in '{run_dir}': wait for its end or stop it, or give this run "
                    "another name."
                ) from error
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        yield


def take_lock(file: int) -> None:
    """Lock an open file for this process alone, or raise an OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_may_begin(run_dir: Path) -> None:
    """Refuse to begin where a run already lives.

    Raises:
        UserError: "'runs/a' already holds a run: go on with it by --resume, or give the new one another name."
    """
    if holds_run(run_dir):
        raise UserError(
            f"'{run_dir}' already holds a run: go on with it by --resume, or give the new one another name."
        )


def check_may_continue(run_dir: Path, config: RunConfig, step: int) -> None:
    """Refuse to go on with a run as something else than it was.

    Args:
        step: the step that training would continue after.

    Raises:
        UserError: "'runs/a' was trained with train.seed = 0, and now it is 1: ..."
    """
    if not holds_run(run_dir):
        raise UserError(f"'{run_dir}' holds no run to go on with; leave --resume out to begin one.")
    before = load(run_dir / CONFIG, RunConfig)
    for key, old, new in differences(dump(before), dump(config)):
        if CHANGEABLE.fullmatch(key):
            continue
        if key == "train.steps" and same_so_far(before, config, step):
            continue
        raise UserError(
            f"'{run_dir}' was trained with {key} = {json.dumps(old)}, and now it is {json.dumps(new)}: "
            "a run is one computation. Set it back, or begin a run of another name."
        )


def check_same_data(run_dir: Path, data: PreparedData) -> None:
    """Refuse to go on with a run on other text than it began with, though it may lie in the same files.

    Raises:
        UserError: "The training text of 'local-en' is not what 'runs/a' began with: ..."
    """
    before = {source["name"]: source for source in read_json(run_dir / MANIFEST)["data"]["sources"]}
    for source in data.manifest["sources"]:
        if source["train"]["content_sha256"] != before[source["name"]]["train"]["content_sha256"]:
            raise UserError(
                f"The training text of '{source['name']}' is not what '{run_dir}' began with: its content has changed. "
                "Put the old text back, or begin a run of another name."
            )
    if data.tokenizer.sha256 != sha256(run_dir / TOKENIZER):
        raise UserError(f"The tokenizer is not the one that '{run_dir}' began with; begin a run of another name.")


def same_so_far(before: RunConfig, now: RunConfig, step: int) -> bool:
    """Whether the learning rates of the steps already made are the same for both numbers of steps."""
    old, new = (build_schedule(config.train.schedule, config.train.steps) for config in (before, now))
    return step <= now.train.steps and all(old(number) == new(number) for number in range(step))


def write_run(
    run_dir: Path, config: RunConfig, data: PreparedData, diagnosis: Diagnosis | None, session: Mapping[str, Any]
) -> dict[str, bytes]:
    """Write what the run is, before its first step.

    Args:
        diagnosis: the doctor's; None if it was not asked.
        session: see `tsumiki.train.manifest`; added to those of earlier sessions.

    Returns:
        The files that every checkpoint has a copy of.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    data.tokenizer.save(run_dir / f".{TOKENIZER}")
    (run_dir / f".{TOKENIZER}").replace(run_dir / TOKENIZER)
    earlier = read_json(run_dir / MANIFEST)["sessions"] if (run_dir / MANIFEST).is_file() else []
    manifest = {"name": config.name, "seed": config.train.seed, "data": data.manifest, "sessions": [*earlier, session]}
    write_json(run_dir / MANIFEST, manifest)
    if diagnosis is None:
        (run_dir / DOCTOR).unlink(missing_ok=True)
    else:
        write_json(run_dir / DOCTOR, to_json(diagnosis))
    write_whole(run_dir / CONFIG, dump_yaml(config))
    return {path.name: path.read_bytes() for path in (run_dir / TOKENIZER, run_dir / DOCTOR) if path.is_file()}
