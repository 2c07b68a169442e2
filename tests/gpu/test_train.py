"""Training on a GPU: what a CPU cannot show of the loop, of its memory, and of several processes with NCCL.

Run with `pytest -m gpu` on a machine with a GPU; what needs two says so.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import dump_yaml, parse
from tsumiki.errors import UserError
from tsumiki.files import sha256
from tsumiki.train import RunConfig, train
from tsumiki.train.capture import Captured
from tsumiki.train.loop import Training

pytestmark = pytest.mark.gpu

TRAIN = """
import sys
from pathlib import Path
from tsumiki.config import load
from tsumiki.train import RunConfig, train
train(load(Path(sys.argv[1]), RunConfig), Path(sys.argv[2]), resume="auto", skip_doctor=True, device="cuda")
"""


def make_config(*, model: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    mapping = {
        "name": "gpu",
        "model": {
            "family": "gpt_oss",
            "vocab_size": 400,
            "max_seq_len": 128,
            "d_model": 64,
            "num_layers": 2,
            "attention": {"variant": "grouped_query", "num_heads": 2, "num_kv_heads": 1, "head_dim": 32},
            "feed_forward": {"variant": "swiglu", "d_ff": 96},
            **(model or {}),
        },
        "tokenizer": {"kind": "train", "vocab_size": 400, "train_bytes": 100_000},
        "data": {"sources": [{"kind": "sample", "language": language} for language in ("en", "ja")]},
        "train": {
            "steps": 20,
            "batch_size": 16,
            "seq_len": 128,
            "optimizer": {"kind": "fused_adamw", "learning_rate": 0.003},
            "schedule": {"kind": "wsd", "cooldown_fraction": 0.0},
            "log_every": 1,
            "evaluate_every": 20,
            "evaluate_max_bytes": 2000,
            "checkpoint_every": 10,
            "samples": {"max_tokens": 4},
            "tensorboard": False,
            **changes,
        },
    }
    return parse(mapping, RunConfig, where="test")


def lines(run_dir: Path, kind: str = "train") -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [entry for entry in entries if entry["kind"] == kind]


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("kind", ["fused_adamw", "muon"])
def test_a_run_goes_on_to_the_same_losses(tmp_path: Path, kind: str, compile: bool) -> None:
    optimizer: dict[str, Any] = {"kind": kind, "learning_rate": 0.003}
    if kind == "muon":
        optimizer["rest"] = {"kind": "fused_adamw", "learning_rate": 0.003}
    changes = {"optimizer": optimizer, "compile": compile, "precision": "bf16"}
    train(make_config(**changes), tmp_path / "whole", skip_doctor=True, device="cuda")
    train(make_config(**changes, steps=10), tmp_path / "part", skip_doctor=True, device="cuda")
    train(make_config(**changes), tmp_path / "part", resume=True, skip_doctor=True, device="cuda")
    whole, part = ([line["loss"] for line in lines(tmp_path / name)] for name in ("whole", "part"))
    assert part == pytest.approx(whole, abs=1e-3)
    assert whole[0] - whole[-1] > 0.5


def test_a_run_that_is_killed_at_random_moments_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    """Kernels of the backward pass may add in another order, so losses are close and not equal bit for bit."""
    muon = {"kind": "muon", "learning_rate": 0.003, "rest": {"kind": "fused_adamw", "learning_rate": 0.003}}
    config = make_config(optimizer=muon, precision="bf16", steps=400, checkpoint_every=20, evaluate_every=100)
    train(config, tmp_path / "whole", skip_doctor=True, device="cuda")
    (tmp_path / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    chance, killed = random.Random(0), 0
    while True:
        steps = len(lines(tmp_path / "killed")) if (tmp_path / "killed/metrics.jsonl").is_file() else 0
        process = subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(tmp_path / "config.yaml"), str(tmp_path / "killed")]
        )
        deadline = time.monotonic() + 100
        while process.poll() is None and killed < 4 and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.1, 1.0))
            if (tmp_path / "killed/metrics.jsonl").is_file() and len(lines(tmp_path / "killed")) > steps + 20:
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
        if process.wait(timeout=100) == 0:
            break
        assert process.returncode == -signal.SIGKILL
    whole, part = ([line["loss"] for line in lines(tmp_path / name)] for name in ("whole", "killed"))
    assert killed >= 2
    assert len(part) == len(whole)
    differences = [abs(a - b) for a, b in zip(whole, part, strict=True)]
    print(
        f"killed {killed} times; {sum(map(bool, differences))} of {len(whole)} losses differ, by {max(differences):.1e}"
    )
    assert max(differences) < 0.02


@pytest.mark.parametrize("kind", ["adamw", "fused_adamw", "muon"])
def test_a_recorded_step_is_the_step(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded or not, the losses are the same, of training and of evaluations.

    Evaluations and checkpoints come between the steps: what they leave behind must not reach a recording. (Weights are
    not compared: Muon turns rounding errors into small turns of directions in which the gradient hardly is any.)
    """
    optimizer: dict[str, Any] = {"kind": kind, "learning_rate": 0.003}
    if kind == "muon":
        optimizer["rest"] = {"kind": "fused_adamw", "learning_rate": 0.003}
    config = make_config(optimizer=optimizer, compile=True, evaluate_every=3, checkpoint_every=4, steps=30)
    train(config, tmp_path / "recorded", skip_doctor=True, device="cuda")
    monkeypatch.setattr(Training, "can_be_captured", lambda self: False)
    train(config, tmp_path / "not", skip_doctor=True, device="cuda")
    recorded, plain = ([line["loss"] for line in lines(tmp_path / name)] for name in ("recorded", "not"))
    assert recorded == pytest.approx(plain, abs=1e-3)
    assert [line["loss"] for line in lines(tmp_path / "recorded", "evaluation")] == pytest.approx(
        [line["loss"] for line in lines(tmp_path / "not", "evaluation")], abs=1e-3
    )


def test_a_recording_follows_a_tensor_that_is_exchanged() -> None:
    layer = torch.nn.Linear(3, 5, device="cuda")
    step = Captured(lambda key, x: layer(x), reads=layer.parameters)
    x = torch.randn(2, 3, device="cuda")
    with torch.no_grad():
        for _ in range(4):
            torch.testing.assert_close(step(0, x), layer(x))
        layer.weight = torch.nn.Parameter(torch.randn(5, 3, device="cuda"))
        filler = [torch.full((5, 3), 7.0, device="cuda") for _ in range(64)]  # one lies where the old weight was
        torch.testing.assert_close(step(0, x), layer(x))
    assert len(filler) == 64


def test_reading_figures_rarely_changes_nothing(tmp_path: Path) -> None:
    for every in (1, 20):
        train(make_config(log_every=every), tmp_path / str(every), skip_doctor=True, device="cuda")
    hashes = [sha256(tmp_path / name / "checkpoints/step-000020/model.safetensors") for name in ("1", "20")]
    assert hashes[0] == hashes[1]


def test_the_largest_micro_batch_is_found_and_named(tmp_path: Path) -> None:
    """The process may take 400 MB: a batch of 4096 rows, whose logits alone take 800 MB, does not fit."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(400e6 / total)
    config = make_config(batch_size=4096, steps=2, evaluate_every=2, checkpoint_every=2)
    try:
        with pytest.raises(UserError, match=r"Step 1 needs more memory .* with 4096 rows at once; (\d+) fit; go on"):
            train(config, tmp_path / "told", skip_doctor=True, device="cuda")
        train(config, tmp_path / "found", skip_doctor=True, find_micro_batch=True, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(lines(tmp_path / "found")) == 2


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("compile", [False, True])
def test_two_gpus_train_as_one_does(tmp_path: Path, parallel: str, compile: bool) -> None:
    assert torch.cuda.device_count() >= 2, "this test is for a machine with two GPUs"
    config = make_config(parallel=parallel, compile=compile)
    train(config, tmp_path / "one", skip_doctor=True, device="cuda")
    (tmp_path / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "config.yaml"), str(tmp_path / "two")]
    processes = [
        subprocess.Popen(command, env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [process.wait(timeout=250) for process in processes] == [0, 0]
    one, two = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-3)
