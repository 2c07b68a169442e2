"""`tsumiki report`: what became of a training, on one page."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from tsumiki.errors import UserError


def report(
    run: Annotated[Path, Argument(help="A run's directory, finished or not.")],
    out: Annotated[Path | None, Option(help="A .html or .md file; RUN/report.html if left out.")] = None,
    lang: Annotated[Literal["en", "ja"] | None, Option(help="Shown first; the locale's if left out.")] = None,
    figures: Annotated[Literal["svg", "png"], Option(help="Of a .md file, in a directory beside it.")] = "svg",
) -> None:
    """Write the report of a run: one HTML file in English and Japanese, or Markdown in one of them with its figures."""
    print(write_report(run, out, lang, figures))


def write_report(
    run: Path,
    out: Path | None = None,
    lang: Literal["en", "ja"] | None = None,
    figures: Literal["svg", "png"] = "svg",
) -> Path:
    """Write a run's report, and return where it lies.

    Raises:
        UserError: there is no run, or the file is neither .html nor .md.
    """
    from tsumiki.doctor import default_language, read_history
    from tsumiki.report import LANGUAGES, run_report, write_html, write_markdown

    history = read_history(run)
    out = out or run / "report.html"
    language = lang or default_language()
    match out.suffix:
        case ".html":
            write_html({name: run_report(history, name) for name in LANGUAGES}, out, language=language)
        case ".md":
            write_markdown(run_report(history, language), out, figures=figures)
        case _:
            raise UserError(f"'{out}' is neither a .html nor a .md file; name one of the two.")
    return out
