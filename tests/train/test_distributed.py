"""Two processes train as one does, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tsumiki.config import dump_yaml
from tsumiki.errors import UserError
from tsumiki.models import load_model
from tsumiki.train import RunConfig, train
from tsumiki.train.distributed import World
from tsumiki.train.run import check_shares
from tsumiki.train.shards import StoredTensors

STEPS = 20
ADAMW = {"kind": "adamw", "learning_rate": 0.01}
OPTIMIZERS = {
    "adamw": ADAMW,
    "fused_adamw": {**ADAMW, "kind": "fused_adamw"},
    "muon": {"kind": "muon", "learning_rate": 0.01, "rest": ADAMW},
}
RESUMED = {kind: OPTIMIZERS[kind] for kind in ("adamw", "muon")}
MOE = {"variant": "moe", "d_ff": 13, "num_experts": 6, "experts_per_token": 2}
MODEL = {"dropout": 0.0}

TRAIN = """
import sys
from pathlib import Path
from tsumiki.config import load
from tsumiki.train import RunConfig, train
for config, run_dir, resume in zip(*[iter(sys.argv[1:])] * 3):
    train(load(config, RunConfig), Path(run_dir), resume=resume == "resume", skip_doctor=True, device="cpu")
"""


FULL_DISK = """
import errno
import tsumiki.train.checkpoint as checkpoint
write_part = checkpoint.write_part
def full(tensors, directory, *rest):
    if directory.name == ".step-000004":
        raise OSError(errno.ENOSPC, "No space left on device")
    return write_part(tensors, directory, *rest)
checkpoint.write_part = full
"""


def start_two(*arguments: str, program: str = TRAIN) -> list[subprocess.Popen[str]]:
    """Two processes as `torchrun` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(2)
    ]


def losses(run_dir: Path) -> list[float]:
    entries = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [entry["loss"] for entry in entries if entry["kind"] == "train"]


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each wrote to stderr; none is left running."""
    try:
        return [process.communicate(timeout=100)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def runs(make_config: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every way to train with every optimizer: alone, by two, begun alone and ended by two, and the other way round.

    The two processes do all of their trainings one after the other, which saves starting them a dozen times.
    """
    directory = tmp_path_factory.mktemp("runs")
    jobs: list[tuple[str, str, str]] = []

    def config_of(name: str, **changes: Any) -> RunConfig:
        config = make_config(
            model=MODEL, **{"steps": STEPS, "evaluate_every": STEPS, "checkpoint_every": STEPS, **changes}
        )
        (directory / f"{name}.yaml").write_text(dump_yaml(config), encoding="utf-8")
        return config

    def alone(name: str, resume: bool = False, **changes: Any) -> None:
        train(config_of(name, **changes), directory / name, resume=resume, skip_doctor=True, device="cpu")

    def by_two(name: str, resume: bool = False, **changes: Any) -> None:
        step = f"{name}-{len(jobs)}"
        config_of(step, **changes)
        jobs.append((str(directory / f"{step}.yaml"), str(directory / name), "resume" if resume else "begin"))

    for kind, optimizer in OPTIMIZERS.items():
        alone(f"{kind}-alone", optimizer=optimizer)
        for parallel in ("ddp", "fsdp"):
            by_two(f"{kind}-{parallel}", optimizer=optimizer, parallel=parallel)
    for kind, optimizer in RESUMED.items():
        alone(f"{kind}-alone-then-fsdp", optimizer=optimizer, steps=STEPS // 2)
        by_two(f"{kind}-alone-then-fsdp", resume=True, optimizer=optimizer, parallel="fsdp")
        for parallel in ("ddp", "fsdp"):
            by_two(f"{kind}-{parallel}-then-alone", optimizer=optimizer, parallel=parallel, steps=STEPS // 2)
    by_two("adamw-ddp-then-fsdp", optimizer=ADAMW, steps=STEPS // 2)
    by_two("adamw-ddp-then-fsdp", resume=True, optimizer=ADAMW, parallel="fsdp")
    by_two("adamw-fsdp-micro", optimizer=ADAMW, parallel="fsdp", micro_batch_size=1)
    by_two("adamw-ddp-micro", optimizer=ADAMW, parallel="ddp", micro_batch_size=1)
    processes = start_two(*(argument for job in jobs for argument in job))
    errors = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    for kind, optimizer in RESUMED.items():
        for parallel in ("ddp", "fsdp"):
            alone(f"{kind}-{parallel}-then-alone", resume=True, optimizer=optimizer)
    return directory


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, way) for kind in OPTIMIZERS for way in ("ddp", "fsdp")),
        *((kind, way) for kind in RESUMED for way in ("ddp-then-alone", "fsdp-then-alone", "alone-then-fsdp")),
    ],
)
def test_two_processes_train_as_one_does(runs: Path, kind: str, way: str) -> None:
    expected = losses(runs / f"{kind}-alone")
    assert len(expected) == STEPS
    assert losses(runs / f"{kind}-{way}") == pytest.approx(expected, abs=1e-5)
    assert expected[0] - expected[-1] > 0.5, "and it learns"


@pytest.mark.parametrize("way", ["ddp-then-fsdp", "fsdp-micro", "ddp-micro"])
def test_the_ways_can_change_and_micro_batches_add_up(runs: Path, way: str) -> None:
    assert losses(runs / f"adamw-{way}") == pytest.approx(losses(runs / "adamw-alone"), abs=1e-5)


def test_a_sharded_run_ends_as_an_ordinary_model(runs: Path) -> None:
    step = Path("checkpoints") / f"step-{STEPS:06d}"
    assert sorted(path.name for path in (runs / "adamw-fsdp" / step).glob("optimizer*")) == [
        "optimizer-00001-of-00002.safetensors",
        "optimizer-00002-of-00002.safetensors",
    ]
    whole, sharded = (load_model(runs / name / step) for name in ("adamw-alone", "adamw-fsdp"))
    torch.testing.assert_close(dict(sharded.named_parameters()), dict(whole.named_parameters()), atol=1e-4, rtol=1e-3)
    moments = [StoredTensors(runs / name / step, "optimizer") for name in ("adamw-alone", "adamw-fsdp")]
    torch.testing.assert_close(dict(moments[1]), dict(moments[0]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 8}, "train.batch_size is 8, which 3 processes cannot share equally: set it to a multiple of 3"),
        (
            {"batch_size": 12, "micro_batch_size": 3},
            "micro_batch_size is 3, but must divide 4, the rows that each of 3",
        ),
        ({"batch_size": 3, "parallel": "fsdp", "model": {"feed_forward": MOE}}, "experts cannot be sharded; set train"),
    ],
)
def test_what_processes_cannot_share(make_config: Callable[..., RunConfig], changes: Any, sentence: str) -> None:
    check_shares(make_config(**changes), World())
    with pytest.raises(UserError, match=sentence):
        check_shares(make_config(**changes), World(rank=1, size=3))


def test_the_first_process_speaks_for_all(runs: Path, make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    """A mistake is told once; a batch that cannot be shared is one."""
    (tmp_path / "config.yaml").write_text(dump_yaml(make_config(batch_size=3)), encoding="utf-8")
    first, second = start_two(str(tmp_path / "config.yaml"), str(tmp_path / "run"), "begin")
    assert "train.batch_size is 3, which 2 processes cannot share equally" in first.communicate(timeout=100)[1]
    assert "PeerFailed" in second.communicate(timeout=100)[1]
    assert not (tmp_path / "run").exists()


def test_a_full_disk_under_one_process_loses_nothing(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    """The second process cannot write its shard of the second checkpoint: nothing of that stays, and one says so."""
    config = make_config(model=MODEL, parallel="fsdp", evaluate_every=100, samples={"prompts": []})
    (tmp_path / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    program = f"import os\nif os.environ['RANK'] == '1':\n{textwrap.indent(FULL_DISK, '    ')}\n{TRAIN}"
    first, second = finish(start_two(str(tmp_path / "config.yaml"), str(tmp_path / "run"), "begin", program=program))
    assert "PeerFailed" in first
    assert "Checkpoint step-000004 could not be written: no space left on device. The last good" in second
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]


def test_one_that_is_killed_does_not_leave_the_other_hanging(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make_config(model=MODEL, steps=100_000, evaluate_every=100_000, checkpoint_every=100_000)
    (tmp_path / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    run_dir = tmp_path / "run"
    survivor, victim = start_two(str(tmp_path / "config.yaml"), str(run_dir), "begin")
    while not (run_dir / "metrics.jsonl").is_file() or not losses_so_far(run_dir):
        assert survivor.poll() is None, survivor.communicate()[1]
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    _, errors = survivor.communicate(timeout=60)
    victim.communicate()
    assert "Another process of this training is gone" in errors
    assert f"Go on with: tsumiki train --resume {run_dir}" in errors


def losses_so_far(run_dir: Path) -> int:
    return (run_dir / "metrics.jsonl").read_bytes().count(b'"kind": "train"')
