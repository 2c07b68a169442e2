import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tsumiki.doctor import Diagnosis, Verdict, selftest
from tsumiki.doctor.checks import MODEL_CHECKS, PIPELINE_CHECKS
from tsumiki.doctor.mutations import MUTATIONS
from tsumiki.doctor.selftest import Case
from tsumiki.nn.attention import VARIANTS, GroupedQueryAttention
from tsumiki.spec import spec

Command = Callable[..., Any]


class Peeking(GroupedQueryAttention):
    """Attention that reads the values of the whole row, the future included."""

    @spec
    class Config(GroupedQueryAttention.Config):
        variant: str = "peeking"

    def forward(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return super().forward(x, *rest) + x.mean(dim=1, keepdim=True)


@pytest.fixture
def peeking(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(VARIANTS, "peeking", Peeking)
    return "model.attention.variant=peeking"


def test_a_sound_model_passes(tsumiki: Command, tiny: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    said = tsumiki("doctor", tiny, "--lang", "en", "--receipt", receipt).stdout
    assert "The future is not seen" in said
    assert "nothing was found" in said
    assert json.loads(receipt.read_text(encoding="utf-8"))["ok"]


def test_japanese(tsumiki: Command, tiny: Path) -> None:
    assert "未来は見えない" in tsumiki("doctor", tiny, "--lang", "ja").stdout


def test_a_leak_is_found_and_told_by_the_exit_code(run: Command, tiny: Path, peeking: str) -> None:
    result = run("doctor", tiny, peeking, "--lang", "en")
    assert result.exit_code == 1
    assert "sees the future" in " ".join(result.stdout.split())


def test_a_leaking_model_is_not_trained(refused: Command, tiny: Path, peeking: str, tmp_path: Path) -> None:
    assert "must not be trained" in refused("train", tiny, peeking, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_self_test_shows_what_found_what(run: Command, tsumiki: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Diagnosis({}, "full", {}, (Verdict("failed", "future_seen", check="causality"),))
    nothing = Diagnosis({}, "full", {}, ())
    cases = [Case("modern", None, nothing), Case("no_mask", MUTATIONS["no_mask"], found)]
    monkeypatch.setattr(selftest, "self_test", lambda progress: cases)
    said = tsumiki("doctor", "--self-test", "--lang", "en").stdout
    assert "no_mask" in said
    assert "causality" in said
    assert said.endswith(
        "1 of 1 planted bugs were found, 1 of them by the quick set.\n"
        "0 of 1 sound models gave a false alarm.\nIt took 0 s.\n"
    )
    japanese = tsumiki("doctor", "--self-test", "--lang", "ja").stdout
    assert "植え付けた 1 個のバグのうち 1 個を見つけました。" in japanese
    assert japanese.endswith("0 秒かかりました。\n")

    cases[1:] = [Case("no_mask", MUTATIONS["no_mask"], nothing)]
    missed = run("doctor", "--self-test", "--lang", "en")
    assert "0 of 1 planted bugs were found" in missed.stdout
    assert "Missed: no_mask." in missed.stdout
    assert missed.exit_code == 1


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.usefixtures("no_compiler")
def test_every_check_is_made_of_a_configuration(tsumiki: Command, tiny: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    result = tsumiki("doctor", tiny, "--full", "--lang", "en", "--receipt", receipt)
    assert result.stderr == "There is no C++ compiler here, so the model is not compared with itself compiled.\n"
    verdicts = json.loads(receipt.read_text(encoding="utf-8"))["verdicts"]
    assert {verdict["status"] for verdict in verdicts} == {"passed"}, result.stdout
    assert [verdict["check"] for verdict in verdicts] == [check.name for check in (*MODEL_CHECKS, *PIPELINE_CHECKS)]


@pytest.mark.usefixtures("no_compiler")
def test_every_check_is_made_of_a_run(tsumiki: Command, trained: Path) -> None:
    said = tsumiki("doctor", trained, "--full", "--lang", "en").stdout
    assert re.search(r"resume +2 \+ 2 steps = 4 steps +ok", said)
    assert re.search(r"update_size .* ok", said)


def test_the_compiled_model_is_one_of_the_backends(
    tsumiki: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: None)  # which takes half a minute
    receipt = tmp_path / "receipt.json"
    tsumiki("doctor", tiny, "--full", "--receipt", receipt)
    verdicts = json.loads(receipt.read_text(encoding="utf-8"))["verdicts"]
    assert "compiled" in next(entry["values"]["backends"] for entry in verdicts if entry["check"] == "backends")


def test_a_learning_rate_that_is_far_off_is_found(run: Command, tiny: Path, no_compiler: None) -> None:
    result = run("doctor", tiny, "train.optimizer.learning_rate=1.0", "--full", "--lang", "en")
    assert result.exit_code == 1
    assert "update_size: One step of the optimizer moves" in result.stdout


def test_a_receipt_of_another_model_is_refused(
    refused: Command, tsumiki: Command, trained: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "copy"
    shutil.copytree(trained / "checkpoints" / "step-000004", checkpoint)
    receipt = checkpoint / "doctor.json"
    content = json.loads(receipt.read_text(encoding="utf-8"))
    content["model"]["architecture"]["num_layers"] = 3
    receipt.write_text(json.dumps(content), encoding="utf-8")
    said = refused("generate", checkpoint, "--prompt", "Once")
    assert "is no receipt for the model beside it: num_layers is 2, but 3 was verified" in said
    tsumiki("doctor", checkpoint, "--receipt", receipt)
    tsumiki("generate", checkpoint, "--prompt", "Once", "--max-tokens", "2")


def test_something_to_examine_is_asked_for(refused: Command) -> None:
    assert refused("doctor").startswith("Name what to examine")


def test_a_trained_run_passes(tsumiki: Command, trained: Path) -> None:
    assert "nothing was found" in tsumiki("doctor", trained, "--lang", "en").stdout


def test_a_run_cannot_be_changed(refused: Command, trained: Path) -> None:
    assert "changes are for configurations" in refused("doctor", trained, "model.num_layers=3")


def test_a_model_of_transformers_passes(tsumiki: Command, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=53, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    assert "nothing was found" in tsumiki("doctor", f"hf:{tmp_path / 'gpt2'}", "--lang", "en").stdout


def test_a_directory_without_a_model_of_transformers_is_refused(refused: Command, tmp_path: Path) -> None:
    assert refused("doctor", f"hf:{tmp_path / 'absent'}").endswith("does not exist.")
    assert "holds no model that transformers can load" in refused("doctor", f"hf:{tmp_path}")
