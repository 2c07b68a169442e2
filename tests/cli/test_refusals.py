"""What a person can get wrong, and the one sentence that each command says about it. The exit code is 2."""

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.generate import released

Command = Callable[..., Any]


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(trained / "checkpoints" / "step-000004", tmp_path / "step-000004"))


@pytest.mark.parametrize("command", ["plan", "train", "doctor"])
def test_unknown_key(refused: Command, tiny: Path, command: str) -> None:
    assert refused(command, tiny, "train.stepz=3") == f"{tiny}: unknown key 'train.stepz'; did you mean 'steps'?"


@pytest.mark.parametrize("command", ["plan", "train", "doctor"])
def test_wrong_type(refused: Command, tiny: Path, command: str) -> None:
    sentence = refused(command, tiny, "train.steps=many")
    assert sentence == f"{tiny}: 'train.steps' is \"many\", but must be a whole number."


@pytest.mark.parametrize("command", ["plan", "train", "doctor"])
def test_missing_configuration(refused: Command, command: str) -> None:
    assert refused(command, "nowhere.yaml") == "The configuration file 'nowhere.yaml' does not exist."


@pytest.mark.parametrize("command", ["plan", "train", "doctor"])
def test_unknown_preset(refused: Command, command: str) -> None:
    assert "'gpt-oss-2m' is neither a file nor a preset; the presets are " in refused(command, "gpt-oss-2m")


def test_configuration_that_is_no_yaml(refused: Command, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("model: [1, 2", encoding="utf-8")
    assert f"{path}, line 1: this is not valid YAML" in refused("train", path)
    path.write_bytes(b"\xff\xfe\x00")
    assert f"{path}: this is not UTF-8 text" in refused("train", path)


def test_missing_data_file(refused: Command, tiny: Path, tmp_path: Path) -> None:
    assert "There is no file 'absent.jsonl'" in refused("train", tiny, *local_data("absent.jsonl"))


def test_empty_data(refused: Command, tsumiki: Command, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("", encoding="utf-8")
    tokenizer = tmp_path / "tokenizer.json"
    tsumiki("tokenizer", "train", tiny, tokenizer)
    run_dir = tmp_path / "run"
    changes = [*local_data(path), f"tokenizer={{kind: file, path: '{tokenizer}'}}"]
    assert refused("train", tiny, *changes, "--run-dir", run_dir) == "The source 'local-en' holds no text to train on."
    assert "too little text" in refused("train", tiny, *local_data(path), "--run-dir", run_dir)
    assert not run_dir.exists()


def local_data(path: str | Path) -> list[str]:
    return [f"data.sources=[{{kind: local, language: en, train: '{path}', validation_fraction: 0.5}}]"]


def test_tokenizer_that_does_not_fit_the_model(refused: Command, tiny: Path, tmp_path: Path) -> None:
    sentence = refused("train", tiny, "model.vocab_size=401", "--run-dir", tmp_path / "run")
    assert sentence.startswith("The tokenizer has 400 tokens, but model.vocab_size is 401: ")


def test_tokenizer_that_does_not_fit_the_checkpoint(
    refused: Command, tsumiki: Command, tiny: Path, checkpoint: Path
) -> None:
    tsumiki("tokenizer", "train", tiny, checkpoint / "tokenizer.json", "tokenizer.vocab_size=300")
    assert refused("generate", checkpoint, "--prompt", "Once") == (
        f"The tokenizer in '{checkpoint}' has 300 tokens, but the model beside it knows 400: "
        "they do not belong together."
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "tokenizer.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_checkpoint(refused: Command, checkpoint: Path, name: str, share: float) -> None:
    path = checkpoint / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert name in refused("generate", checkpoint, "--prompt", "Once")
    path.unlink()
    refused("generate", checkpoint, "--prompt", "Once")


def test_prompt_longer_than_the_context(refused: Command, trained: Path) -> None:
    sentence = refused("generate", trained, "--prompt", "むかし" * 40)
    assert sentence.endswith("tokens long, but the model's context holds 32: shorten the prompt.")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--top-k", "0", "top_k is 0, but must be at least 1; leave it out to keep all tokens."),
        ("--top-p", "1.5", "top_p is 1.5, but must be above 0 and at most 1; leave it out to keep all tokens."),
        ("--min-p", "-1", "min_p is -1.0, but must be between 0 and 1; leave it out to keep all tokens."),
        ("--temperature", "-1", "temperature is -1.0, but must be 0 (greedy) or a number from 1e-6 upwards."),
        ("--max-tokens", "0", "max_tokens is 0, but must be at least 1."),
        ("--device", "cuda:99", "The device 'cuda:99' is not there; this machine has cpu."),
    ],
)
def test_settings_out_of_range(refused: Command, trained: Path, option: str, value: str, sentence: str) -> None:
    assert refused("generate", trained, "--prompt", "Once", option, value) == sentence


def test_no_run(refused: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    assert refused("generate", "--prompt", "Once").startswith("There is no trained run in 'runs' yet")
    assert refused("generate", "absent", "--prompt", "Once").startswith("'absent' holds no checkpoint")


def test_prompt_that_is_no_text(refused: Command, trained: Path) -> None:
    assert refused("generate", trained, "--prompt", "\udcff") == "The prompt is not valid UTF-8 text."


def test_a_run_is_not_overwritten(refused: Command, tiny: Path, trained: Path) -> None:
    assert "already holds a run" in refused("train", tiny, "--run-dir", trained)


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        (4_000, "could not be written: file too large"),
        (30_000, "Checkpoint step-000004 could not be written: file too large"),
    ],
)
def test_no_disk_space(limit: int, sentence: str, script: Path, tiny: Path, tmp_path: Path) -> None:
    """A training whose files may not grow: the operating system refuses the write as it does on a full disk."""

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = subprocess.run(
        [script, "train", tiny, "--run-dir", tmp_path / "run", "--skip-doctor"],
        capture_output=True,
        encoding="utf-8",
        preexec_fn=limit_files,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert sentence in result.stderr


def test_a_place_that_cannot_be_written(refused: Command, tiny: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "tokenizer.json"
    assert refused("tokenizer", "train", tiny, absent) == f"'{absent}' cannot be used: no such file or directory."
    assert refused("tokenizer", "train", tiny, tmp_path) == f"'{tmp_path}' cannot be used: is a directory."
    assert refused("tokenizer", "train", tiny, "/dev/full") == "A file could not be written: no space left on device."


def test_usage_errors_also_end_with_2(run: Command, tiny: Path) -> None:
    for arguments in (
        ["no-such-command"],
        ["train"],
        ["train", tiny, "--no-such-option"],
        ["generate", "--top-k", "x"],
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
