"""A training's losses as an SVG, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 24, 40
"""Margins."""


def loss_curve(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The training loss as a line and the validation loss as dots, in nats a token, over the steps."""
    train = [(line["step"], line["loss"]) for line in metrics if line["kind"] == "train"]
    validation = [(line["step"], line["loss"]) for line in metrics if line["kind"] == "evaluation"]
    points = train + validation
    last = max(step for step, _ in points)
    low = math.floor(min(loss for _, loss in points))
    high = math.ceil(max(loss for _, loss in points)) + (low == max(loss for _, loss in points))

    def x(step: float) -> float:
        return round(LEFT + step / max(last, 1) * (WIDTH - LEFT - RIGHT), 1)

    def y(loss: float) -> float:
        return round(TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for loss in range(low, high + 1):
        parts.append(f'<path d="M{LEFT} {y(loss)}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(loss) + 4}" text-anchor="end">{loss}</text>')
    for step in (0, last // 2, last):
        parts.append(f'<text x="{x(step)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step}</text>')
    line = " ".join(f"{x(step)},{y(loss)}" for step, loss in train)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>')
    parts.extend(f'<circle cx="{x(step)}" cy="{y(loss)}" r="4" fill="#d1242f"/>' for step, loss in validation)
    parts.append(f'<text x="{LEFT}" y="14">loss, nats a token: line = training, dots = validation</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
