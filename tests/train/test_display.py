"""The display: plain lines in a pipe, Japanese aligned by its width, nothing that a terminal would obey."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from tsumiki.train.display import Display, LiveDisplay, duration, make_display

FIGURES = {"loss": 3.4567, "tokens_per_second": 12345.6, "memory_bytes": 1.25e9, "tokens": {"ja": 7}}
EVALUATION = {
    "loss": 5.0,
    "bits_per_byte": {"en": 1.0671, "ja": 1.2774},
    "alarms": [],
    "samples": [
        {"prompt": "むかしむかし、", "temperature": 0.0, "text": "ある森に、小さな赤い傘が住んでいました。" * 9},
        {"prompt": "Once upon a time", "temperature": 1.0, "text": " there was\x1b[31m a\r fox.\n\nThe end [b]."},
    ],
}


def plain() -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    return Display(Console(file=file, width=100, no_color=True, highlight=False)), file


def test_plain_lines() -> None:
    display, file = plain()
    display.start(0, 2000)
    display.advance(119)
    display.figures(120, FIGURES, seconds_left=192.4)
    assert file.getvalue() == "step  120/2000  loss 3.457  12,346 tok/s  3:12 left  1.2 GB\n"


def test_an_alarm_is_a_warning() -> None:
    display, file = plain()
    display.evaluation(200, {**EVALUATION, "alarms": ["Too good."]})
    assert "\nWarning: Too good.\n" in file.getvalue()


def test_samples_align_by_the_width_of_their_characters() -> None:
    display, file = plain()
    display.evaluation(200, EVALUATION)
    first, *lines = file.getvalue().splitlines()
    assert first == "step 200: bits per byte en 1.067  ja 1.277  (validation loss 5.000)"
    assert len(lines) > 4
    assert all(cell_len(line) <= 100 for line in lines)
    columns = {cell_len(line) - cell_len(line.lstrip()) for line in lines if line.strip() and "temperature" not in line}
    starts = {cell_len(line[: line.index(word)]) for line in lines for word in ("むかしむかし", "Once") if word in line}
    assert columns == starts  # every line of a text begins below its first character
    assert len(starts) == 1


def test_a_text_cannot_command_the_terminal() -> None:
    display, file = plain()
    display.evaluation(200, EVALUATION)
    assert "Once upon a time there was[31m a fox. The end [b]." in file.getvalue()  # the last is no markup either
    assert "\x1b" not in file.getvalue()
    assert "\r" not in file.getvalue()


def test_live_bar_shows_the_figures() -> None:
    file = io.StringIO()
    display = LiveDisplay(Console(file=file, force_terminal=True, width=120, highlight=False))
    display.start(100, 2000)
    display.advance(120)
    display.figures(120, FIGURES, seconds_left=3725)
    display.evaluation(120, EVALUATION)
    display.close()
    assert "120/2000" in file.getvalue()
    assert "loss 3.457  12,346 tok/s  1:02:05 left  1.2 GB" in file.getvalue()


@pytest.mark.parametrize(
    ("terminal", "environment", "live"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_live_only_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], live: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert isinstance(make_display(), LiveDisplay) == live


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 61, 3600)] == ["0:00", "1:00", "1:01", "1:00:00"]
