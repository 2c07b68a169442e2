from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tsumiki.cli import app
from tsumiki.config import dump_yaml, load, parse
from tsumiki.data import Document, SampleSource, Tokenizer
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.models import LanguageModel, ModelConfig, build_model, save_model
from tsumiki.train import RunConfig

CONFIG = Path(__file__).parents[1] / "cli/tiny.yaml"
TINY: dict[str, Any] = {
    "family": "gpt_oss",
    "max_seq_len": 64,
    "d_model": 32,
    "num_layers": 2,
    "attention": {"variant": "grouped_query", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8},
    "feed_forward": {"variant": "swiglu", "d_ff": 40},
}


@pytest.fixture(scope="session")
def stories() -> dict[str, list[Document]]:
    """The training stories of each language that come with tsumiki."""
    return {
        language: list(SampleSource(SampleSource.Config(language=language)).documents("train"))
        for language in ("en", "ja")
    }


@pytest.fixture(scope="session")
def story_tokenizer(stories: dict[str, list[Document]]) -> Tokenizer:
    documents = [*stories["en"][:100], *stories["ja"][:100]]
    return train_tokenizer(documents, vocab_size=700, train_bytes=150_000)


@pytest.fixture(scope="session")
def tiny_model(story_tokenizer: Tokenizer) -> Callable[[int], LanguageModel]:
    """An untrained model of `story_tokenizer`, by seed."""
    config: Any = parse({**TINY, "vocab_size": story_tokenizer.vocab_size}, ModelConfig, where="test")  # pyright: ignore[reportArgumentType]
    return lambda seed: build_model(config, seed=seed).eval()


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Any]:
    """Run `tsumiki`; anything but an exit code is a failure."""

    def run_command(*arguments: str | Path) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_command


@pytest.fixture(scope="session")
def run(story_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a run with one checkpoint, untrained."""
    directory = tmp_path_factory.mktemp("evaluation")
    config = load(CONFIG, RunConfig, [f"model.vocab_size={story_tokenizer.vocab_size}", "model.max_seq_len=128"])
    checkpoint = directory / "run/checkpoints/step-000004"
    checkpoint.mkdir(parents=True)
    save_model(build_model(config.model), checkpoint)
    story_tokenizer.save(checkpoint / "tokenizer.json")
    (directory / "run/config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSUMIKI_CACHE", str(directory / "cache"))
        yield directory / "run"
