"""Reports: what a person reads after a training, as one self-contained HTML page or as Markdown with figures.

    from tsumiki.doctor import read_history
    from tsumiki.report import write_html

    history = read_history(run_dir)
    write_html({language: run_report(history, language) for language in LANGUAGES}, path)

A report is a `Report` of `Section`s of blocks: paragraphs, tables, figures, texts. `html` and `markdown` write them,
and `run` makes those of one run. Reports of several runs are made of the same blocks.
"""

from tsumiki.report.blocks import Banner, Code, Curve, Figure, Figures, Map, Paragraph, Report, Section, Table
from tsumiki.report.figures import japanese_font
from tsumiki.report.html import write_html
from tsumiki.report.markdown import write_markdown
from tsumiki.report.run import LANGUAGES, run_report

__all__ = [
    "LANGUAGES",
    "Banner",
    "Code",
    "Curve",
    "Figure",
    "Figures",
    "Map",
    "Paragraph",
    "Report",
    "Section",
    "Table",
    "japanese_font",
    "run_report",
    "write_html",
    "write_markdown",
]
