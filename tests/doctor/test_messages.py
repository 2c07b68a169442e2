"""What the doctor says, in both languages."""

import io
import re
import string
from pathlib import Path

import pytest
from rich.console import Console

from tsumiki.doctor import Verdict, diagnose, render, sentence
from tsumiki.doctor.checks import MODEL_CHECKS, PIPELINE_CHECKS
from tsumiki.doctor.curves import CURVE_CHECKS
from tsumiki.doctor.messages import SENTENCES, TITLES, default_language
from tsumiki.doctor.mutations import MUTATIONS
from tsumiki.doctor.patients import healthy

SOURCE = Path(__file__).parents[2] / "src" / "tsumiki" / "doctor"
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def printed(name: str | None, language: str) -> str:
    patient = healthy("classic")
    if name is not None:
        MUTATIONS[name].plant(patient)
    out = io.StringIO()
    render(diagnose(patient.model), Console(file=out, width=160), language)
    return out.getvalue()


def test_every_check_has_a_title_and_says_what_it_finds_and_how_it_can_miss() -> None:
    checks = (*MODEL_CHECKS, *PIPELINE_CHECKS, *CURVE_CHECKS)
    assert set(TITLES) == {check.name for check in checks}
    for check in checks:
        text = check.run.__doc__ or ""
        assert "Misses" in text, check.name
        assert "Finds" in text or check.name in ("accumulation", "causality_everywhere", "held_out"), check.name


def test_both_languages_use_the_same_figures() -> None:
    for code, (english, japanese) in SENTENCES.items():
        fields = [{field for _, field, _, _ in string.Formatter().parse(text) if field} for text in (english, japanese)]
        assert fields[0] == fields[1], code
        assert JAPANESE.search(japanese), code
        assert not JAPANESE.search(english), code


def test_every_code_that_is_used_has_a_sentence() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    used = set(re.findall(r'(?:failed|warned|skipped|passed_as)\(\s*"(\w+)"', text))
    used |= {"past_ignored", "previous_token_ignored", "future_seen", "future_seen_in_training", "passed"}
    used |= {
        f"no_{question}"
        for questions in re.findall(r"needs=\(([^)]*)\)", text)
        for question in re.findall(r"\w+", questions)
    }
    assert used - {"no_tokenizer"} == set(SENTENCES)


def test_a_failure_says_what_where_and_why() -> None:
    verdict = Verdict(
        "failed", "future_seen", {"cut": 4, "first": 1, "last": 4, "change": 0.25, "where": "layers.3.attention"}
    )
    assert sentence(verdict) == (
        "The model sees the future: rewriting only the tokens after position 4 moved the logits at positions 1 to 4 by "
        "up to 2e-01 of the largest, first in `layers.3.attention`. Usual cause: a causal mask that is missing, "
        "transposed or shifted by one, or a norm or mean over time."
    )
    assert "位置 1〜4 のロジット" in sentence(verdict, "ja")
    without_place = Verdict("failed", "future_seen", {**verdict.values, "first": 4, "where": ""})
    assert "at position 4 by up to 2e-01 of the largest. Usual" in sentence(without_place)


def test_the_table_shows_every_check_and_a_verdict() -> None:
    text = printed(None, "en")
    assert "causality            The future is not seen" in text
    assert "Verified at length 64, float64, cpu: nothing was found." in text
    assert "proved" not in text


def test_a_failure_stands_below_the_table() -> None:
    text = printed("no_mask", "en")
    assert re.search(r"causality +The future is not seen +FAILED", text)
    assert "causality: The model sees the future" in text
    assert re.search(r"\d of \d+ checks failed\.", text)


def test_japanese_speaks_japanese() -> None:
    text = printed("no_mask", "ja")
    assert "未来は見えない" in text
    assert "異常" in text
    assert "未来が見えています" in text


def test_what_is_worth_knowing_fails_nothing() -> None:
    patient = healthy()
    patient.pipeline.data.manifest["overlap"][0].update(documents=10, sharing=2)
    diagnosis = diagnose(patient.model, data=patient.pipeline, checks=["held_out"])
    assert diagnosis.ok
    out = io.StringIO()
    render(diagnosis, Console(file=out, width=160), "en")
    assert "note" in out.getvalue()
    assert "2 share a passage of 13 words" in out.getvalue()


@pytest.mark.parametrize(
    ("environment", "language"),
    [({"LANG": "ja_JP.UTF-8"}, "ja"), ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C.UTF-8"}, "en"), ({"LANG": "en_GB"}, "en")],
)
def test_the_language_is_the_locales(
    environment: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_language() == language
