"""The report in a browser: it says nothing on the console, asks the network for nothing, and is light or dark.

Needs Chromium; run with `pytest -m browser`.
"""

import json
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from tsumiki.compare import Comparison, comparison_report, summarise
from tsumiki.report import LANGUAGES
from tsumiki.report.html import to_html

pytestmark = pytest.mark.browser

PLANTED = """<!DOCTYPE html><link rel="icon" href="data:,">
<script>console.error("planted")</script><img src="http://planted.invalid/x.png">"""


def look_at(page: str, directory: Path) -> tuple[list[str], list[str], Path]:
    """What a page says on the console, what it asks the network for, and a picture of it."""
    file, log, picture = directory / "page.html", directory / "net.json", directory / "page.png"
    file.write_text(page, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1200,900"]
    options += [f"--log-net-log={log}", f"--screenshot={picture}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    result = subprocess.run(
        ["chromium", *options, file.as_uri()], check=True, timeout=60, capture_output=True, encoding="utf-8"
    )
    console = [line for line in result.stderr.splitlines() if ":CONSOLE:" in line]
    events = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    # What Chromium asks for itself comes from no origin.
    asked = [event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"]
    return console, asked, picture


def test_the_look_sees_what_a_page_does(tmp_path: Path) -> None:
    console, asked, _ = look_at(PLANTED, tmp_path)
    assert '"planted"' in console[0]
    assert asked == ["http://planted.invalid/x.png"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_silent_and_light_or_dark(planted: Comparison, tmp_path: Path, language: str, theme: str) -> None:
    summary = summarise(planted)
    page = to_html({name: comparison_report(planted, summary, name) for name in LANGUAGES}, language)
    page = page.replace('id="theme-auto" checked', 'id="theme-auto"')
    page = page.replace(f'id="theme-{theme}"', f'id="theme-{theme}" checked')
    console, asked, picture = look_at(page, tmp_path)
    assert console == []
    assert asked == []
    pixels = imread(picture)[..., :3]
    assert (pixels[5, 5].mean() > 0.9) == (theme == "light")
    assert pixels.std() > 0.05, "there is something on it"
