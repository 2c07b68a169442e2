"""A diagnosis on the terminal: a table of checks, and a sentence for everything that was found."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tsumiki.doctor.messages import Language, default_language, sentence, title
from tsumiki.doctor.verdict import Diagnosis, Verdict

_MARKS = {
    "passed": ("ok", "ok", "green"),
    "warned": ("note", "注意", "yellow"),
    "failed": ("FAILED", "異常", "bold red"),
    "skipped": ("-", "-", "dim"),
}
_WORDS = {
    "columns": (("Check", "What must hold", "", "s"), ("検査", "成り立つべきこと", "", "秒")),
    "ok": (
        "Verified at length {context}, {dtype}, {device}: nothing was found.",
        "長さ {context}、{dtype}、{device} で検証：問題は見つかりませんでした。",
    ),
    "curves": ("The curves show nothing suspicious.", "曲線に疑わしいところはありません。"),
    "not_ok": ("{count} of {total} checks failed.", "{total} 件中 {count} 件で異常が見つかりました。"),
}


def render(diagnosis: Diagnosis, console: Console, language: Language | None = None) -> None:
    """Print a diagnosis; in the locale's language if none is given."""
    language = language or default_language()
    japanese = language == "ja"
    _print(diagnosis.verdicts, console, language)
    console.print()
    if diagnosis.ok:
        console.print(_WORDS["ok"][japanese].format(**diagnosis.setting), style="green", highlight=False)
    else:
        counts = {"count": len(diagnosis.failures), "total": len(diagnosis.verdicts)}
        console.print(_WORDS["not_ok"][japanese].format(**counts), style="bold red", highlight=False)


def render_curves(verdicts: Sequence[Verdict], console: Console, language: Language | None = None) -> None:
    """Print what a run's curves say."""
    language = language or default_language()
    _print(verdicts, console, language)
    if all(verdict.status in ("passed", "skipped") for verdict in verdicts):
        console.print()
        console.print(_WORDS["curves"][language == "ja"], style="green", highlight=False)


def _print(verdicts: Sequence[Verdict], console: Console, language: Language) -> None:
    """A table, and below it a sentence for everything that there is to say."""
    japanese = language == "ja"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in zip(_WORDS["columns"][japanese], ("left", "left", "left", "right"), strict=True):
        table.add_column(column, justify=justify, overflow="fold")
    for verdict in verdicts:
        *words, style = _MARKS[verdict.status]
        note = Text(words[japanese], style=style)
        if verdict.status == "skipped":
            note.append(f" {sentence(verdict, language)}", style="dim")
        table.add_row(verdict.check, title(verdict.check, language), note, f"{verdict.seconds:.2f}")
    console.print(table)
    for verdict in verdicts:
        if verdict.status != "skipped" and verdict.code != "passed":
            console.print()
            console.print(_finding(verdict, language))


def _finding(verdict: Verdict, language: Language) -> Text:
    style = _MARKS[verdict.status][2]
    return Text.assemble((f"{verdict.check}: ", style), sentence(verdict, language))
