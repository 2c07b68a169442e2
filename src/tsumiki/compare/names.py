"""What the figures are called, in English and Japanese."""

from tsumiki.compare.summary import JUDGED

UNITS = {
    JUDGED: ("bits per byte", "ビット／バイト"),
    "bits_per_character": ("bits per character", "ビット／文字"),
    "loss": ("loss, nats a token", "損失（nat／トークン）"),
}
"""What the figures are measured in."""


def title(name: str, ja: bool) -> str:
    """What a figure is called."""
    unit, _, language = name.partition(".")
    text = UNITS[unit][ja]
    return text if unit == "loss" else f"{text}, {language or ('平均' if ja else 'mean')}"
