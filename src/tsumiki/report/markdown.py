"""A report as Markdown, with its figures as files beside it."""

from pathlib import Path
from typing import Literal

from tsumiki.report.blocks import Banner, Block, Code, Figures, Paragraph, Report, Table
from tsumiki.report.figures import save

_MARKS = {"good": "✓ ", "note": "⚠ ", "bad": "✗ ", "plain": ""}


def write_markdown(report: Report, path: Path, *, figures: Literal["svg", "png"] = "svg") -> None:
    """Write `path`, and the figures into a directory beside it that is named after it.

    Raises:
        UserError: Japanese figures are wanted as PNG, and no font has their glyphs.
    """
    directory = path.with_name(f"{path.stem}-figures")
    directory.mkdir(parents=True, exist_ok=True)
    parts = [f"# {report.title}"]
    for section in report.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block, directory, figures) for block in section.blocks]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _block(block: Block, directory: Path, format: str) -> str:
    match block:
        case Paragraph(text):
            return text
        case Banner(text, tone):
            return f"**{_MARKS[tone]}{text}**"
        case Code(text):
            return f"```text\n{text.rstrip()}\n```"
        case Table():
            return _table(block)
        case Figures(figures):
            return "\n\n".join(
                f"![{figure.title}]({directory.name}/{save(figure, directory, format)})" for figure in figures
            )


def _table(table: Table) -> str:
    rules = ["---:" if number in table.numbers else "---" for number in range(len(table.headings))]
    lines = [table.headings, rules, *table.rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in line)} |" for line in lines
    )
