"""The page says what the code does: every paradigm with an example, every metric, and an example that runs."""

import re
from pathlib import Path

import pytest

from tsumiki.evaluate import judge
from tsumiki.evaluate.minimal_pairs import PARADIGMS
from tsumiki.evaluate.terminal import METRICS

PAGES = Path(__file__).parents[2] / "docs"

every_language = pytest.mark.parametrize("language", ["en", "ja"])


def page(language: str) -> str:
    return (PAGES / language / "evaluation.md").read_text(encoding="utf-8")


@every_language
def test_every_paradigm_is_listed_with_its_first_pair(language: str) -> None:
    expected = [
        f"| `{paradigm.name}` | {paradigm.rule if language == 'en' else paradigm.rule_ja} "
        f"| {paradigm.pairs[0].good} | \\* {paradigm.pairs[0].bad} |"
        for paradigm in PARADIGMS
    ]
    assert [line for line in page(language).splitlines() if "\\*" in line] == expected


@every_language
def test_every_metric_is_explained(language: str) -> None:
    text = page(language)
    named = set(re.findall(r"`(\w+)`", text)) | {"distinct_2", "distinct_3"}  # the page writes "..." for these
    assert set(METRICS) <= named
    assert "told_apart" in named
    for variable in (judge.BASE_URL, judge.MODEL, judge.API_KEY):
        assert f"`{variable}`" in text


@every_language
def test_the_python_example_runs(language: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", page(language), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(run.parent)
    exec(compile(example.replace("runs/demo", run.name), "evaluation.md", "exec"), {})
