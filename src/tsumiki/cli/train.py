"""`tsumiki train`: train a model from its configuration, or go on with a run."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from tsumiki.cli.terminal import RUNS


def train(
    config: Annotated[str, Argument(help="A preset's name, a YAML file, or with --resume a run's directory.")],
    changes: Annotated[list[str] | None, Argument(help="Changes such as train.steps=500.")] = None,
    run_dir: Annotated[Path | None, Option(help="Where the run lives; runs/<name> if left out.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    skip_doctor: Annotated[bool, Option("--skip-doctor", help="Train unexamined; the manifest records it.")] = False,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Examine a model, then train it."""
    from tsumiki.config import load
    from tsumiki.train import Interrupted, RunConfig
    from tsumiki.train import train as run_training

    source = Path(config)
    if resume and source.is_dir():
        run_dir, source = source, source / "config.yaml"
    run = load(source, RunConfig, changes or ())
    try:
        result = run_training(run, run_dir or RUNS / run.name, resume=resume, skip_doctor=skip_doctor, device=device)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        raise Exit(interrupted.exit_code) from None
    print(f"The run lies in {result.run_dir}. Ask it for a story: tsumiki generate {result.run_dir}")
