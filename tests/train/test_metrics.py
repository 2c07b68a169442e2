"""`metrics.jsonl`: every line survives, no step stands twice."""

import json
from pathlib import Path

import pytest

from tsumiki.errors import UserError
from tsumiki.train.metrics import Metrics

SAMPLE = "むかし\n\u2028\u2029\x85\x1cむかし"
"""What a model may write, and `str.splitlines` takes for the ends of lines."""


def lines(run_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def write_run(run_dir: Path, steps: range) -> Metrics:
    metrics = Metrics(run_dir, step=steps.start - 1, tensorboard=False)
    for step in steps:
        metrics.write("train", step, {"loss": 10.0 - step})
        if step % 2 == 0:
            metrics.write("evaluation", step, {"bits_per_byte": {"ja": 2.5}, "samples": [{"text": SAMPLE}]})
    return metrics


def test_lines_are_on_the_disk_at_once(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 3))  # not closed, as if the process had been killed
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 2]
    assert lines(tmp_path)[2]["samples"] == [{"text": SAMPLE}]


def test_resuming_cuts_what_will_be_repeated(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 8)).close()
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "train", "step": 8, "lo')  # torn by a crash
    write_run(tmp_path, range(5, 10)).close()  # resumed after step 4, which is evaluated anew
    assert [line["step"] for line in lines(tmp_path) if line["kind"] == "train"] == list(range(1, 10))
    assert [line["step"] for line in lines(tmp_path) if line["kind"] == "evaluation"] == [2, 6, 8]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, step=0, tensorboard=False)
    metrics._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115 - the device that is always full
    with pytest.raises(UserError, match=r"metrics\.jsonl' could not be written: no space left on device"):
        metrics.write("train", 1, {"loss": 1.0})


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = Metrics(tmp_path, step=0, tensorboard=True)
    metrics.write("train", 1, {"loss": 2.0, "tokens": {"en": 3, "ja": 4}})
    metrics.write("evaluation", 1, {"bits_per_byte": {"en": 1.5}, "samples": [{"prompt": "a"}]})
    metrics.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]} == {
        "train/loss": 2.0,
        "train/tokens/en": 3.0,
        "train/tokens/ja": 4.0,
        "evaluation/bits_per_byte/en": 1.5,
    }
