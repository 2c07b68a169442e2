"""Attention as a picture for papers: SVG, which every browser and LaTeX's converters read."""

from html import escape

from torch import Tensor

from tsumiki.interpret.trace import Trace

CELL, GAP, TITLE, FONT_SIZE = 14, 14, 18, 10
FONT = "'Noto Sans CJK JP', 'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', sans-serif"


def head_figure(trace: Trace, layer: int, head: int) -> str:
    """One head's weights: a row is a token that reads, a column one that is read. Layer and head count from 0."""
    size, margin = CELL * len(trace.ids), FONT_SIZE * max(map(len, trace.labels)) + GAP
    parts = [
        *(
            f'<text x="{margin - 4}" y="{margin + CELL * row + 11}" text-anchor="end">{escape(label)}</text>'
            f'<text transform="translate({margin + CELL * row + 11} {margin - 4}) rotate(-90)">{escape(label)}</text>'
            for row, label in enumerate(trace.labels)
        ),
        *cells(trace.attention[layer, head], margin, margin, CELL),
        f'<rect x="{margin}" y="{margin}" width="{size}" height="{size}" fill="none" stroke="#999"/>',
    ]
    return _svg(margin + size + GAP, margin + size + GAP, parts)


def all_heads_figure(trace: Trace, *, size: int = 120) -> str:
    """All heads beside each other, layers from top to bottom."""
    num_layers, num_heads = trace.attention.shape[:2]
    parts = []
    for layer in range(num_layers):
        for head in range(num_heads):
            x, y = GAP + head * (size + GAP), TITLE + layer * (size + TITLE + GAP)
            parts.append(f'<text x="{x}" y="{y - 4}">{layer + 1}.{head + 1}</text>')
            parts += cells(trace.attention[layer, head], x, y, size / len(trace.ids))
            parts.append(f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="none" stroke="#999"/>')
    return _svg(GAP + num_heads * (size + GAP), num_layers * (size + TITLE + GAP) + TITLE, parts)


def cells(weights: Tensor, x: float, y: float, size: float) -> list[str]:
    """A square for every weight of 1 % or more, the darker the larger it is."""
    return [
        f'<rect x="{x + size * key:.2f}" y="{y + size * query:.2f}" width="{size:.2f}" height="{size:.2f}" '
        f'fill="#1e5aaa" fill-opacity="{weight:.2f}"/>'
        for query, row in enumerate(weights.tolist())
        for key, weight in enumerate(row[: query + 1])
        if weight >= 0.01
    ]


def _svg(width: float, height: float, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="{FONT_SIZE}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
