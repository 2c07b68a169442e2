"""`tsumiki bench` and `tsumiki quantise`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_bench_says_what_binds(tsumiki: Command, trained: Path, tmp_path: Path) -> None:
    options = ("--eager", "--no-peers", "--lengths", "3,5", "--max-tokens", "4")
    said = tsumiki("bench", trained, *options, "--output", tmp_path / "figures").stdout
    assert "after 3 tokens" in said
    assert "after 5 tokens" in said
    assert said.count("cache, eager") == 4
    assert said.count(" a step, arithmetic ") == 2
    assert (tmp_path / "figures" / "bench.json").is_file()


def test_bench_of_what_does_not_fit_is_refused(refused: Command, trained: Path) -> None:
    assert "Nothing can be measured" in refused("bench", trained, "--lengths", "100000", "--no-peers")
    assert "--lengths is 'x'" in refused("bench", trained, "--lengths", "x")


def test_a_quantised_model_says_what_it_lost_and_writes(
    tsumiki: Command, refused: Command, trained: Path, tmp_path: Path
) -> None:
    said = tsumiki("quantise", trained, "--output", tmp_path / "small", "--max-bytes", "2000").stdout
    assert "on disk, MB" in said
    assert "bits per byte, " in said
    assert tsumiki("generate", tmp_path / "small", "-p", "Once", "--max-tokens", "3").stdout.startswith("Once")
    assert "is there already" in refused("quantise", trained, "--output", tmp_path / "small")
