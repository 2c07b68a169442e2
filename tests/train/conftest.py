import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.config import parse
from tsumiki.train import RunConfig, RunResult, train

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short stories in two languages."""
    directory = tmp_path_factory.mktemp("data")
    animals = [("fox", "きつね"), ("owl", "ふくろう"), ("bear", "くま"), ("frog", "かえる"), ("hen", "めんどり")]
    english, japanese = [], []
    for number in range(20):
        (first, 一), (second, 二) = animals[number % 5], animals[(number // 5 + number + 1) % 5]
        english.append(f"The {first} number {number} met a {second}. They ate {number + 2} red apples and were happy.")
        japanese.append(f"{number}番目の{一}は{二}に会いました。ふたりは赤いりんごを{number + 2}個食べて、喜びました。")
    for language, stories in (("en", english), ("ja", japanese)):
        for split, part in (("train", stories[:17]), ("valid", stories[17:])):
            lines = [json.dumps({"text": story}, ensure_ascii=False) + "\n" for story in part]
            (directory / f"{language}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def make_config(data_dir: Path) -> MakeConfig:
    """A configuration that trains in a moment. Keyword arguments change its `train` section, `model` its model."""

    def make(*, model: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
        mapping = {
            "name": "tiny",
            "model": {
                "family": "gpt2",
                "vocab_size": 300,
                "max_seq_len": 23,
                "d_model": 8,
                "num_layers": 2,
                "dropout": 0.1,
                "attention": {"variant": "grouped_query", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4},
                "feed_forward": {"variant": "gelu", "d_ff": 13},
                **(model or {}),
            },
            "tokenizer": {"kind": "train", "vocab_size": 300},
            "data": {
                "cache": str(data_dir / "cache"),
                "sources": [
                    {
                        "kind": "local",
                        "language": language,
                        "train": str(data_dir / f"{language}.train.jsonl"),
                        "validation": str(data_dir / f"{language}.valid.jsonl"),
                    }
                    for language in ("en", "ja")
                ],
            },
            "train": {
                "steps": 6,
                "batch_size": 4,
                "seq_len": 23,
                "optimizer": {"kind": "adamw", "learning_rate": 0.01},
                "schedule": {"kind": "wsd", "warmup_steps": 1, "cooldown_fraction": 0.0},
                "log_every": 1,
                "evaluate_every": 3,
                "checkpoint_every": 2,
                "samples": {"max_tokens": 3},
                "tensorboard": False,
                **changes,
            },
        }
        return parse(mapping, RunConfig, where="test")

    return make


@pytest.fixture
def run(make_config: MakeConfig, tmp_path: Path) -> Callable[..., RunResult]:
    """Train in `tmp_path / name`, without the doctor, who has tests of his own."""

    def run(name: str = "run", *, resume: bool = False, **changes: Any) -> RunResult:
        return train(make_config(**changes), tmp_path / name, resume=resume, skip_doctor=True, device="cpu")

    return run
