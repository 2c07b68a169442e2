"""An evaluation on the terminal: tables, in English or Japanese."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tsumiki.doctor.messages import Language, default_language
from tsumiki.evaluate.judge import CRITERIA
from tsumiki.evaluate.minimal_pairs import PARADIGMS

HEADINGS = {
    "bits": (
        "Bits per byte and per character, on text not trained on",
        "学習に使っていない文での bits per byte / 文字",
    ),
    "positions": ("Bits per byte by position in the window", "位置ごとの bits per byte"),
    "texts": ("Texts after the openings of held-out stories", "学習に使っていないおはなしの書き出しに続けた文"),
    "pairs": ("Minimal pairs: how often the right sentence is the likelier one", "最小対：正しい文のほうを選んだ割合"),
    "judge": ("The judge: marks from 0 to 100", "審査役の点数（0〜100）"),
}
COLUMNS = {
    "text": ("Text", "文"),
    "bits_per_byte": ("bits/byte", "bits/byte"),
    "bits_per_character": ("bits/character", "bits/文字"),
    "end": ("nats at the end", "終わりの nats"),
    "bytes": ("bytes", "バイト"),
    "position": ("Tokens", "トークン"),
    "metric": ("Metric", "指標"),
    "generated": ("{language}, model", "{language}・モデル"),
    "real": ("{language}, stories", "{language}・実物"),
    "rule": ("Rule", "規則"),
    "right": ("Right", "正答"),
    "interval": ("95 %", "95 %"),
    "unigram": ("Frequency", "頻度だけ"),
    "shortness": ("Length", "長さだけ"),
    "all": ("all", "全体"),
    "originality": ("originality", "独創性"),
    "coherence": ("coherence", "一貫性"),
    "grammar": ("grammar", "文法"),
    "quality": ("quality", "できばえ"),
    "texts": ("texts", "文の数"),
}
WRITERS = {
    "model": ("the model", "モデル"),
    "real": ("the story itself", "実物"),
    "shuffled": ("the story, shuffled", "並べ替えた実物"),
}
METRICS = {
    "distinct_1": ("different words (characters)", "異なり率"),
    "distinct_2": ("  of two", "  二つ組"),
    "distinct_3": ("  of three", "  三つ組"),
    "distinct_4": ("  of four", "  四つ組"),
    "self_bleu": ("self-BLEU, likeness of the texts", "self-BLEU（文どうしの近さ）"),
    "compression_ratio": ("compression ratio", "圧縮率"),
    "repetition_4": ("repetition within a text", "文の中のくり返し"),
    "longest_repeated": ("  longest repeated span", "  最長のくり返し"),
    "memorised": ("passages that stand in the training text", "学習文にもある部分の割合"),
    "longest_copied": ("  longest of them", "  その最長"),
    "unclosed": ("texts with an unclosed bracket or quote", "かっこの閉じ忘れ"),
    "script_mixing": ("letters of another script", "ほかの文字の混入"),
    "ended": ("texts that end by themselves", "自分で終わった文"),
    "invalid_utf8": ("bytes that are no UTF-8", "UTF-8 でないバイト"),
}
SHARES = ("repetition_4", "memorised", "unclosed", "script_mixing", "ended", "invalid_utf8")
TOLD_APART = (
    "A classifier tells the model's texts from real ones in {value:.0%} of cases ({low:.0%} to {high:.0%}; {language}, "
    "{texts} texts). At 50 % it cannot.",
    "分類器がモデルの文を実物と見分けた割合：{value:.0%}（{low:.0%}〜{high:.0%}、{language}、{texts} 文）。"
    "50 % なら見分けられていません。",
)


def render(figures: Mapping[str, Any], console: Console, language: Language | None = None) -> None:
    """Print an evaluation; in the locale's language if none is given."""
    chosen = language or default_language()
    checkpoint = figures["checkpoint"]
    console.print(f"{checkpoint['path']}  ({checkpoint['parameters']:,})")
    _print(console, chosen, "bits", _bits(figures["bits_per_byte"], chosen))
    _print(console, chosen, "positions", _positions(figures["bits_per_byte"]["positions"], chosen))
    if figures["texts"]:
        _print(console, chosen, "texts", _texts(figures["texts"], chosen))
        for name, texts in figures["texts"].items():
            if "told_apart" in texts:
                console.print(TOLD_APART[chosen == "ja"].format(language=name, **texts["told_apart"]))
    if "minimal_pairs" in figures:
        _print(console, chosen, "pairs", _pairs(figures["minimal_pairs"], chosen))
    if "judge" in figures:
        _print(console, chosen, "judge", _marks(figures["judge"], chosen))


def _print(console: Console, language: Language, heading: str, table: Table) -> None:
    console.print()
    console.print(HEADINGS[heading][language == "ja"], style="bold")
    console.print(table)


def _table(language: Language, columns: Iterable[str], **names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        title = COLUMNS[column][language == "ja"] if column in COLUMNS else column
        table.add_column(title.format(**names), justify="left" if number == 0 else "right", overflow="fold")
    return table


def _bits(bits: Mapping[str, Any], language: Language) -> Table:
    table = _table(language, ("text", "bits_per_byte", "bits_per_character", "end", "bytes"))
    for style, rows in (("bold", bits["languages"]), (None, bits["sources"])):
        for name, row in rows.items():
            numbers = (row["bits_per_byte"], row["bits_per_character"], row["end_of_text_nats"])
            table.add_row(name, *(f"{number:.3f}" for number in numbers), f"{row['bytes']:,}", style=style)
    return table


def _positions(positions: Mapping[str, Any], language: Language) -> Table:
    table = _table(language, ("position", *positions))
    for buckets in zip(*positions.values(), strict=True):
        if any(bucket["num_tokens"] for bucket in buckets):
            place = f"{buckets[0]['start']}-{buckets[0]['stop'] - 1}"
            table.add_row(place, *(_number(bucket["bits_per_byte"]) for bucket in buckets))
    return table


def _texts(texts: Mapping[str, Any], language: Language) -> Table:
    table = _table(language, ("metric",))
    for name in texts:
        for kind in ("generated", "real"):
            table.add_column(COLUMNS[kind][language == "ja"].format(language=name), justify="right")
    for metric, titles in METRICS.items():
        cells = [texts[name][kind].get(metric) for name in texts for kind in ("generated", "real")]
        if any(cell is not None for cell in cells):
            table.add_row(titles[language == "ja"], *(_number(cell, share=metric in SHARES) for cell in cells))
    return table


def _pairs(pairs: Mapping[str, Any], language: Language) -> Table:
    rules = {paradigm.name: (paradigm.rule, paradigm.rule_ja) for paradigm in PARADIGMS}
    table = _table(language, ("rule", "right", "interval", "unigram", "shortness"))
    for of_language, total in pairs["languages"].items():
        name = f"{of_language}, {COLUMNS['all'][language == 'ja']}"
        table.add_row(name, f"{total['accuracy']:.1%}", _interval(total), style="bold")
        for row in pairs["paradigms"]:
            if row["language"] == of_language:
                controls = (f"{row[control]:.0%}" for control in ("unigram", "shortness"))
                rule = rules[row["name"]][language == "ja"]
                table.add_row(f"  {rule}", f"{row['accuracy']:.1%}", _interval(row), *controls)
    return table


def _marks(judge: Mapping[str, Any], language: Language) -> Table:
    table = _table(language, ("text", *CRITERIA, "texts"))
    for of_language, kinds in judge["languages"].items():
        for kind, marks in kinds.items():
            name = f"{of_language}, {WRITERS[kind][language == 'ja']}"
            table.add_row(name, *(f"{marks[criterion]:.1f}" for criterion in CRITERIA), str(marks["texts"]))
    return table


def _interval(row: Mapping[str, float]) -> str:
    return f"{row['low']:.0%}-{row['high']:.0%}"


def _number(value: float | None, *, share: bool = False) -> str:
    if value is None or math.isnan(value):
        return "-"
    if share:
        return f"{value:.1%}"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
