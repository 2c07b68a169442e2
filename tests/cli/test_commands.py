"""What each command does when all is well."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.cli.demo import free_directory, sparkline
from tsumiki.cli.plan import si
from tsumiki.config import load, preset_names
from tsumiki.data import Tokenizer
from tsumiki.models import build_model
from tsumiki.train import RunConfig
from tsumiki.version import __version__

Command = Callable[..., Any]


def test_version(tsumiki: Command) -> None:
    assert tsumiki("--version").stdout == f"tsumiki {__version__}\n"


def test_help_names_every_command_without_importing_torch(script: Path) -> None:
    code = "import sys, tsumiki.cli; sys.exit('torch' in sys.modules or 'prompt_toolkit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    shown = subprocess.run([script, "--help"], capture_output=True, encoding="utf-8", check=True).stdout
    for command in ("demo", "presets", "plan", "train", "doctor", "generate", "tokenizer"):
        assert f" {command} " in shown


def test_presets_lists_every_preset(tsumiki: Command) -> None:
    lines = tsumiki("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert re.fullmatch(r"article-gpt-oss +123\.8 M parameters,  83% of them vocabulary, .*context 1024", lines[0])


def test_plan_counts_what_the_model_has(tsumiki: Command, tiny: Path) -> None:
    said = tsumiki("plan", tiny, "model.num_layers=3").stdout
    model = build_model(load(tiny, RunConfig, ["model.num_layers=3"]).model)
    assert re.search(rf"^  parameters +{sum(p.numel() for p in model.parameters()):,}$", said, re.MULTILINE)
    assert re.search(rf"^    vocabulary +{model.unembedding.numel():,} ", said, re.MULTILINE)


def test_plan_warns_of_a_model_that_is_mostly_vocabulary(tsumiki: Command) -> None:
    assert "Warning: 83 % of the parameters are the vocabulary" in tsumiki("plan", "article-gpt-oss").stdout
    assert "Warning" not in tsumiki("plan", "gpt-oss-12m").stdout


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 "), (999, "999 "), (999.7, "1 k"), (1_234_567, "1.23 M"), (5.5e18, "5.5 E")]
)
def test_figures_have_three_digits_and_a_prefix(number: float, text: str) -> None:
    assert si(number) == text


def test_a_trained_tokenizer_is_a_file_that_loads(tsumiki: Command, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    said = tsumiki("tokenizer", "train", tiny, path, "tokenizer.vocab_size=321").stdout
    tokenizer = Tokenizer.load(path)
    assert said == f"{path}: 321 tokens, SHA-256 {tokenizer.sha256}\n"
    assert tokenizer.vocab_size == 321


def test_the_tokenizer_report_has_a_line_for_each_language(tsumiki: Command, tiny: Path) -> None:
    said = tsumiki("tokenizer", "report", tiny).stdout
    assert said.startswith("400 tokens, of which\n")
    assert re.search(r"^en +36 +\d\.\d\d ", said, re.MULTILINE)
    assert re.search(r"^ja +36 +\d\.\d\d ", said, re.MULTILINE)
    assert said.endswith("All 72 held-out documents came back byte for byte.\n")


def test_training_says_where_the_run_lies_and_goes_on_from_there(
    tsumiki: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = tsumiki("train", tiny, "train.schedule={kind: wsd, warmup_steps: 1, cooldown_fraction: 0}").stdout
    assert said.endswith("The run lies in runs/tiny. Ask it for a story: tsumiki generate runs/tiny\n")
    assert "step 4/4  loss " in said
    tsumiki("train", "runs/tiny", "train.steps=6", "--resume")
    assert sorted(path.name for path in Path("runs/tiny/checkpoints").iterdir()) == ["step-000004", "step-000006"]


def test_ctrl_c_saves_the_training_and_ends_with_130(script: Path, tiny: Path, tmp_path: Path) -> None:
    command = [script, "train", tiny, "train.steps=1000000", "--run-dir", tmp_path / "run", "--skip-doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "loss" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("\n") == 1, said
    assert "--resume" in said
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


SHRUNK = (
    "model.num_layers=1",
    "model.max_seq_len=32",
    "train.seq_len=32",
    "train.steps=3",
    "train.log_every=1",
    "train.evaluate_every=3",
    "train.evaluate_max_bytes=2000",
    "train.schedule.warmup_steps=1",
    "train.samples.max_tokens=5",
    "train.tensorboard=false",
)


def test_demo(tsumiki: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = tsumiki("demo", *SHRUNK).stdout
    for text in (
        "1 of 4: the model",
        "step 3/3  loss ",
        "training loss, nats a token: ",
        "bits per byte, en, stories not trained on: ",
        "bits per byte, ja, stories not trained on: ",
        "  before  ",
        "  after   ",
        "with the cache: ",
        "without: ",
        "Both texts are equal. Computed on cpu by sdpa.",
        "The run lies in runs/demo. Now try",
    ):
        assert text in said
    assert "Once upon a time  (temperature 1)" in said
    assert "むかしむかし、  (temperature 1)" in said
    assert max(map(len, said.splitlines())) <= 100


def test_demo_overwrites_no_run(tmp_path: Path) -> None:
    assert free_directory(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_directory(tmp_path / "demo") == tmp_path / "demo-3"


def test_sparkline() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([3.0]) == "▁"
    assert len(sparkline(list(range(1000)))) == 40
