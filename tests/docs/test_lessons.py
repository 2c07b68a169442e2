"""The lessons run, and every part of them speaks both languages."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "lessons").glob("*.py"))

every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)


@every_lesson
def test_a_lesson_runs_and_what_it_claims_holds(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        runpy.run_path(str(lesson), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 10
    assert re.search(r"^ *assert ", lesson.read_text(encoding="utf-8"), re.MULTILINE), "a lesson checks what it says"


@every_lesson
def test_every_section_has_a_title_and_a_line_of_japanese(lesson: Path) -> None:
    introduction, *sections = re.split(r"^# %% ", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert f"lessons/{lesson.name}" in introduction
    assert len(sections) >= 3
    for section in sections:
        title, *lines = section.splitlines()
        comments = [line for line in lines if line.startswith("# ")]
        assert any(re.search(r"[ぁ-んァ-ヶ]", line) for line in comments), title


def test_the_lessons_are_numbered() -> None:
    assert [lesson.name[:3] for lesson in LESSONS] == [f"{number:02}_" for number in range(1, len(LESSONS) + 1)]
