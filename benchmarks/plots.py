"""Pictures of what the benchmarks measured, as SVG and PNG, in English and Japanese.

    python benchmarks/plots.py --curve CPU/curve.json GPU/curve.json --out docs
    python benchmarks/plots.py --speeds CPU/batch1.json GPU/batch1.json GPU/batch64.json --out docs
    python benchmarks/plots.py --grow figures/train/grow.json --out docs

`--curve` and `--speeds` take what benchmarks/generate.py wrote, a panel a file; `--grow` what benchmarks/train.py
wrote, a line a file. The pictures are `cache`, `speeds` and `growth` in OUT/en/figures and OUT/ja/figures.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from tsumiki.report.figures import FONTS, GRID, INK, SERIES, SET_WITH, japanese_font

Facts = Mapping[str, Any]

THOUSANDS = StrMethodFormatter("{x:,.0f}")

JAPANESE = {
    "no cache, compiled": "キャッシュなし、コンパイル",
    "no cache, eager": "キャッシュなし、逐次実行",
    "cache, captured": "キャッシュあり、CUDAグラフ",
    "cache, compiled": "キャッシュあり、コンパイル",
    "cache, eager": "キャッシュあり、逐次実行",
    "what memory allows": "メモリ帯域による上限",
    "tokens of context": "文脈のトークン数",
    "tokens a second": "トークン／秒",
    "cache, MB": "キャッシュ、MB",
    "counted": "計算値",
    "allocated": "確保された量",
    "context": "文脈長（トークン）",
    "parameters": "パラメータ数",
    "batch": "バッチサイズ",
    "training memory, GB": "学習時のメモリ、GB",
    "KV cache or none, one text": "KVキャッシュの有無（1文）",
    "How fast texts are written": "文章生成の速度",
    "How training grows": "学習の速度とメモリ",
    "1 text": "1文",
    "64 texts": "64文",
    " captured": " CUDAグラフ",
    " compiled": " コンパイル",
    " eager": " 逐次実行",
    " dynamic": " 動的キャッシュ",
    " static": " 静的キャッシュ",
}
"""What stands in the pictures, longer phrases first: names of writers are put together from these."""


def in_english(text: str) -> str:
    return text


def in_japanese(text: str) -> str:
    for english, japanese in JAPANESE.items():
        text = text.replace(english, japanese)
    return text


Translate = Callable[[str], str]


def draw_curves(figure: Figure, files: Sequence[Facts], say: Translate) -> None:
    """Tokens a second with and without cache at growing lengths, and what the cache takes; a column a file."""
    figure.set_size_inches(5 * len(files), 6.4)
    figure.suptitle(say("KV cache or none, one text"))
    panels = figure.subplots(2, len(files), squeeze=False, height_ratios=(2, 1), sharex=True)
    for (speed, memory), facts in zip(panels.T, files, strict=True):
        points = facts["points"]
        lengths = [point["length"] for point in points]
        for number, name in enumerate(points[0]["tokens_per_second"]):
            values = [point["tokens_per_second"][name] for point in points]
            speed.plot(lengths, values, marker="o", markersize=4, color=SERIES[number], label=say(name))
        bounds = [point["bound_tokens_per_second"] for point in points]
        speed.plot(lengths, bounds, color=INK, linestyle="--", label=say("what memory allows"))
        speed.set(title=described(facts), yscale="log", ylabel=say("tokens a second"))
        speed.legend(frameon=False, fontsize="small")
        counted = [point["cache_bytes_counted"] / 1e6 for point in points]
        allocated = [point["cache_bytes_allocated"] / 1e6 for point in points]
        memory.plot(lengths, counted, color=SERIES[0], label=say("counted"))
        memory.plot(lengths, allocated, "x", color=SERIES[1], label=say("allocated"))
        memory.set(xlabel=say("tokens of context"), ylabel=say("cache, MB"), xscale="log", yscale="log")
        memory.set_xticks(lengths, [f"{length:,}" for length in lengths])
        memory.minorticks_off()
        memory.legend(frameon=False, fontsize="small")


def draw_speeds(figure: Figure, files: Sequence[Facts], say: Translate) -> None:
    """A bar a writer, the fastest on top, and how much of the bound it reaches; a panel a file."""
    rows = [len(facts["speeds"]) for facts in files]
    figure.set_size_inches(8, 1.2 + sum(0.32 * each + 0.6 for each in rows))
    figure.suptitle(say("How fast texts are written"))
    panels = figure.subplots(len(files), 1, squeeze=False, height_ratios=[each + 1 for each in rows])[:, 0]
    for panel, facts in zip(panels, files, strict=True):
        speeds = {name: speed["tokens_per_second"] for name, speed in facts["speeds"].items()}
        limit = facts["bound_tokens_per_second"]
        names = sorted(speeds, key=speeds.__getitem__)
        ours = [SERIES[0] if name.startswith("tsumiki") else SERIES[1] for name in names]
        bars = panel.barh([say(name) for name in names], [speeds[name] for name in names], color=ours)
        labels = [f"{speeds[name]:,.0f} ({speeds[name] / limit:.1%})" for name in names]
        panel.bar_label(bars, labels, padding=4, fontsize="small")
        panel.axvline(limit, color=INK, linestyle="--", linewidth=1)
        above = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "bottom", "fontsize": "small"}
        panel.annotate(f"{say('what memory allows')} {limit:,.0f}", (limit, 1), **above)
        num_texts = next(iter(facts["speeds"].values()))["rows"]
        texts = say("1 text" if num_texts == 1 else f"{num_texts} texts")
        panel.set_title(f"{described(facts)}, {texts}", loc="left", pad=18)
        panel.set_xlim(0, 1.15 * max(limit, *speeds.values()))
        panel.xaxis.set_major_formatter(THOUSANDS)
        panel.grid(visible=False, axis="y")
    panels[-1].set_xlabel(say("tokens a second"))


GROWTH = (("tokens_per_second", "tokens a second", 1), ("memory_bytes", "training memory, GB", 1e9))
"""Figures of benchmarks/train.py, what they are called, and in which units they are drawn."""


def draw_growth(figure: Figure, files: Sequence[Facts], say: Translate) -> None:
    """Speed and memory of training against context, parameters and batch; a line a file."""
    axes = list(dict.fromkeys(point["axis"] for facts in files for point in facts["points"]))
    figure.set_size_inches(4 * len(axes), 6)
    figure.suptitle(say("How training grows"))
    panels = figure.subplots(2, len(axes), squeeze=False, sharex="col")
    for column, axis in enumerate(axes):
        ticks: dict[int, str] = {}
        for number, facts in enumerate(files):
            points = [point for point in facts["points"] if point["axis"] == axis and point["speed"] is not None]
            places = [
                point["speed"]["parameters"] if axis == "parameters" else point["shape"][axis] for point in points
            ]
            names = [short(place) if axis == "parameters" else f"{place:,}" for place in places]
            ticks.update(zip(places, names, strict=True))
            for row, (figures, _, unit) in enumerate(GROWTH):
                values = [point["speed"][figures] / unit for point in points]
                panels[row, column].plot(places, values, "o-", color=SERIES[number], label=str(facts["device"]))
        for row, (_, what, _) in enumerate(GROWTH):
            panels[row, column].set(xscale="log", ylabel=say(what) if column == 0 else "")
            panels[row, column].set_xticks(list(ticks), list(ticks.values()))
            panels[row, column].minorticks_off()
            panels[row, column].set_ylim(0, 1.1 * panels[row, column].dataLim.y1)
            panels[row, column].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        panels[1, column].set_xlabel(say(axis))
    panels[0, 0].legend(frameon=False, fontsize="small")


def described(facts: Facts) -> str:
    """The device, the model's size and its precision."""
    return f"{facts['device']}, {short(facts['parameters'])}, {facts['dtype']}"


def short(number: int) -> str:
    """A number of parameters in millions."""
    return f"{number / 1e6:.1f}M"


def save(draw: Callable[[Figure, Sequence[Facts], Translate], None], files: Sequence[Facts], path: Path) -> None:
    """Draw, and write an SVG, whose text the reader's own font sets, and a PNG, in both languages."""
    ours = {
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "svg.fonttype": "none",
        "svg.hashsalt": path.name,
        "savefig.dpi": 150,
    }
    for language, say in (("en", in_english), ("ja", in_japanese)):
        directory = path.parent / language / "figures"
        directory.mkdir(parents=True, exist_ok=True)
        font = SET_WITH if language == "en" else japanese_font()
        with style.context(["default", {**ours, "font.family": [font]}]):
            figure = Figure(layout="constrained")
            draw(figure, files, say)
            picture = directory / f"{path.name}.svg"
            figure.savefig(picture, metadata={"Date": None})
            figure.savefig(picture.with_suffix(".png"))
        content = picture.read_text(encoding="utf-8")
        picture.write_text(content.replace(f"'{font}'", FONTS), encoding="utf-8")
        print(f"-> {picture} and .png", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pictures = {
        "curve": ("cache", draw_curves),
        "speeds": ("speeds", draw_speeds),
        "grow": ("growth", draw_growth),
    }
    for option in pictures:
        parser.add_argument(f"--{option}", type=Path, nargs="+", default=[], metavar="JSON")
    parser.add_argument("--out", type=Path, required=True, help="the directory that holds en/ and ja/")
    arguments = parser.parse_args()
    for option, (name, draw) in pictures.items():
        paths = getattr(arguments, option)
        if paths:
            save(draw, [json.loads(path.read_text(encoding="utf-8")) for path in paths], arguments.out / name)


if __name__ == "__main__":
    main()
