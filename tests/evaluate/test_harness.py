"""The adapter to lm-eval against lm-eval's own class for transformers, on the exported model; all of it offline."""

import socket
from pathlib import Path
from typing import Any

import datasets
import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from typer.testing import CliRunner

from export.conftest import VOCAB_SIZE, random_model
from tsumiki import load
from tsumiki.cli import app
from tsumiki.data import SOURCES
from tsumiki.data.sources import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.errors import UserError
from tsumiki.evaluate.harness import HarnessModel
from tsumiki.generate import Sampling
from tsumiki.generate.engine import Generation
from tsumiki.models import save_model

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).with_name("tasks")
TASK = "which_comes_next"
PAIRS = [
    ("Once upon a time", " there was a moth."),
    ("", "むかしむかし、"),
    ("A short question ends with spaces  ", "yes"),
    ("A very long story. " * 20, "The end."),
    ("灯台もりのオスカーは", "ランプを明るくしました。"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"A connection to {arguments[1:]} was tried.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module", params=["gpt2", "gpt_oss-dense"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model as it is, and exported for transformers."""
    directory = tmp_path_factory.mktemp("model")
    native, exported = directory / "native", directory / "exported"
    native.mkdir()
    save_model(random_model(request.param), native)
    sources = [SOURCES["sample"](SampleSource.Config(language=language)) for language in ("en", "ja")]
    documents = [document for source in sources for document in source.documents("train")]
    train_tokenizer(documents, vocab_size=VOCAB_SIZE, train_bytes=20_000).save(native / "tokenizer.json")
    result = CliRunner().invoke(app, ["export", str(native), "--to", "hf", "-o", str(exported)])
    assert result.exit_code == 0, result.output
    return native, exported


def ours(saved: tuple[Path, Path]) -> HarnessModel:
    return HarnessModel(load(saved[0], device="cpu"), batch_size=3)


def theirs(saved: tuple[Path, Path], **options: Any) -> HFLM:
    return HFLM(pretrained=str(saved[1]), device="cpu", dtype="float32", batch_size=3, **options)


def instances(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, pair, number) for number, pair in enumerate(arguments)]


def test_the_command_gives_the_score_of_the_exported_model(saved: tuple[Path, Path]) -> None:
    command = ["eval-harness", str(saved[0]), "--task", TASK, "--include-path", str(TASKS), "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    manager = TaskManager(include_path=TASKS, include_defaults=False)
    expected = simple_evaluate(theirs(saved), tasks=[TASK], task_manager=manager, bootstrap_iters=0)
    assert expected is not None
    figures = expected["results"][TASK]
    for name in ("acc", "acc_norm"):
        assert f"{TASK}  {name:16}{figures[f'{name},none']:.4f}\n" in result.stdout
    assert expected["n-samples"][TASK]["effective"] == 24


def test_likelihoods(saved: tuple[Path, Path]) -> None:
    requests = instances("loglikelihood", PAIRS)
    found, expected = ours(saved).loglikelihood(requests), theirs(saved).loglikelihood(requests)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_a_greedy_text_is_known_as_one(saved: tuple[Path, Path]) -> None:
    harness = ours(saved)
    prompt = harness.tok_encode("むかし")
    text = list(Generation(harness.model, prompt, Sampling(temperature=0.0), max_tokens=7))
    other = [*text[:-1], (text[-1] + 1) % VOCAB_SIZE]
    scores = harness._loglikelihood_tokens([(("", ""), prompt, text), (("", ""), prompt, other)])
    assert [greedy for _, greedy in scores] == [True, False]
    assert scores[0] > scores[1]


def test_whole_texts_in_windows(saved: tuple[Path, Path]) -> None:
    story = next(SampleSource(SampleSource.Config(language="en")).documents("train")).text
    texts = instances("loglikelihood_rolling", [("moth",), (story,), ("灯台もりのオスカー",)])
    found = ours(saved).loglikelihood_rolling(texts)
    assert found == pytest.approx(theirs(saved, add_bos_token=False).loglikelihood_rolling(texts), abs=1e-2)


def test_texts_that_it_writes(saved: tuple[Path, Path]) -> None:
    settings = {"max_gen_toks": 13, "until": ["e"], "do_sample": False}
    requests = instances(
        "generate_until", [("Once", settings), ("むかしむかし、", settings), ("story " * 60, settings)]
    )
    found = ours(saved).generate_until(requests)
    assert found == theirs(saved).generate_until(requests)
    assert any(found)
    assert not any("e" in text for text in found)


def test_what_does_not_fit(saved: tuple[Path, Path]) -> None:
    harness = ours(saved)
    with pytest.raises(UserError, match="the model's context holds 96: choose a task with shorter texts"):
        harness.loglikelihood(instances("loglikelihood", [("Once", " very" * 100)]))
    with pytest.raises(UserError, match="wants answers of 96 tokens"):
        harness.generate_until(instances("generate_until", [("Once", {"max_gen_toks": 96})]))


def test_a_directory_of_tasks_that_is_not_there(saved: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["eval-harness", str(saved[0]), "--task", TASK, "--include-path", "nowhere"])
    assert result.exit_code == 2
    assert "'nowhere' is no directory" in result.stderr
