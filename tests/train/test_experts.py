"""Training a mixture of experts: each expert's tokens are logged, and a router that collapses is reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tsumiki.models import build_model
from tsumiki.train import RunConfig, train
from tsumiki.train.display import Display

MOE = {"variant": "moe", "d_ff": 13, "num_experts": 6, "experts_per_token": 2, "balance_coefficient": 0.01}
ROWS, TOKENS = 4, 23

Config = Callable[..., RunConfig]


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    text = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == "train"]


@pytest.mark.parametrize("micro_batch_size", [None, 1])
def test_tokens_per_expert_are_logged(make_config: Config, tmp_path, micro_batch_size: int | None) -> None:
    config = make_config(model={"feed_forward": MOE}, micro_batch_size=micro_batch_size, steps=3)
    train(config, tmp_path / "run", skip_doctor=True, device="cpu")
    logged = metrics(tmp_path / "run")
    assert len(logged) == 3
    for line in logged:
        assert [len(layer) for layer in line["tokens_per_expert"]] == [6, 6]
        assert [sum(layer) for layer in line["tokens_per_expert"]] == [ROWS * TOKENS * 2] * 2
        assert all(2.6 < number <= 6 for number in line["effective_experts"].values())


def test_a_router_that_collapses_is_reported_once(make_config: Config, tmp_path, monkeypatch) -> None:
    def collapsed(*args, **options):
        model = build_model(*args, **options)
        with torch.no_grad():
            model.layers[1].feed_forward.router.bias[2:4] += 1e6
        return model

    monkeypatch.setattr("tsumiki.train.run.build_model", collapsed)
    config = make_config(model={"feed_forward": MOE}, steps=3)
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        train(config, tmp_path / "run", skip_doctor=True, device="cpu", display=Display(Console(file=file, width=400)))
    said = (tmp_path / "out").read_text(encoding="utf-8")
    assert said.count("Warning: The router of layer 1 has collapsed: nearly all tokens go to the same 2 of 6") == 1
    assert "layer 0 has collapsed" not in said


def test_a_dense_model_logs_no_experts(make_config: Config, tmp_path) -> None:
    train(make_config(steps=1), tmp_path / "run", skip_doctor=True, device="cpu")
    assert "tokens_per_expert" not in metrics(tmp_path / "run")[0]
