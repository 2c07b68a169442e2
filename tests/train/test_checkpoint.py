"""Checkpoints: whole or not at all, kept or deleted, damaged or not."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from tsumiki.config import parse
from tsumiki.errors import UserError
from tsumiki.models import LanguageModel, ModelConfig, build_model
from tsumiki.train.checkpoint import Checkpoints, Progress, write_json
from tsumiki.train.optimizer import AdamW, Optimizer

MODEL = {
    "family": "gpt_oss",
    "vocab_size": 31,
    "max_seq_len": 13,
    "d_model": 8,
    "num_layers": 2,
    "attention": {"variant": "grouped_query", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4},
    "feed_forward": {"variant": "swiglu", "d_ff": 11},
}


def make(seed: int = 0) -> tuple[LanguageModel, Optimizer]:
    model = build_model(parse(MODEL, ModelConfig, where="test"), seed=seed)  # pyright: ignore[reportArgumentType]
    return model, AdamW(AdamW.Config(learning_rate=0.01), model.named_parameters())


def learn(model: LanguageModel, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        ids = torch.randint(31, (3, 14), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model.loss(ids[:, :-1], ids[:, 1:])[0].backward()
        optimizer.step(1.0)


def save(checkpoints: Checkpoints, step: int, loss: float | None = None) -> Path:
    model, optimizer = make()
    path = checkpoints.save(Progress(step=step, tokens={"ja": step}), model, optimizer, {"tokenizer.json": b"{}"})
    if loss is not None:
        write_json(path / "evaluation.json", {"step": step, "loss": loss})
    return path


def test_what_was_saved_goes_on_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    model, optimizer = make()
    learn(model, optimizer, range(3))
    path = checkpoints.save(Progress(step=3, seconds=1.5, tokens={"en": 7}), model, optimizer, {})
    learn(model, optimizer, range(3, 6))

    other_model, other_optimizer = make(seed=1)
    progress = checkpoints.restore(path, other_model, other_optimizer)
    learn(other_model, other_optimizer, range(3, 6))
    assert progress == Progress(step=3, seconds=1.5, tokens={"en": 7})
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other_model.get_parameter(name)), name


def test_a_checkpoint_holds_safetensors_and_text_only(tmp_path: Path) -> None:
    path = save(Checkpoints(tmp_path, keep_last=2), 300, loss=1.0)
    assert path == tmp_path / "checkpoints" / "step-000300"
    assert sorted(file.name for file in path.iterdir()) == [
        "config.yaml",
        "evaluation.json",
        "fingerprint.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "tokenizer.json",
    ]


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step, loss in [(10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5), (1_000_000, None)]:
        save(checkpoints, step, loss)
    assert [path.name for path in checkpoints.all()] == ["step-000020", "step-000040", "step-1000000"]
    assert checkpoints.best == tmp_path / "checkpoints" / "step-000020"
    assert checkpoints.last == tmp_path / "checkpoints" / "step-1000000"


@pytest.mark.parametrize("failing_call", range(1, 9))
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int) -> None:
    """However far the writing came: the checkpoint before stays, and nothing half-written does."""
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    before = save(checkpoints, 10, loss=1.0)
    files = {path: path.read_bytes() for path in before.iterdir()}
    calls = 0

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(
        UserError,
        match=r"Checkpoint step-000020 could not be written: no space left on device\. "
        r"The last good checkpoint is '.*step-000010'\. Mend the cause, then resume the training\.",
    ):
        save(checkpoints, 20)
    assert list((tmp_path / "checkpoints").iterdir()) == [before]
    assert {path: path.read_bytes() for path in before.iterdir()} == files


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    save(checkpoints, 10)
    leftover = tmp_path / "checkpoints" / ".step-000020"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    assert checkpoints.last == tmp_path / "checkpoints" / "step-000010"
    checkpoints.remove_unfinished()
    assert not leftover.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    save(checkpoints, 10)
    path = save(checkpoints, 20)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        UserError, match=rf"step-000020' is damaged: {name} is not what was saved.* continues from .*step-000010'"
    ) as caught:
        checkpoints.restore(path, *make())
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_and_a_missing_file_are_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    path = save(checkpoints, 10)
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    sentence = r"model\.safetensors is not what was saved\. There is no earlier checkpoint"
    with pytest.raises(UserError, match=sentence):
        checkpoints.restore(path, *make())
    weights.unlink()
    with pytest.raises(UserError, match=r"is damaged: model\.safetensors"):
        checkpoints.restore(path, *make())


def test_state_names_every_file_with_its_hash(tmp_path: Path) -> None:
    state = json.loads((save(Checkpoints(tmp_path, keep_last=1), 10) / "state.json").read_text(encoding="utf-8"))
    assert set(state["sha256"]) >= {"config.yaml", "model.safetensors", "optimizer.safetensors", "tokenizer.json"}
    assert all(len(digest) == 64 for digest in state["sha256"].values())
