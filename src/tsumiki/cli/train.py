"""`tsumiki train`: train a model from its configuration, or go on with a run."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from tsumiki.cli.terminal import RUNS, USER_ERROR
from tsumiki.errors import UserError


def train(
    config: Annotated[str, Argument(help="A preset's name, a YAML file, or with --resume a run's directory.")],
    changes: Annotated[list[str] | None, Argument(help="Changes such as train.steps=500.")] = None,
    run_dir: Annotated[Path | None, Option(help="Where the run lives; runs/<name> if left out.")] = None,
    resume: Annotated[
        bool,
        Option("--resume", help="Go on from the run's last checkpoint; as `--resume auto`, begin where there is none."),
    ] = False,
    skip_doctor: Annotated[bool, Option("--skip-doctor", help="Train unexamined; the manifest records it.")] = False,
    micro_batch: Annotated[
        str | None,
        Option(help="Rows computed at once, as train.micro_batch_size=...; auto finds what the memory allows."),
    ] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Examine a model, then train it; with `torchrun`, in several processes."""
    from tsumiki.cli.report import write_report
    from tsumiki.config import load
    from tsumiki.train import Interrupted, RunConfig
    from tsumiki.train import train as run_training
    from tsumiki.train.distributed import PeerFailed, leave, speaks

    config, changes, begin = without_auto(config, changes or []) if resume else (config, changes or [], False)
    source = Path(config)
    if resume and source.is_dir():
        run_dir, source = source, source / "config.yaml"
    if micro_batch not in (None, "auto"):
        changes = [*changes, f"train.micro_batch_size={micro_batch}"]
    run = load(source, RunConfig, changes)
    try:
        result = run_training(
            run,
            run_dir or RUNS / run.name,
            resume="auto" if begin else resume,
            skip_doctor=skip_doctor,
            find_micro_batch=micro_batch == "auto",
            device=device,
        )
    except PeerFailed:
        raise Exit(USER_ERROR) from None
    except Interrupted as interrupted:
        if speaks():
            print(interrupted, file=sys.stderr)
        raise Exit(interrupted.exit_code) from None
    leave()
    if speaks():
        print(f"What became of it stands on one page, for a browser: {write_report(result.run_dir)}")
        print(f"The run lies in {result.run_dir}. Ask it for a story: tsumiki generate {result.run_dir}")


def without_auto(config: str, changes: list[str]) -> tuple[str, list[str], bool]:
    """Take the word `auto` out of the arguments. Typer has no options with an optional value, so it stands there."""
    words = [word for word in (config, *changes) if word != "auto"]
    if not words:
        raise UserError("--resume auto goes on with a run or begins it, so name its preset or YAML file, too.")
    return words[0], words[1:], len(words) <= len(changes)
