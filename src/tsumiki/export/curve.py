"""A training's curves as SVGs, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 24, 40
"""Margins."""

COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")

Points = Sequence[tuple[int, float]]


def loss_curve(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The training loss as a line and the validation loss as dots, in nats a token, over the steps."""
    train = [(line["step"], line["loss"]) for line in metrics if line["kind"] == "train"]
    validation = [(line["step"], line["loss"]) for line in metrics if line["kind"] == "evaluation"]
    return _chart("loss, nats a token: line = training, dots = validation", {"": train}, validation)


def bits_curve(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Bits per byte of the held-out text over the steps, a line for each language."""
    evaluations = [line for line in metrics if line["kind"] == "evaluation"]
    languages = evaluations[-1]["bits_per_byte"]
    lines = {name: [(line["step"], line["bits_per_byte"][name]) for line in evaluations] for name in languages}
    return _chart("bits per byte of held-out text", lines, [])


def _chart(title: str, lines: Mapping[str, Points], dots: Points) -> str:
    """Lines with their names at their ends, and dots."""
    points = [point for line in (*lines.values(), dots) for point in line]
    last = max(step for step, _ in points)
    low = math.floor(min(value for _, value in points))
    high = math.ceil(max(value for _, value in points)) + (low == max(value for _, value in points))

    def x(step: float) -> float:
        return round(LEFT + step / max(last, 1) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in range(low, high + 1):
        parts.append(f'<path d="M{LEFT} {y(value)}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value}</text>')
    for step in (0, last // 2, last):
        parts.append(f'<text x="{x(step)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step}</text>')
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        path = " ".join(f"{x(step)},{y(value)}" for step, value in line)
        end = f'x="{x(line[-1][0])}" y="{y(line[-1][1]) - 6}" text-anchor="end"'
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text {end} fill="{colour}">{name}</text>')
    parts.extend(f'<circle cx="{x(step)}" cy="{y(value)}" r="4" fill="{COLOURS[1]}"/>' for step, value in dots)
    parts.append(f'<text x="{LEFT}" y="14">{title}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
