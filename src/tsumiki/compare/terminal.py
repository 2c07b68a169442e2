"""A comparison on the terminal: a table and sentences, in English or Japanese."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tsumiki.compare.names import title
from tsumiki.compare.verdict import headline, question, reservations, sentences
from tsumiki.doctor.messages import Language

STYLES = {"good": "green", "note": "yellow", "bad": "bold red", "plain": ""}


def render(summary: Mapping[str, Any], console: Console, language: Language) -> None:
    """Print the question, the arms' figures, the verdict, and what speaks for and against it."""
    ja = language == "ja"
    console.print(Text(question(summary["experiment"], language), style="bold"))
    console.print()
    names = [name for name in summary["figures"] if not name.startswith("bits_per_character")]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("条件" if ja else "Arm")
    for name in names:
        table.add_column(title(name, ja), justify="right")
    for arm in summary["arms"]:
        table.add_row(arm, *(cell(summary["figures"][name][arm]) for name in names))
    console.print(table)
    console.print()
    verdict = headline(summary, language)
    console.print(Text(verdict.text, style=f"bold {STYLES[verdict.tone]}"))
    for sentence in (*sentences(summary, language), *reservations(summary, language)):
        console.print(Text(f"- {sentence.text}", style=STYLES[sentence.tone] if sentence.tone == "bad" else ""))


def cell(figures: Mapping[str, Any]) -> str:
    """A mean, and after ± the deviation from seed to seed."""
    if figures["deviation"] is None:
        return f"{figures['mean']:.4f}"
    return f"{figures['mean']:.4f} ± {figures['deviation']:.4f}"
