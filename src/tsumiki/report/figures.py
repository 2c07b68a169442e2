"""Curves and maps as pictures: SVG whose text stays text, and PNG.

The text of an SVG is set by the browser, in whatever Japanese font the reader has; matplotlib needs none. In a PNG
the letters are drawn here, so Japanese needs a font: one that is installed, or that of the extra `fonts`.
"""

import io
import re
import warnings
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tsumiki.errors import UserError
from tsumiki.report.blocks import Figure, Map

SERIES = ("#0b62a8", "#c2410c", "#0f7b4f", "#8b3fa8", "#7a6000", "#b0234f")
"""Colours of curves: as dark as text on white, and told apart by colour-blind readers in this order."""

FULL = "#3b82d0"
"""What is full in a map: to be seen on white and on black, since it is a picture in the SVG, whose colours stay."""

INK, GRID = "#24292f", "#d8dee4"

FONTS = "system-ui, 'Hiragino Sans', 'Noto Sans CJK JP', 'Noto Sans JP', 'Yu Gothic', Meiryo, 'IPAexGothic', sans-serif"
"""What the text of pages and SVGs is set in: the reader's own font, and on every system one with kana and kanji."""

SET_WITH = "DejaVu Sans"
"""The font that comes with matplotlib; by its widths an SVG is laid out."""

JAPANESE = ("Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "IPAexGothic", "IPAGothic")
"""Installed fonts with Japanese glyphs, the best first."""

FEW = 5
"""Curves that have a value at so few places get a tick at each of them."""

MOST_POINTS = 300
"""A curve of more points is drawn as means of so many stretches, with their lowest and highest values as a band."""


def to_svg(figure: Figure | Map, *, salt: str = "") -> str:
    """A figure as an `<svg>` element that takes the width it is given.

    Args:
        salt: makes the ids of two figures on one page differ; `name` does where every name is used once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser sets the text
        content = _draw(
            figure, "svg", {"svg.fonttype": "none", "svg.hashsalt": figure.name + salt, "font.family": [SET_WITH]}
        ).decode("utf-8")
    content = content[content.index("<svg") :]
    content = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', _open(figure), content, count=1)
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    content = re.sub(r' id="[a-z0-9.]+_\d+"', "", content)
    return content.replace(f"'{SET_WITH}'", FONTS)


def to_png(figure: Figure | Map) -> bytes:
    """A figure as a PNG of 1280 x 720 pixels, a map of 960 x 960.

    Raises:
        UserError: the figure holds Japanese text, and no font has its glyphs.
    """
    names = figure.labels if isinstance(figure, Map) else [curve.name for curve in figure.curves]
    text = "".join((figure.title, figure.x, figure.y, *names))
    font = {"font.family": [japanese_font(), SET_WITH]} if re.search(r"[\u3000-\u9fff\uff00-\uffef]", text) else {}
    return _draw(figure, "png", font)


def japanese_font() -> str:
    """The name of a font with kana and kanji.

    Raises:
        UserError: "No font with Japanese glyphs is installed; ..."
    """
    from matplotlib import font_manager

    if find_spec("matplotlib_fontja") is not None:
        font_manager.fontManager.addfont(str(files("matplotlib_fontja").joinpath("fonts/ipaexg.ttf")))
    installed = {font.name for font in font_manager.fontManager.ttflist}
    for name in JAPANESE:
        if name in installed:
            return name
    raise UserError(
        "No font with Japanese glyphs is installed, and a PNG needs one; run: pip install 'tsumiki[fonts]', or write "
        "SVG figures, whose text the reader's own font sets."
    )


def _draw(figure: Figure | Map, format: str, settings: Any) -> bytes:
    from matplotlib import style
    from matplotlib.figure import Figure as Canvas

    ours = {"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with style.context(["default", {**ours, "axes.edgecolor": GRID, "savefig.dpi": 200, **settings}]):
        canvas = Canvas(figsize=(4.8, 4.8) if isinstance(figure, Map) else (6.4, 3.6), layout="constrained")
        axes = canvas.subplots()
        axes.set_title(figure.title, loc="left", fontsize=11)
        axes.set_xlabel(figure.x)
        axes.set_ylabel(figure.y)
        if isinstance(figure, Map):
            _draw_map(axes, figure)
        else:
            _draw_curves(axes, figure)
        out = io.BytesIO()
        canvas.savefig(
            out, format=format, transparent=format == "svg", metadata={"Date": None} if format == "svg" else {}
        )
    return out.getvalue()


def _draw_map(axes: Any, figure: Map) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    colours = LinearSegmentedColormap.from_list("full", [(*to_rgb(FULL), 0.0), (*to_rgb(FULL), 1.0)])
    axes.imshow(figure.values, cmap=colours, vmin=0.0, vmax=1.0, interpolation="nearest")
    places = range(len(figure.labels))
    size = min(8.0, 200 / len(figure.labels))
    axes.set_xticks(places, figure.labels, rotation=90, fontsize=size)
    axes.set_yticks(places, figure.labels, fontsize=size)
    axes.tick_params(length=0)


def _draw_curves(axes: Any, figure: Figure) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for number, curve in enumerate(figure.curves):
        _draw_curve(axes, curve, SERIES[number % len(SERIES)])
    if figure.logarithmic:
        axes.set_yscale("log")
    places = sorted({place for curve in figure.curves for place in curve.x})
    if len(places) <= FEW:
        axes.set_xticks(places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    if axes.get_xlim()[1] >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(places=1 if len(places) <= FEW else None, sep=""))
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(figure.curves) > 1:
        axes.legend(frameon=False, borderaxespad=1.5)


def _draw_curve(axes: Any, curve: Any, colour: str) -> None:
    x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
    if len(x) > MOST_POINTS:
        parts = [(np.mean(a), np.mean(b), np.min(b), np.max(b)) for a, b in _stretches(x, y)]
        x, y, low, high = np.array(parts).T
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    elif curve.band is not None:
        axes.fill_between(x, *curve.band, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, y, color=colour, linewidth=1.6, marker="o" if curve.dots else None, markersize=4, label=curve.name)


def _stretches(x: Any, y: Any) -> Any:
    return zip(np.array_split(x, MOST_POINTS), np.array_split(y, MOST_POINTS), strict=True)


def _open(figure: Figure | Map) -> str:
    title = figure.title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\\", "")
    return (
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="\1" role="img" '
        f'aria-label="{title}">'
    )


def save(figure: Figure | Map, directory: Path, format: str) -> str:
    """Write a figure's file; returns its name."""
    name = f"{figure.name}.{format}"
    if format == "png":
        (directory / name).write_bytes(to_png(figure))
    else:
        (directory / name).write_text(to_svg(figure), encoding="utf-8")
    return name
