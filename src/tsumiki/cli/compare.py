"""`tsumiki compare`: train the arms of an experiment, and say what they show."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Exit, Option

from tsumiki.cli.terminal import RUNS, USER_ERROR, console


def compare(
    experiment: Annotated[Path, Argument(help="A YAML file such as those in experiments/.")],
    run_dir: Annotated[Path | None, Option(help="Where its runs live; runs/<name of the file> if left out.")] = None,
    skip_doctor: Annotated[bool, Option("--skip-doctor", help="Train unexamined; the report says so in red.")] = False,
    lang: Annotated[Literal["en", "ja"] | None, Option(help="Of table and report; the locale's if left out.")] = None,
    figures: Annotated[Literal["svg", "png"], Option(help="Of the Markdown report.")] = "svg",
    workers: Annotated[
        int | None, Option(min=1, help="Trainings at a time, each in a process; as many as GPUs if left out.")
    ] = None,
    device: Annotated[str | None, Option(help="Such as cpu or cuda; the GPUs if there are any.")] = None,
) -> None:
    """Compare models that differ in nothing but what is asked about. Called again, it goes on where it was stopped."""
    from tsumiki.compare import RESULT, comparison_report, run_experiment, summarise
    from tsumiki.compare.terminal import render
    from tsumiki.doctor import default_language
    from tsumiki.evaluate.evaluation import save
    from tsumiki.report import LANGUAGES, japanese_font, write_html, write_markdown
    from tsumiki.train import Interrupted

    run_dir = run_dir or RUNS / experiment.stem
    language = lang or default_language()
    if figures == "png" and language == "ja":
        japanese_font()  # better missed now than after hours of training
    try:
        comparison = run_experiment(experiment, run_dir, skip_doctor=skip_doctor, workers=workers, device=device)
    except Interrupted as interrupted:
        again = f"tsumiki compare {experiment} --run-dir {run_dir}"
        print(f"Stopped, and everything is saved. Go on with: {again}", file=sys.stderr)
        raise Exit(interrupted.exit_code) from None
    summary = summarise(comparison)
    save(summary, run_dir / RESULT)
    write_html(
        {name: comparison_report(comparison, summary, name) for name in LANGUAGES},
        run_dir / "comparison.html",
        language=language,
    )
    write_markdown(comparison_report(comparison, summary, language), run_dir / "comparison.md", figures=figures)
    print()
    render(summary, console(), language)
    print(f"\n{run_dir / 'comparison.html'}")
    if comparison.broken:
        raise Exit(USER_ERROR)
