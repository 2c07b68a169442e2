"""The report of a run: what stands in it, that it needs nothing from outside, and that no glyph is missing."""

import json
import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tsumiki.doctor import History, diagnose, read_history, to_json
from tsumiki.doctor.patients import MODERN
from tsumiki.errors import UserError
from tsumiki.models import build_model
from tsumiki.report import LANGUAGES, Curve, Figure, Figures, Map, Section, Table, figures, run_report, write_markdown
from tsumiki.report.html import section, to_html

RECORDED = Path(__file__).parents[1] / "doctor" / "recorded"
TEXT = '<b>むかし & "むかし"</b>'

MakeHistory = Callable[..., History]


@pytest.fixture
def history(tmp_path: Path) -> MakeHistory:
    """A recorded run, with samples and a receipt."""

    def make(name: str = "normal", change: Callable[[dict[str, Any]], None] = lambda run: None) -> History:
        run = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
        for line in run["metrics"]:
            if line["kind"] == "evaluation":
                line["samples"] = [
                    {"prompt": "Once", "temperature": t, "text": f"{TEXT}{line['step']}"} for t in (0.0, 1.0)
                ]
        change(run)
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.yaml").write_text(yaml.safe_dump(run["config"]), encoding="utf-8")
        (directory / "manifest.json").write_text(json.dumps(run["manifest"]), encoding="utf-8")
        lines = [json.dumps(line) + "\n" for line in run["metrics"]]
        (directory / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
        if run["manifest"]["sessions"][0]["doctor"] == "passed":
            receipt = to_json(diagnose(build_model(MODERN), checks=["causality", "cache"]))
            (directory / "doctor.json").write_text(json.dumps(receipt), encoding="utf-8")
        return read_history(directory)

    return make


class Tags(HTMLParser):
    """Notes every tag with its attributes, and that tags are closed in the order in which they were opened."""

    VOID = ("meta", "link", "input", "br", "path", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def page_of(history: History) -> str:
    return to_html({language: run_report(history, language) for language in LANGUAGES}, "en")


def test_a_report_says_first_what_a_reader_wants_to_know(history: MakeHistory) -> None:
    report = run_report(history())
    first = section(report.sections[0])
    assert report.sections[0].title == "In short"
    for fact in (
        "Verified: 2 checks passed",
        "988,544 parameters",
        "1,200 steps",
        "bits per byte, en",
        "1.929",
        "1.505",
    ):
        assert fact in first, fact


def test_a_report_is_one_page_that_needs_nothing_from_outside(history: MakeHistory) -> None:
    page = page_of(history())
    tags = Tags(page)
    assert tags.open == []
    names = [tag for tag, _ in tags.seen]
    assert names.count("svg") == 2 * 8
    assert not {"script", "img", "iframe", "object"} & set(names)
    links = [value for _, attributes in tags.seen for key, value in attributes.items() if key in ("src", "href")]
    assert {link for link in links if not str(link).startswith("#")} == {"data:,"}
    assert not re.search(r"@import|url\((?!#)", page)


def test_ids_occur_once_and_every_reference_has_its_target(history: MakeHistory) -> None:
    page = page_of(history())
    ids = [attributes["id"] for _, attributes in Tags(page).seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page)) <= set(ids)


def test_both_languages_and_both_themes_can_be_chosen(history: MakeHistory) -> None:
    page = page_of(history())
    chosen = [attributes for tag, attributes in Tags(page).seen if tag == "input"]
    assert [one["id"] for one in chosen] == ["language-en", "language-ja", "theme-auto", "theme-light", "theme-dark"]
    assert [one["id"] for one in chosen if "checked" in one] == ["language-en", "theme-auto"]
    for word in ("The doctor: before training", "ドクター：学習の前", "未来は見えない", "light-dark("):
        assert word in page
    assert "@media print" in page


def test_what_a_model_wrote_is_text_and_no_markup(history: MakeHistory) -> None:
    page = page_of(history())
    assert TEXT not in page
    assert "&lt;b&gt;むかし &amp; &quot;むかし&quot;&lt;/b&gt;1200" in page


def test_a_skipped_doctor_stands_in_red_at_the_top(history: MakeHistory) -> None:
    page = page_of(history("leaking"))
    english = page[page.index('<article lang="en">') :]
    assert english.index('class="banner bad">NOT EXAMINED') < english.index("<table>")
    assert "Too good too early" in english
    assert 'class="banner bad">未検査' in page
    assert '<tr class="bad">' in english[english.index("To repeat it") :]


def test_an_unfinished_run_says_so(history: MakeHistory) -> None:
    def change(run: dict[str, Any]) -> None:
        run["metrics"] = run["metrics"][:12]

    assert "Not finished: 400 of 1,200 steps." in page_of(history(change=change))


def test_a_run_without_evaluations_has_a_report(history: MakeHistory) -> None:
    def change(run: dict[str, Any]) -> None:
        run["metrics"] = [line for line in run["metrics"] if line["kind"] == "train"]

    assert "It was not evaluated yet." in page_of(history(change=change))


def test_everything_to_repeat_the_run_is_there(history: MakeHistory) -> None:
    last = section(run_report(history()).sections[-1])
    for fact in ("learning_rate: 0.004", "numpy", "AVX", "vocab_size: 2048"):
        assert fact in last, fact


FIGURE = Figure("bits", "検証用の文", "トークン", "ビット／バイト", [Curve("英語", [0, 1, 2], [3, 2, 1], dots=True)])


def test_the_text_of_an_svg_stays_text_in_a_font_of_the_reader() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = figures.to_svg(FIGURE)
    for text in ("検証用の文", "トークン", "ビット／バイト"):
        assert f">{text}</text>" in svg
    fonts = re.findall(r"font(?:-family)?: (?:[\d.]+px )?([^;\"]+)", svg)
    assert len(fonts) > 5
    assert set(fonts) == {figures.FONTS}


def test_no_glyph_is_missing_in_a_png() -> None:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of every glyph that it lacks
        png = figures.to_png(FIGURE)
    assert png.startswith(b"\x89PNG")
    font = FT2Font(findfont(FontProperties(family=figures.japanese_font()), fallback_to_default=False))
    source = (Path(figures.__file__).with_name("run.py")).read_text(encoding="utf-8")
    japanese = set(re.findall(r"[\u3000-\u9fff\uff00-\uffef]", source))
    assert len(japanese) > 100
    assert [character for character in sorted(japanese) if font.get_char_index(ord(character)) == 0] == []


def test_a_png_without_a_font_for_japanese_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "JAPANESE", ())
    with pytest.raises(
        UserError, match=r"No font with Japanese glyphs is installed, .* pip install 'tsumiki\[fonts\]'"
    ):
        figures.to_png(FIGURE)


def test_a_long_curve_keeps_its_extremes() -> None:
    values = [2.0] * 5000
    values[2500] = 9.0
    long = Figure("long", "Loss", "steps", "nats", [Curve("training", range(5000), values)])
    short = Figure("long", "Loss", "steps", "nats", [Curve("training", range(5000), [2.0] * 5000)])
    assert len(figures.to_svg(long)) < 60_000
    assert ">9</text>" in figures.to_svg(long)
    assert ">9</text>" not in figures.to_svg(short)


def test_a_band_reaches_from_the_lowest_to_the_highest_run() -> None:
    def svg(band: tuple[list[float], list[float]] | None) -> str:
        return figures.to_svg(Figure("band", "Loss", "steps", "nats", [Curve("arm", [0, 1], [2.0, 2.0], band=band)]))

    with_band, without = svg(([1.0, 1.0], [9.0, 9.0])), svg(None)
    assert ">8</text>" in with_band
    assert "opacity: 0.2" in with_band
    assert ">8</text>" not in without
    assert "opacity: 0.2" not in without


def test_a_map_is_drawn_with_its_labels() -> None:
    labels = ["‹end›", "むかし", "␣a"]
    drawn = Map(
        "map", "1.2", "読まれるトークン", "読むトークン", labels, [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]
    )
    svg = figures.to_svg(drawn)
    assert all(svg.count(f">{label}</text>") == 2 for label in labels)
    assert 'href="data:image/png;base64,' in svg
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figures.to_png(drawn).startswith(b"\x89PNG")


def test_sections_of_any_report_are_made_of_the_same_parts() -> None:
    arms = Figure("arms", "Loss", "tokens", "nats", [Curve(f"arm {n}", [0, 1], [n, n / 2]) for n in range(8)])
    part = section(Section("Arms", [Table(("arm", "loss"), [("a", "1.0")], numbers=(1,)), Figures([arms])]))
    assert "<td class=number>1.0</td>" in part
    assert all(f">arm {number}</text>" in part for number in range(8))


def test_markdown_has_its_figures_beside_it(history: MakeHistory, tmp_path: Path) -> None:
    path = tmp_path / "out" / "run.md"
    write_markdown(run_report(history(), "ja"), path, figures="png")
    text = path.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 8
    assert all((path.parent / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert text.startswith("# tsumiki: gpt-oss-1m\n\n## 要点\n")
    assert "| --- | ---: |" in text
