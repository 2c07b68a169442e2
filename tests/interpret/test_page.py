"""The page says what the code does: files, scores, tensors and their axes, and an example that runs."""

import re
from pathlib import Path

import pytest

from tsumiki.interpret.terminal import TITLES
from tsumiki.interpret.trace import AXES

PAGES = Path(__file__).parents[2] / "docs"

every_language = pytest.mark.parametrize("language", ["en", "ja"])


def page(language: str) -> str:
    return (PAGES / language / "inspect.md").read_text(encoding="utf-8")


@every_language
def test_every_tensor_is_listed_with_its_axes(language: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", page(language), re.MULTILINE)
    assert {name: tuple(axes.split(", ")) for name, axes in rows if name in AXES} == AXES


@every_language
def test_every_score_is_explained(language: str) -> None:
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page(language), re.MULTILINE)))
    assert set(TITLES) <= set(named)


@every_language
def test_the_python_example_runs(language: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", page(language), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(run.parent)
    exec(compile(example.replace("runs/demo", run.name), "inspect.md", "exec"), {})
