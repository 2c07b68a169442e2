"""The loop: what a step computes, what it leaves behind, and when it refuses."""

import functools
import json
import math
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tsumiki.train.loop as loop
from tsumiki.data import Batch
from tsumiki.errors import UserError
from tsumiki.files import sha256
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.loss import IGNORE
from tsumiki.train import Interrupted, RunConfig, RunResult, train
from tsumiki.train.display import Display, make_display

Run = Callable[..., RunResult]


def lines(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    text = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    return [entry for line in text.splitlines() if (entry := json.loads(line))["kind"] == kind]


def losses(run_dir: Path) -> list[float]:
    return [line["loss"] for line in lines(run_dir, "train")]


def weights(run_dir: Path, step: int = 6) -> str:
    return sha256(run_dir / "checkpoints" / f"step-{step:06d}" / "model.safetensors")


def batch_of(ids: Tensor, targets: Tensor) -> Batch:
    rows = len(ids)
    return Batch(ids, targets, torch.zeros_like(ids), ("a",) * rows, ("en",) * rows, ((),) * rows)


def test_accumulated_gradients_do_not_depend_on_the_micro_batch(make_config: Callable[..., RunConfig]) -> None:
    """1 x 16 = 4 x 4 = 16 x 1, though the rows have between 1 and 23 targets."""
    model = build_model(make_config(model={"dropout": 0.0}).model)
    ids = torch.randint(300, (16, 24), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    for row in range(16):
        targets[row, 1 + (row * 7) % 23 :] = IGNORE
    batch = batch_of(ids[:, :-1], targets)
    num_targets = int((targets != IGNORE).sum())
    results = {}
    rows = (batch.ids, batch.targets, batch.documents)
    for size in (16, 4, 1):
        model.zero_grad()
        loss = loop.accumulate_gradients(model.loss, rows, num_targets, size, nullcontext())
        results[size] = (loss, {name: parameter.grad for name, parameter in model.named_parameters()})
    nats, count = model.loss(batch.ids, batch.targets, documents=batch.documents)
    torch.testing.assert_close(results[16][0], (nats / count).detach())
    for size in (4, 1):
        torch.testing.assert_close(results[size], results[16], rtol=1e-5, atol=1e-7)


def test_a_step_that_trains_another_model_than_is_saved_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a recording does that reads the memory of exchanged tensors: the training losses alone look healthy."""
    sound = loop.Training.compute_step

    def with_other_weights(self: loop.Training, *arguments: Any) -> torch.Tensor:
        if self.progress.step < 4:
            return sound(self, *arguments)
        with torch.no_grad():
            self.model.unembedding.mul_(32)
        figures = sound(self, *arguments)
        with torch.no_grad():
            self.model.unembedding.div_(32)
        return figures

    monkeypatch.setattr(loop.Training, "compute_step", with_other_weights)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    with pytest.raises(
        UserError, match=r"Step 5 reports a loss of \d\.\d+ .* has \d\.\d+: what is trained is not what"
    ):
        run(model={"dropout": 0.0}, compile=True, evaluate_every=4, checkpoint_every=4, steps=8)
    assert (tmp_path / "run/checkpoints/step-000004/model.safetensors").is_file()


def test_a_run_leaves_what_the_design_says(run: Run, tmp_path: Path) -> None:
    result = run()
    run_dir = tmp_path / "run"
    assert result.run_dir == run_dir
    assert result.checkpoint == run_dir / "checkpoints" / "step-000006"
    assert sorted(path.name for path in run_dir.iterdir()) == [
        ".lock",
        "checkpoints",
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "tokenizer.json",
    ]
    assert [line["step"] for line in lines(run_dir, "train")] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines(run_dir, "evaluation")] == [0, 3, 6]
    last = lines(run_dir, "train")[-1]
    assert last["tokens"].keys() == {"en", "ja"}
    assert sum(last["tokens"].values()) == 6 * 4 * 23
    evaluation = lines(run_dir, "evaluation")[-1]
    assert evaluation["bits_per_byte"].keys() == evaluation["bits_per_character"].keys() == {"en", "ja"}
    assert evaluation["bits_per_character"]["ja"] > 2 * evaluation["bits_per_byte"]["ja"]
    assert [(sample["prompt"], sample["temperature"]) for sample in evaluation["samples"]] == [
        ("Once upon a time", 0.0),
        ("Once upon a time", 1.0),
        ("むかしむかし、", 0.0),
        ("むかしむかし、", 1.0),
    ]
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    assert [source["share"] for source in manifest["data"]["sources"]] == [0.5, 0.5]
    assert manifest["sessions"][0]["doctor"] == "skipped"
    assert manifest["sessions"][0]["backend"]["attention"] == "sdpa"


def test_evaluations_and_samples_do_not_disturb_training(run: Run, tmp_path: Path) -> None:
    run("often", evaluate_every=1, checkpoint_every=1)
    run("rarely", evaluate_every=6, checkpoint_every=6, samples={"prompts": []})
    assert losses(tmp_path / "often") == losses(tmp_path / "rarely")
    assert weights(tmp_path / "often") == weights(tmp_path / "rarely")


class Stopping(Display):
    """Sends this process a signal after a step, as a person or a machine would."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(make_display().console)
        self.step, self.number = step, number

    def advance(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    run: Run, make_config: Callable[..., RunConfig], tmp_path: Path, number: int, exit_code: int
) -> None:
    run("whole")
    run_dir = tmp_path / "stopped"
    with pytest.raises(Interrupted, match=rf"Stopped after step 5, .* tsumiki train --resume {run_dir}") as caught:
        train(make_config(), run_dir, skip_doctor=True, device="cpu", display=Stopping(5, number))
    assert caught.value.exit_code == exit_code
    assert (run_dir / "checkpoints" / "step-000005").is_dir()
    run("stopped", resume=True)
    assert losses(run_dir) == losses(tmp_path / "whole")
    assert lines(run_dir, "evaluation") == lines(tmp_path / "whole", "evaluation")
    assert weights(run_dir) == weights(tmp_path / "whole")


def test_a_run_that_was_never_saved_begins_anew(run: Run, tmp_path: Path) -> None:
    run("whole")
    result = run("run")
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    assert run("run", resume=True) == result
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_bfloat16_keeps_weights_in_fp32_and_learns(run: Run, tmp_path: Path) -> None:
    run("half", precision="bf16")
    run("full", precision="fp32")
    half, full = losses(tmp_path / "half"), losses(tmp_path / "full")
    assert half != full
    assert half == pytest.approx(full, rel=0.01)
    header = (tmp_path / "half" / "checkpoints" / "step-000006" / "model.safetensors").read_bytes()[:4000]
    assert b'"F32"' in header
    assert b"BF16" not in header


def test_compiled_loss_is_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("plain", steps=2, model={"dropout": 0.0})
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager", fullgraph=True))
    run("compiled", steps=2, model={"dropout": 0.0}, compile=True)
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)


class Recording(Display):
    """Remembers what it was told, beside what others put into `events`."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(make_display().console)
        self.events = events

    def say(self, sentence: str) -> None:
        self.events.append(sentence)

    def advance(self, step: int) -> None:
        self.events.append(f"step {step}")


def test_everything_is_compiled_before_the_clock_starts(
    make_config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        events.append("a graph")
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    config = make_config(compile=True, micro_batch_size=2, samples={"prompts": []})
    train(config, tmp_path / "run", skip_doctor=True, device="cpu", display=Recording(events))
    (compiled,) = (place for place, event in enumerate(events) if event.startswith("Compiled in "))
    assert "a graph" in events[:compiled]
    assert "a graph" not in events[compiled:]
    assert "step 1" in events[compiled:]


def test_nan_stops_with_step_documents_and_checkpoint(run: Run, tmp_path: Path) -> None:
    """A learning rate of 1e25: the update of step 1 is huge, and the loss of step 2 is no number."""
    run_dir = tmp_path / "run"
    optimizer = {"kind": "adamw", "learning_rate": 1e25, "weight_decay": 0.0}
    with pytest.raises(UserError) as caught:
        run(optimizer=optimizer, evaluate_every=100, checkpoint_every=1, samples={"prompts": []})
    sentence = str(caught.value)
    report = json.loads((run_dir / "not_finite.json").read_text(encoding="utf-8"))
    last = run_dir / "checkpoints" / f"step-{report['step'] - 1:06d}"
    assert f"Step {report['step']} gave a loss of nan" in sentence
    assert f"'{last}'" in sentence
    assert f"'{run_dir / 'not_finite.json'}' lists them all" in sentence
    source, key = report["documents"][0]
    assert f"{key} of {source}" in sentence
    assert sorted((run_dir / "checkpoints").iterdir())[-1] == last


def test_nan_is_found_late_but_before_anything_is_saved(run: Run, tmp_path: Path) -> None:
    """Figures are read every 5 steps and before a checkpoint: the first bad step is named, not the one that read it."""
    optimizer = {"kind": "adamw", "learning_rate": 1e25, "weight_decay": 0.0}
    often = {"log_every": 1, "checkpoint_every": 1}
    rarely = {"log_every": 5, "checkpoint_every": 100}
    reports = []
    for name, every in (("often", often), ("rarely", rarely)):
        with pytest.raises(UserError, match="gave a loss of nan"):
            run(name, optimizer=optimizer, evaluate_every=100, samples={"prompts": []}, **every)
        reports.append(json.loads((tmp_path / name / "not_finite.json").read_text(encoding="utf-8")))
    assert reports[0] == reports[1]
    assert reports[0]["step"] < 5
    assert not list((tmp_path / "rarely").glob("checkpoints/*"))
    assert lines(tmp_path / "rarely", "train") == []


def test_an_infinite_gradient_stops_before_it_is_saved(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_poisoned(*args: Any, **kwargs: Any) -> LanguageModel:
        model = build_model(*args, **kwargs)
        calls = iter(range(100))
        model.unembedding.register_hook(lambda gradient: gradient * (math.inf if next(calls) == 3 else 1))
        return model

    monkeypatch.setattr("tsumiki.train.run.build_model", build_poisoned)
    with pytest.raises(UserError, match=r"Step 4 gave a loss of 5\.\d+ and a gradient of norm (inf|nan)"):
        run()
    assert losses(tmp_path / "run") == losses(tmp_path / "run")[:3]
    assert not (tmp_path / "run" / "checkpoints" / "step-000004").exists()


def test_how_often_figures_are_read_changes_nothing(run: Run, tmp_path: Path) -> None:
    run("often", log_every=1)
    run("rarely", log_every=6)
    assert losses(tmp_path / "rarely") == losses(tmp_path / "often")[-1:]
    assert weights(tmp_path / "rarely") == weights(tmp_path / "often")
    (line,) = lines(tmp_path / "rarely", "train")
    assert sum(line["tokens"].values()) == 6 * 4 * 23
    assert line["tokens_per_second"] == pytest.approx(6 * 4 * 23 / line["seconds"])
    assert 0 <= line["data_wait_share"] < 1


def test_a_run_is_not_overwritten_and_not_invented(run: Run, tmp_path: Path) -> None:
    run(steps=1)
    with pytest.raises(UserError, match="already holds a run: go on with it by --resume"):
        run(steps=1)
    with pytest.raises(UserError, match="holds no run to go on with; leave --resume out to begin one"):
        run("other", resume=True)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 1}, "train.seed = 0, and now it is 1"),
        ({"optimizer": {"kind": "adamw", "learning_rate": 0.02}}, "train.optimizer.learning_rate = 0.01, and"),
        ({"model": {"dropout": 0.2}}, r"model\.dropout = 0\.1, and now it is 0\.2"),
        ({"schedule": {"kind": "cosine"}}, 'train.schedule.kind = "wsd", and now it is "cosine"'),
        ({"steps": 5}, "train.steps = 6, and now it is 5"),
    ],
)
def test_a_run_goes_on_only_as_what_it_was(run: Run, change: dict[str, Any], key: str) -> None:
    run()
    with pytest.raises(UserError, match=rf"was trained with {key}.* a run is one computation"):
        run(resume=True, **change)


def test_how_a_run_is_computed_and_watched_may_change(run: Run, tmp_path: Path) -> None:
    run("whole", model={"dropout": 0.0})
    run("part", model={"dropout": 0.0}, steps=4)
    run("part", model={"dropout": 0.0}, steps=6, resume=True, micro_batch_size=1, log_every=2, keep_last=1)
    assert losses(tmp_path / "part")[-1] == pytest.approx(losses(tmp_path / "whole")[-1], rel=1e-4)
    manifest = json.loads((tmp_path / "part" / "manifest.json").read_text(encoding="utf-8"))
    assert [session["step"] for session in manifest["sessions"]] == [0, 4]


def test_steps_cannot_be_added_where_the_cooldown_has_begun(run: Run) -> None:
    schedule = {"kind": "wsd", "cooldown_fraction": 0.5}
    run(schedule=schedule)
    with pytest.raises(UserError, match=r"train\.steps = 6, and now it is 8"):
        run(schedule=schedule, steps=8, resume=True)


def test_a_run_goes_on_only_with_its_own_text(run: Run, data_dir: Path) -> None:
    path = data_dir / "en.train.jsonl"
    text = path.read_text(encoding="utf-8")
    run(steps=3)
    try:
        path.write_text(text.replace("apples", "cherries"), encoding="utf-8")
        with pytest.raises(UserError, match=r"The training text of 'local-en' is not what '.*' began with"):
            run(steps=3, resume=True)
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_damaged_checkpoint_is_named_and_can_be_gone_around(run: Run, tmp_path: Path) -> None:
    run("whole")
    run()
    damaged = tmp_path / "run" / "checkpoints" / "step-000006"
    (damaged / "optimizer.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"step-000006' is damaged: optimizer\.safetensors .* '.*step-000004'"):
        run(resume=True)
    for path in damaged.iterdir():
        path.unlink()
    damaged.rmdir()
    run(resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_tokenizer_that_does_not_fit_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The tokenizer has 300 tokens, but model\.vocab_size is 299"):
        run(model={"vocab_size": 299})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seq_len": 24}, r"train\.seq_len is 24, but the model's context, model\.max_seq_len, is 23\."),
        ({"micro_batch_size": 3}, "train: micro_batch_size is 3, but must divide batch_size, 4"),
        ({"steps": 0}, "train: steps is 0, but must be at least 1"),
        ({"clip_norm": 0.0}, r"train: clip_norm is 0\.0, but must be above 0; null switches clipping off"),
        ({"schedule": {"kind": "wsd", "warmup_steps": 9}}, "9 steps of warm-up .* do not fit into 6 steps"),
        ({"samples": {"temperatures": [-1.0]}}, r"train\.samples: temperature is -1\.0"),
        ({"optimizer": {"kind": "adam", "learning_rate": 0.1}}, r"'train\.optimizer\.kind' is 'adam'; did you mean"),
    ],
)
def test_configurations_that_make_no_sense(
    make_config: Callable[..., RunConfig], change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_config(**change)
