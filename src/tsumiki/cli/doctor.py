"""`tsumiki doctor`: look for bugs in a model, before it is trained or afterwards, ours or anybody's."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Exit, Option

from tsumiki.cli.terminal import console
from tsumiki.errors import UserError

TRANSFORMERS = "hf:"


def doctor(
    source: Annotated[
        str | None,
        Argument(help="A preset's name, a YAML file, a run's or a checkpoint's directory, or hf:DIR (transformers)."),
    ] = None,
    changes: Annotated[list[str] | None, Argument(help="Changes such as model.num_layers=8.")] = None,
    full: Annotated[bool, Option("--full", help="Every check; takes a minute or two.")] = False,
    self_test: Annotated[bool, Option("--self-test", help="Plant bugs and see which check finds them.")] = False,
    lang: Annotated[Literal["en", "ja"] | None, Option(help="The locale's if left out.")] = None,
    receipt: Annotated[Path | None, Option(help="Write the verdicts to this file, as JSON.")] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Look for bugs in a model: does it see the future, does the cache change it? Exit code 1 if one is found."""
    from tsumiki.doctor import diagnose, render, to_json

    if self_test:
        examine_doctor(lang or "en")
        return
    if source is None:
        raise UserError("Name what to examine, such as a preset or a run's directory, or ask for --self-test.")
    diagnosis = diagnose(**patient(source, changes or [], device, full=full), level="full" if full else "quick")
    if receipt is not None:
        text = json.dumps(to_json(diagnosis), ensure_ascii=False, indent=2)
        receipt.write_text(text + "\n", encoding="utf-8")
    render(diagnosis, console(), lang)
    if not diagnosis.ok:
        raise Exit(1)


def patient(source: str, changes: list[str], device: str | None, *, full: bool) -> dict[str, Any]:
    """The model that `source` means, as arguments of `diagnose`, with its tokenizer where it has one.

    With `full` also the data that a configuration names. It may have to be downloaded and is prepared as for training.

    Raises:
        UserError: there is no such model, or changes are asked for where nothing can be changed.
    """
    from tsumiki.config import load
    from tsumiki.data import prepare
    from tsumiki.generate import load as load_text_model
    from tsumiki.generate.load import choose_device
    from tsumiki.models import build_model
    from tsumiki.train import RunConfig

    trained = source.startswith(TRANSFORMERS) or Path(source).is_dir()
    if trained and changes:
        raise UserError(f"'{changes[0]}' cannot change '{source}', which is trained; changes are for configurations.")
    if source.startswith(TRANSFORMERS):
        return {"model": load_transformers(source.removeprefix(TRANSFORMERS)).to(choose_device(device))}
    if trained:
        model = load_text_model(source, device=device)
        return {"model": model.model, "tokenizer": model.tokenizer}
    run = load(source, RunConfig, changes)
    model = build_model(run.model, backend=run.backend, seed=run.train.seed, device=choose_device(device))
    return {"model": model, "data": prepare(run.data, run.tokenizer) if full else None}


def load_transformers(directory: str) -> Any:
    """A causal language model that transformers has saved, from safetensors only.

    Raises:
        UserError: transformers is not installed, or the directory holds no such model.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise UserError("Models of transformers need an extra; run: pip install 'tsumiki[hf]'") from error
    if not Path(directory).is_dir():
        raise UserError(f"The directory '{directory}' does not exist.")
    try:
        return AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"'{directory}' holds no model that transformers can load: {reason}") from error


def examine_doctor(lang: Literal["en", "ja"]) -> None:
    """Plant every known bug, and show which checks found it."""
    from rich.table import Table

    from tsumiki.doctor.selftest import self_test

    cases = self_test(progress=lambda name: print(f"examining {name}", file=sys.stderr))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Planted", "What was done", "Found by"):
        table.add_column(column, overflow="fold")
    for case in cases:
        planted = case.mutation.what(lang) if case.mutation else "nothing"
        table.add_row(case.name, planted, ", ".join(case.found_by) or "-", style=None if case.right else "bold red")
    out = console()
    out.print(table)
    bugs = [case for case in cases if case.mutation]
    sound = [case for case in cases if not case.mutation]
    out.print()
    out.print(f"{sum(case.right for case in bugs)} of {len(bugs)} planted bugs were found.")
    out.print(f"{sum(not case.right for case in sound)} of {len(sound)} sound models gave a false alarm.")
    if not all(case.right for case in cases):
        raise Exit(1)
