"""Attention as pictures for papers: PNG by itself, and SVG with the tokens beside it."""

import base64
import struct
import zlib
from html import escape

import torch
from torch import Tensor

from tsumiki.interpret.trace import Trace

CELL, GAP, TITLE, FONT_SIZE = 14, 14, 18, 10
HEAD = 120
"""Width of one head among all, in the SVG's units."""
PIXELS = 512
"""At least as wide as this becomes a head in a PNG, so that viewers that smooth a picture do not blur its cells."""
FONT = "'Noto Sans CJK JP', 'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', sans-serif"


def head_png(trace: Trace, layer: int, head: int) -> bytes:
    """One head's weights: a row is a token that reads, a column one that is read. White is 0, black is 1.

    Layer and head count from 0.
    """
    weights = trace.attention[layer, head]
    scale = -(-PIXELS // len(weights))
    return png(weights.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1))


def png(darkness: Tensor) -> bytes:
    """A greyscale PNG file of numbers from 0, white, to 1, black (ISO/IEC 15948)."""
    height, width = darkness.shape
    grey = (255 * (1 - darkness.float().cpu())).round().to(torch.uint8)
    lines = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), grey], dim=1)  # a line begins with its filter, none
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.numpy().tobytes(), level=9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def head_figure(trace: Trace, layer: int, head: int) -> str:
    """One head's weights with the tokens at its sides, as SVG. Layer and head count from 0."""
    size, margin = CELL * len(trace.ids), FONT_SIZE * max(map(len, trace.labels)) + GAP
    parts = _picture(trace, layer, head, margin, margin, size)
    for row, label in enumerate(trace.labels):
        place = margin + CELL * row + FONT_SIZE
        parts.append(f'<text x="{margin - 4}" y="{place}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<text transform="translate({place} {margin - 4}) rotate(-90)">{escape(label)}</text>')
    return _svg(margin + size + GAP, margin + size + GAP, parts)


def all_heads_figure(trace: Trace) -> str:
    """All heads beside each other as SVG, layers from top to bottom, both counted from 1."""
    num_layers, num_heads = trace.attention.shape[:2]
    parts = []
    for layer in range(num_layers):
        for head in range(num_heads):
            x, y = GAP + head * (HEAD + GAP), TITLE + layer * (HEAD + TITLE + GAP)
            parts += [
                f'<text x="{x}" y="{y - 4}">{layer + 1}.{head + 1}</text>',
                *_picture(trace, layer, head, x, y, HEAD),
            ]
    return _svg(GAP + num_heads * (HEAD + GAP), num_layers * (HEAD + TITLE + GAP) + TITLE, parts)


def _picture(trace: Trace, layer: int, head: int, x: int, y: int, size: int) -> list[str]:
    place = f'x="{x}" y="{y}" width="{size}" height="{size}"'
    data = base64.b64encode(head_png(trace, layer, head)).decode()
    return [
        f'<image {place} style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>',
        f'<rect {place} fill="none" stroke="#999"/>',
    ]


def _svg(width: int, height: int, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONT}" font-size="{FONT_SIZE}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
