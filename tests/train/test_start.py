"""Training that starts from trained weights: what it takes over, what may change, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import dump, parse
from tsumiki.doctor import explain, read_history
from tsumiki.doctor.verdict import failed
from tsumiki.errors import UserError
from tsumiki.files import sha256
from tsumiki.models import load_model
from tsumiki.train import RunConfig, RunResult, train

MakeConfig = Callable[..., RunConfig]

VALUES = ("bits_per_byte", "floor", "tokens", "language")


@pytest.fixture
def rotary(make_config: MakeConfig) -> MakeConfig:
    """A configuration of a model with RoPE; `model`, `train` and `start_from` change it."""

    def make(*, start_from: Path | None = None, model: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
        mapping = dump(make_config())
        del mapping["model"]["dropout"]
        layers = {"family": "gpt_oss", "feed_forward": {"variant": "swiglu", "d_ff": 13}}
        mapping["model"] |= layers | (model or {})
        mapping["train"] |= changes
        mapping["start_from"] = None if start_from is None else str(start_from)
        return parse(mapping, RunConfig, where="test")

    return make


@pytest.fixture
def origin(rotary: MakeConfig, tmp_path: Path) -> RunResult:
    return train(rotary(), tmp_path / "origin", skip_doctor=True, device="cpu")


def sessions(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["sessions"]


def test_the_weights_are_taken_over_and_the_doctor_examines_the_new_model(
    rotary: MakeConfig, origin: RunResult, tmp_path: Path
) -> None:
    still = {"kind": "adamw", "learning_rate": 1e-30, "weight_decay": 0.0}
    config = rotary(start_from=origin.run_dir, steps=1, seed=7, optimizer=still)
    result = train(config, tmp_path / "tuned", device="cpu")
    before, after = (load_model(run.checkpoint).state_dict() for run in (origin, result))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sessions(result.run_dir)[0]["doctor"] == "passed"
    assert sessions(result.run_dir)[0]["start_from"] == {
        "checkpoint": origin.checkpoint.as_posix(),
        "weights_sha256": sha256(origin.checkpoint / "model.safetensors"),
    }


def test_the_context_may_be_longer_and_rope_stretched(rotary: MakeConfig, origin: RunResult, tmp_path: Path) -> None:
    longer = {"max_seq_len": 46, "rope": {"scaling": {"kind": "yarn", "factor": 2.0, "original_max_seq_len": 23}}}
    config = rotary(start_from=origin.checkpoint, model=longer, seq_len=46, steps=2)
    result = train(config, tmp_path / "longer", device="cpu", skip_doctor=True)
    assert load_model(result.checkpoint).config == config.model
    first = json.loads((result.run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["loss"] < 5.5  # ln 300 = 5.70 is what random weights begin with


def test_a_stopped_run_goes_on_without_its_origin(rotary: MakeConfig, origin: RunResult, tmp_path: Path) -> None:
    def tune(name: str, steps: int, *, resume: bool = False) -> RunResult:
        config = rotary(start_from=origin.run_dir, steps=steps)
        return train(config, tmp_path / name, resume=resume, skip_doctor=True, device="cpu")

    whole = tune("whole", 6)
    tune("stopped", 2)
    origin.run_dir.rename(tmp_path / "elsewhere")
    resumed = tune("stopped", 6, resume=True)
    first, second = (load_model(result.checkpoint).state_dict() for result in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [session["start_from"] is None for session in sessions(resumed.run_dir)] == [False, True]


def test_nobody_wonders_that_a_trained_model_is_good(
    rotary: MakeConfig, origin: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsumiki.train.gate.ALARM_AFTER", 0)
    monkeypatch.setattr("tsumiki.train.gate.too_good", lambda *_, **__: failed("too_good", **dict.fromkeys(VALUES, 1)))
    for start, alarms in ((None, 2), (origin.run_dir, 0)):
        config = rotary(start_from=start, steps=1)
        result = train(config, tmp_path / f"from-{start is None}", skip_doctor=True, device="cpu")
        assert len(result.evaluation["alarms"]) == alarms
        skipped = {
            verdict.check for verdict in explain(read_history(result.run_dir)) if verdict.code == "no_from_scratch"
        }
        assert skipped == (set() if start is None else {"above_floor", "normal", "balance"})


def test_another_model_is_refused(rotary: MakeConfig, origin: RunResult, tmp_path: Path) -> None:
    config = rotary(start_from=origin.run_dir, model={"num_layers": 3})
    with pytest.raises(UserError, match=r"has model\.num_layers = 2, and here it is 3: its weights fit no other model"):
        train(config, tmp_path / "deeper", device="cpu", skip_doctor=True)
    assert not (tmp_path / "deeper").exists()


def test_learned_positions_cannot_become_more(make_config: MakeConfig, tmp_path: Path) -> None:
    result = train(make_config(), tmp_path / "gpt2", skip_doctor=True, device="cpu")
    mapping = dump(make_config(model={"max_seq_len": 46})) | {"start_from": str(result.run_dir)}
    with pytest.raises(UserError, match=r"learned positions keeps its max_seq_len, 23"):
        train(parse(mapping, RunConfig, where="test"), tmp_path / "longer", device="cpu", skip_doctor=True)


def test_another_tokenizer_is_refused(rotary: MakeConfig, origin: RunResult, tmp_path: Path) -> None:
    mapping = dump(rotary(start_from=origin.run_dir))
    mapping["tokenizer"]["train_bytes"] = 900
    with pytest.raises(UserError, match=r"another tokenizer; set tokenizer=\{kind: file, path: .*/tokenizer\.json\}"):
        train(parse(mapping, RunConfig, where="test"), tmp_path / "other", device="cpu", skip_doctor=True)


def test_an_origin_that_is_not_there_is_named(rotary: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        train(rotary(start_from=tmp_path / "nowhere"), tmp_path / "run", device="cpu", skip_doctor=True)
