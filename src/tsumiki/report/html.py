"""A report as one HTML file that needs no network and no script: styles and figures stand in it.

The languages stand in it one after another; which one is shown, and whether it is light or dark, two rows of buttons
decide, by CSS alone. Without a choice the colours are those of the reader's system.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from tsumiki.doctor.messages import Language
from tsumiki.report.blocks import Banner, Block, Code, Figures, Paragraph, Report, Section, Table
from tsumiki.report.figures import FONTS, GRID, INK, SERIES, to_svg

DARK = ("#6cb6ff", "#ff9a62", "#56d39b", "#d7a3f0", "#e2c044", "#ff8fab")
"""The colours of curves on a dark page."""

NAMES = {"en": "English", "ja": "日本語"}
THEMES = {"auto": "auto", "light": "☀", "dark": "☾"}

STYLE = f"""
:root {{
  color-scheme: light dark;
  --ink: light-dark({INK}, #e6edf3); --paper: light-dark(#ffffff, #0d1117); --grid: light-dark({GRID}, #30363d);
  --soft: light-dark(#57606a, #9da7b3); --shade: light-dark(#f6f8fa, #161b22);
  --good: light-dark(#116329, #56d364); --note: light-dark(#7d4e00, #e3b341); --bad: light-dark(#b3121d, #ff7b72);
  --bad-paper: light-dark(#ffebe9, #3d1216); --good-paper: light-dark(#e6f6ea, #0f2a18);
  --note-paper: light-dark(#fff6dd, #2e2408);
}}
:root:has(#theme-light:checked) {{ color-scheme: light; }}
:root:has(#theme-dark:checked) {{ color-scheme: dark; }}
body {{ margin: 0 auto; max-width: 68rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.6 {FONTS}; }}
nav {{ display: flex; gap: 1.5rem; justify-content: flex-end; color: var(--soft); font-size: .85rem; }}
nav label {{ cursor: pointer; padding: .1rem .5rem; border-radius: .4rem; }}
nav input {{ position: absolute; opacity: 0; }}
nav label:has(:checked) {{ background: var(--shade); color: var(--ink); font-weight: 600; }}
nav label:has(:focus-visible) {{ outline: 2px solid var(--soft); }}
article {{ display: none; }}
h1 {{ font-size: 1.9rem; line-height: 1.25; margin: .5rem 0 1rem; }}
h2 {{ font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--grid); }}
p {{ max-width: 46rem; margin: .6rem 0; }}
.banner {{ max-width: none; padding: .6rem .9rem; border-radius: .4rem; border-left: .3rem solid; font-weight: 600; }}
.good {{ color: var(--good); }} .note {{ color: var(--note); }} .bad {{ color: var(--bad); font-weight: 600; }}
.banner.good {{ background: var(--good-paper); }} .banner.note {{ background: var(--note-paper); }}
.banner.bad {{ background: var(--bad-paper); }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }}
th, td {{ text-align: left; padding: .25rem 1.2rem .25rem 0; vertical-align: top; border-bottom: 1px solid var(--grid);
  overflow-wrap: break-word; }}
th {{ color: var(--soft); font-weight: 600; overflow-wrap: normal; word-break: keep-all; }}
td:nth-child(2) {{ min-width: 9rem; }} td:nth-child(3) {{ min-width: 3rem; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; margin: .8rem 0; }}
.figures svg {{ width: 100%; height: auto; }}
pre {{ background: var(--shade); padding: .8rem 1rem; overflow-x: auto; font-size: .8rem; line-height: 1.5; }}
@media print {{
  :root {{ color-scheme: light; }}
  nav {{ display: none; }} body {{ font-size: 11px; max-width: none; padding: 0; }}
  pre {{ white-space: pre-wrap; }} tr, svg, .banner {{ break-inside: avoid; }} h2 {{ break-after: avoid; }}
}}
"""


def write_html(reports: Mapping[Language, Report], path: Path, *, language: Language = "en") -> None:
    """Write a report in several languages into one file.

    Args:
        language: the one that is shown first.
    """
    path.write_text(to_html(reports, language), encoding="utf-8")


def to_html(reports: Mapping[Language, Report], language: Language) -> str:
    """The page."""
    shown = "\n".join(
        f":root:has(#language-{name}:checked) article[lang={name}] {{ display: block; }}" for name in reports
    )
    languages = _choice("language", {name: NAMES[name] for name in reports}, language)
    articles = "\n".join(_article(report) for report in reports.values())
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(reports[language].title)}</title>\n<style>{STYLE}{shown}\n</style>\n</head>\n<body>\n"
        f"<nav>{languages}{_choice('theme', THEMES, 'auto')}</nav>\n{articles}\n</body>\n</html>\n"
    )


def section(section: Section, *, salt: str = "") -> str:
    """A section. The salt keeps the ids of figures apart that occur on a page twice."""
    return "\n".join(
        [f"<section><h2>{escape(section.title)}</h2>", *(_block(b, salt) for b in section.blocks), "</section>"]
    )


def _article(report: Report) -> str:
    sections = "\n".join(section(part, salt=report.language) for part in report.sections)
    return f'<article lang="{report.language}">\n<h1>{escape(report.title)}</h1>\n{sections}\n</article>'


def _choice(group: str, options: Mapping[str, str], chosen: str) -> str:
    buttons = (
        f'<label><input type="radio" name="{group}" id="{group}-{name}"{" checked" if name == chosen else ""}>'
        f"{escape(label)}</label>"
        for name, label in options.items()
    )
    return f"<span>{''.join(buttons)}</span>"


def _block(block: Block, salt: str) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Banner(text, tone):
            return f'<p class="banner {tone}">{escape(text)}</p>'
        case Code(text):
            return f"<pre>{escape(text)}</pre>"
        case Table():
            return _table(block)
        case Figures(figures):
            return f'<div class="figures">{"".join(_coloured(to_svg(figure, salt=salt)) for figure in figures)}</div>'


def _table(table: Table) -> str:
    def row(cells: object, tag: str, tone: str = "plain") -> str:
        parts = (
            f"<{tag}{' class=number' if number in table.numbers else ''}>{escape(str(cell))}</{tag}>"
            for number, cell in enumerate(cells)  # type: ignore[arg-type]
        )
        return f'<tr class="{tone}">{"".join(parts)}</tr>'

    tones = table.tones or ["plain"] * len(table.rows)
    rows = "\n".join(row(cells, "td", tone) for cells, tone in zip(table.rows, tones, strict=True))
    return (
        f'<div class="wide"><table>\n<thead>{row(table.headings, "th")}</thead>\n<tbody>{rows}</tbody>\n</table></div>'
    )


def _coloured(svg: str) -> str:
    """The figure in the page's colours, which change between light and dark."""
    for light, dark in zip(SERIES, DARK, strict=True):
        svg = svg.replace(light, f"light-dark({light}, {dark})")
    return svg.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
