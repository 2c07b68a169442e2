"""The gate: a model that sees the future is not trained, and a skipped doctor leaves a trace."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tsumiki.doctor import Moment, check_receipt
from tsumiki.errors import UserError
from tsumiki.models import load_model
from tsumiki.nn.attention import VARIANTS, GroupedQueryAttention, Mask
from tsumiki.spec import spec
from tsumiki.train import RunConfig, train
from tsumiki.train.gate import alarms

MakeConfig = Callable[..., RunConfig]


class Leaking(GroupedQueryAttention):
    """Attention whose mask was forgotten."""

    @spec
    class Config(GroupedQueryAttention.Config):
        variant: Literal["leaking"] = "leaking"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        self.mask = Mask(causal=False)


@pytest.fixture
def leaking(monkeypatch: pytest.MonkeyPatch, make_config: MakeConfig) -> RunConfig:
    monkeypatch.setitem(VARIANTS, "leaking", Leaking)
    attention = {"variant": "leaking", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4}
    return make_config(model={"attention": attention})


def test_a_leaking_model_is_not_trained(leaking: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must not be trained \(causality\): The model sees the future"):
        train(leaking, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_skipping_the_doctor_leaves_a_trace(
    leaking: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(leaking, tmp_path / "run", device="cpu", skip_doctor=True)
    assert "Warning: the doctor was skipped" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert [session["doctor"] for session in manifest["sessions"]] == ["skipped"]
    assert not list((tmp_path / "run").rglob("doctor.json"))


def test_a_sound_model_carries_its_receipt(make_config: MakeConfig, tmp_path: Path) -> None:
    result = train(make_config(steps=1), tmp_path / "run", device="cpu")
    receipts = [directory / "doctor.json" for directory in (result.run_dir, result.checkpoint)]
    assert receipts[0].read_bytes() == receipts[1].read_bytes()
    receipt = json.loads(receipts[1].read_text(encoding="utf-8"))
    assert receipt["ok"]
    assert check_receipt(receipt, load_model(result.checkpoint)) == []
    manifest = json.loads((result.run_dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sessions"][0]["doctor"] == "passed"


def test_an_alarm_is_raised_where_held_out_text_is_predicted_too_well() -> None:
    assert alarms({"en": 2.0, "ja": 1.8}, tokens=2_000_000) == []
    (alarm,) = alarms({"en": 0.01, "ja": 1.8}, tokens=2_000_000)
    assert "(en) is predicted with 0.010 bits per byte after 2,000,000 tokens" in alarm


def test_a_model_that_has_seen_nothing_raises_no_alarm() -> None:
    assert alarms({"en": 3.4}, tokens=0) == alarms({"en": 3.4}, tokens=500) == []


def test_an_alarm_is_raised_where_another_model_is_evaluated_than_is_trained() -> None:
    before = Moment(step=100, validation=3.5, training=3.7, passes=0.8)
    later = Moment(step=200, validation=4.8, training=3.6, passes=1.6)
    (alarm,) = alarms({"en": 2.0}, 2_000_000, before, later)
    assert "What is evaluated is not what is trained: from step 100 to step 200 the validation loss rose" in alarm
    assert alarms({"en": 2.0}, 2_000_000, None, later) == []
    assert alarms({"en": 2.0}, 2_000_000, before, replace(later, validation=3.6)) == []
    assert alarms({"en": 2.0}, 2_000_000, before, replace(later, training=4.7)) == []  # it diverges
    assert alarms({"en": 2.0}, 2_000_000, before, replace(later, passes=3.0)) == []  # perhaps learnt by heart


def test_the_loop_watches_its_evaluations(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Moment | None, Moment | None]] = []

    def watched(bits_per_byte: dict[str, float], tokens: int, before: Moment | None, now: Moment | None) -> list[str]:
        seen.append((before, now))
        return ["the evaluation is odd"]

    monkeypatch.setattr("tsumiki.train.loop.alarms", watched)
    result = train(make_config(steps=6), tmp_path / "run", device="cpu", skip_doctor=True)
    assert seen[0] == (None, None)
    (_, third), (before, last) = seen[1:]
    assert third is not None
    assert last is not None
    assert before == third
    assert (third.step, last.step) == (3, 6)
    assert 0 < third.passes < last.passes
    assert last.validation == result.evaluation["loss"]
    assert result.evaluation["alarms"] == ["the evaluation is odd"]
