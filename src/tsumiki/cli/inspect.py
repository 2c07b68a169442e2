"""`tsumiki inspect`: what a trained model computes on one text, and when it learned to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from tsumiki.cli.terminal import console
from tsumiki.errors import UserError

if TYPE_CHECKING:
    from tsumiki.doctor.messages import Language

SHORTEST = 3
"""Tokens below which nothing can be said about heads."""


def inspect(
    run: Annotated[Path, Argument(help="A run's, a checkpoint's or a model's directory.")],
    prompt: Annotated[str, Option("--prompt", "-p", help="The text to look at.")] = "",
    checkpoints: Annotated[
        bool, Option("--checkpoints", help="Scores of every checkpoint of the run: when did induction appear?")
    ] = False,
    output: Annotated[
        Path | None, Option("--output", "-o", help="Directory for the files; `inspect` in the run if left out.")
    ] = None,
    seed: Annotated[int, Option(help="Of the random tokens on which induction is measured.")] = 0,
    lang: Annotated[Literal["en", "ja"] | None, Option(help="Of tables and page; the locale's if left out.")] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPU if there is one.")] = None,
) -> None:
    """Look inside a trained model: attention, logit lens, gates, in a page of its own and as tensors."""
    from tsumiki.doctor.messages import default_language

    if not prompt and not checkpoints:
        raise UserError("Say what to look at: a text with --prompt, or the run's --checkpoints.")
    language = lang or default_language()
    if checkpoints:
        show_checkpoints(run, output, seed, device, language)
    if prompt:
        show_text(run, prompt, output, seed, device, language)


def show_text(run: Path, prompt: str, output: Path | None, seed: int, device: str | None, language: "Language") -> None:
    """Record one text, print what stands out, and write the trace, the page and the figures."""
    from tsumiki.generate import load
    from tsumiki.interpret import record, save_trace
    from tsumiki.interpret.figure import all_heads_figure, head_figure, head_png
    from tsumiki.interpret.findings import examine
    from tsumiki.interpret.page import page
    from tsumiki.interpret.terminal import render

    model = load(run, device=device)
    ids = [model.tokenizer.end_of_text_id, *model.tokenizer.encode(prompt)]
    if len(ids) < SHORTEST:
        raise UserError(f"The text '{prompt}' is a single token; give a longer one.")
    trace = record(model.model, ids, model.tokenizer)
    findings = examine(model.model, model.tokenizer, trace, seed=seed)
    directory = directory_for(model.checkpoint, output)
    save_trace(trace, directory)
    layer, head = strongest(findings.scores["induction"])
    name = f"attention-{layer + 1}-{head + 1}"
    facts = {"prompt": prompt, "seed": seed, **findings.to_json()}
    files = {
        "inspect.html": page(trace, findings, where=model.checkpoint.as_posix(), language=language).encode("utf-8"),
        "inspect.json": json.dumps(facts, ensure_ascii=False, indent=1).encode("utf-8"),
        "attention.svg": all_heads_figure(trace).encode("utf-8"),
        f"{name}.svg": head_figure(trace, layer, head).encode("utf-8"),
        f"{name}.png": head_png(trace, layer, head),
    }
    for name, content in files.items():
        (directory / name).write_bytes(content)
    render(trace, findings, console(), language)
    for name in ("trace.safetensors", "trace.json", *files):
        print(directory / name)


def strongest(scores: list[list[float]]) -> tuple[int, int]:
    """Layer and head of the highest score."""
    places = ((layer, head) for layer, row in enumerate(scores) for head in range(len(row)))
    return max(places, key=lambda place: scores[place[0]][place[1]])


def show_checkpoints(run: Path, output: Path | None, seed: int, device: str | None, language: "Language") -> None:
    """Print and write the highest scores of every checkpoint of a run."""
    from tsumiki.generate import load
    from tsumiki.generate.load import checkpoints_of, step_of
    from tsumiki.interpret.findings import highest_scores
    from tsumiki.interpret.terminal import render_checkpoints

    checkpoints = checkpoints_of(run)
    if not checkpoints:
        raise UserError(f"'{run}' holds no checkpoints; name a run's directory.")
    scores: dict[int, dict[str, float]] = {}
    for checkpoint in checkpoints:
        model = load(checkpoint, device=device)
        scores[step_of(checkpoint)] = highest_scores(model.model, model.tokenizer, seed=seed)
    path = directory_for(checkpoints[-1], output) / "checkpoints.json"
    path.write_text(json.dumps({"seed": seed, "highest": scores}, indent=1) + "\n", encoding="utf-8")
    render_checkpoints(scores, console(), language)
    print(path)


def directory_for(checkpoint: Path, output: Path | None) -> Path:
    """The directory that the files go to; made if it is not there."""
    from tsumiki.generate.load import home_of

    directory = output or home_of(checkpoint) / "inspect"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
