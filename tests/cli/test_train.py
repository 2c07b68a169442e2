"""`tsumiki train`: what its options make of a run."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tsumiki.cli import app
from tsumiki.cli.train import without_auto
from tsumiki.config import load
from tsumiki.errors import UserError
from tsumiki.train import RunConfig


@pytest.mark.parametrize("words", [["auto", "a.yaml", "x=1"], ["a.yaml", "auto", "x=1"], ["a.yaml", "x=1", "auto"]])
def test_auto_may_stand_anywhere(words: list[str]) -> None:
    assert without_auto(words[0], words[1:]) == ("a.yaml", ["x=1"], True)
    assert without_auto("a.yaml", ["x=1"]) == ("a.yaml", ["x=1"], False)
    with pytest.raises(UserError, match="name its preset or YAML file, too"):
        without_auto("auto", [])


@pytest.mark.parametrize(("micro_batch", "rows"), [("1", 1), ("auto", 2)])
def test_a_job_that_is_started_twice(tiny: Path, tmp_path: Path, micro_batch: str, rows: int) -> None:
    """The same command begins the run and goes on with it, here with more steps; on a CPU the whole batch fits."""
    run_dir = tmp_path / "run"
    command = ["train", "--resume", "auto", str(tiny), "--run-dir", str(run_dir), "--skip-doctor", "--device", "cpu"]
    for steps in (4, 5):
        changes = [f"train.steps={steps}", "train.batch_size=2", "train.schedule.cooldown_fraction=0.0"]
        result = CliRunner().invoke(app, [*command, "--micro-batch", micro_batch, *changes])
        assert result.exit_code == 0, result.output
    assert "Going on after" in result.output
    assert load(run_dir / "config.yaml", RunConfig).train.micro_batch_size == rows
