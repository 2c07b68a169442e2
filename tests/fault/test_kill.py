"""`kill -9` at any moment costs nothing but the steps since the last checkpoint, and changes nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tsumiki.files import sha256

STEPS = 60

CONFIG = f"""
name: killed
model:
  family: gpt2
  vocab_size: 300
  max_seq_len: 32
  d_model: 24
  num_layers: 2
  dropout: 0.1
  attention: {{variant: grouped_query, num_heads: 3, num_kv_heads: 1, head_dim: 8}}
  feed_forward: {{variant: gelu, d_ff: 41}}
tokenizer: {{kind: train, vocab_size: 300, train_bytes: 10000}}
data:
  sources:
    - {{kind: sample, language: en}}
    - {{kind: sample, language: ja, weight: 1.5}}
train:
  steps: {STEPS}
  batch_size: 6
  micro_batch_size: 3
  seq_len: 32
  optimizer: {{kind: adamw, learning_rate: 0.003}}
  schedule: {{kind: wsd, warmup_steps: 5}}
  log_every: 1
  evaluate_every: 20
  evaluate_max_bytes: 500
  checkpoint_every: 4
  samples: {{max_tokens: 4}}
  tensorboard: false
"""

TRAIN = """
import sys
from pathlib import Path
from tsumiki.config import load
from tsumiki.train import RunConfig, train
config, run_dir = Path(sys.argv[1]), Path(sys.argv[2])
train(load(config, RunConfig), run_dir, resume=(run_dir / "config.yaml").exists(), skip_doctor=True, device="cpu")
"""


def start(config: Path, run_dir: Path) -> subprocess.Popen[bytes]:
    """Train in a process of its own, from the beginning or from where the run stands."""
    environment = {**os.environ, "TSUMIKI_CACHE": str(config.parent / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, str(config), str(run_dir)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def steps_made(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return path.read_bytes().count(b'"kind": "train"') if path.is_file() else 0


def entries(run_dir: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The lines of metrics by kind and step, without what differs between two runs of the same computation: time."""
    entries = {}
    for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        key = (entry["kind"], entry["step"])
        assert key not in entries, f"{key} stands twice"
        entries[key] = {
            name: value
            for name, value in entry.items()
            if name not in ("seconds", "tokens_per_second", "data_wait_share", "memory_bytes")
        }
    return entries


def test_killed_at_three_random_steps_and_resumed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = start(config, whole)

    moments = sorted(random.sample(range(2, STEPS - 20), 3))  # 20 steps are left to be killed in
    for moment in moments:
        process = start(config, killed)
        while steps_made(killed) < moment:
            assert process.poll() is None, f"ended before step {moment} of {moments}"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, moments
    assert start(config, killed).wait() == 0
    assert uninterrupted.wait() == 0

    expected = entries(whole)
    assert len(expected) == STEPS + 4
    assert entries(killed) == expected, moments
    for name in ("model.safetensors", "optimizer.safetensors"):
        paths = [run / "checkpoints" / f"step-{STEPS:06d}" / name for run in (whole, killed)]
        assert sha256(paths[0]) == sha256(paths[1]), (name, moments)
    assert not list((killed / "checkpoints").glob(".*"))
