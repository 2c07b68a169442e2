"""`tsumiki doctor`: look for bugs in a model, before it is trained or afterwards, ours or anybody's."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option

from tsumiki.cli.terminal import console
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.doctor import Verdict

TRANSFORMERS = "hf:"
COMPILERS = {"darwin": "clang++", "win32": "cl"}
"""Which C++ compiler `torch.compile` needs, where it is not g++ and `CXX` names no other."""


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
    """Look for bugs in a model: does it see the future, does the cache change it? Exit code 1 if one is found.

    Of a run also the curves are read: what is normal for its size, and the likeliest cause of what is not.
    """
    from tsumiki.doctor import default_language, diagnose, render, to_json

    if self_test:
        examine_doctor(lang or default_language())
        return
    if source is None:
        raise UserError("Name what to examine, such as a preset or a run's directory, or ask for --self-test.")
    with TemporaryDirectory() as directory:
        known = patient(source, changes or [], device, full=full, directory=Path(directory))
        diagnosis = diagnose(**known, level="full" if full else "quick")
    if receipt is not None:
        text = json.dumps(to_json(diagnosis), ensure_ascii=False, indent=2)
        receipt.write_text(text + "\n", encoding="utf-8")
    render(diagnosis, console(), lang)
    found = curves(Path(source), lang) if is_run(Path(source)) else ()
    if not diagnosis.ok or any(verdict.status == "failed" for verdict in found):
        raise Exit(1)


def curves(run: Path, lang: Literal["en", "ja"] | None) -> "tuple[Verdict, ...]":
    """Show what a run's curves say, and return it."""
    from tsumiki.doctor import explain, read_history, render_curves

    found = explain(read_history(run))
    out = console()
    out.print()
    render_curves(found, out, lang)
    return found


def patient(source: str, changes: list[str], device: str | None, *, full: bool, directory: Path) -> dict[str, Any]:
    """The model that `source` means, as arguments of `diagnose`, with its tokenizer where it has one.

    With `full` also itself compiled, and for a configuration or a run the data that it names and the training that it
    describes. The data may have to be downloaded and is prepared as for training.

    Args:
        directory: an empty one, for the checkpoints of a rehearsal.

    Raises:
        UserError: there is no such model, or changes are asked for where nothing can be changed.
    """
    from tsumiki.config import load
    from tsumiki.data import Tokenizer, prepare
    from tsumiki.doctor import adapter_for, with_compiled
    from tsumiki.generate.load import choose_device, find_checkpoint
    from tsumiki.generate.released import find_released
    from tsumiki.models import build_model, load_model
    from tsumiki.train import RunConfig
    from tsumiki.train.rehearsal import Rehearsal

    trained = source.startswith(TRANSFORMERS) or Path(source).is_dir() or find_released(source) is not None
    if trained and changes:
        raise UserError(f"'{changes[0]}' cannot change '{source}', which is trained; changes are for configurations.")
    run = tokenizer = None
    if source.startswith(TRANSFORMERS):
        model: Any = load_transformers(source.removeprefix(TRANSFORMERS)).to(choose_device(device))
    elif trained:
        if is_run(Path(source)):
            run = load(Path(source) / "config.yaml", RunConfig)
        checkpoint = find_checkpoint(Path(source))  # and not `load`, which asks for a receipt
        model = load_model(checkpoint, backend=run.backend if run else None, device=choose_device(device))
        tokenizer = Tokenizer.load(checkpoint / "tokenizer.json")
    else:
        run = load(source, RunConfig, changes)
        model = build_model(run.model, backend=run.backend, seed=run.train.seed, device=choose_device(device))
    if not full:
        return {"model": model, "tokenizer": tokenizer}

    adapter = adapter_for(model)
    if shutil.which(os.environ.get("CXX") or COMPILERS.get(sys.platform, "g++")):
        adapter = with_compiled(adapter)
    else:
        print("There is no C++ compiler here, so the model is not compared with itself compiled.", file=sys.stderr)
    if run is None:
        return {"model": model, "tokenizer": tokenizer, "adapter": adapter}
    data = prepare(run.data, run.tokenizer)
    rehearsal = Rehearsal(run, data, directory / "run")
    adapter = replace(adapter, optimizer=rehearsal.optimizer, train=rehearsal.train)
    return {"model": model, "data": data, "adapter": adapter}


def is_run(directory: Path) -> bool:
    """Whether it is a run's directory; one model that a run was made into has its manifest and metrics, too."""
    return (directory / "checkpoints").is_dir() and (directory / "metrics.jsonl").is_file()


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
    """Plant every known bug, and show which checks found it, then how many were found."""
    from rich.table import Table

    from tsumiki.doctor.selftest import in_short, self_test

    started = perf_counter()
    cases = self_test(progress=lambda name: print(f"examining {name}", file=sys.stderr))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        ("植え付けたバグ", "壊し方", "見つけた検査") if lang == "ja" else ("Planted", "What was done", "Found by")
    ):
        table.add_column(column, overflow="fold")
    for case in cases:
        planted = case.mutation.what(lang) if case.mutation else {"en": "nothing", "ja": "なし"}[lang]
        table.add_row(case.name, planted, ", ".join(case.found_by) or "-", style=None if case.right else "bold red")
    out = console()
    out.print(table)
    out.print()
    for line in in_short(cases, perf_counter() - started, lang):
        out.print(line)
    if not all(case.right for case in cases):
        raise Exit(1)
