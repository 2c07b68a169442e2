import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tsumiki.cli import app

TINY = Path(__file__).with_name("tiny.yaml")

Command = Callable[..., Any]


def invoke(*arguments: str | Path, input: str | None = None) -> Any:
    """Run a command in this process; the result has `exit_code`, `stdout` and `stderr`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prepared data is shared by all tests here and lies where no user's does; processes of their own take one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSUMIKI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def tiny() -> Path:
    """The configuration of a model that trains in a second."""
    return TINY


@pytest.fixture
def run() -> Command:
    """Run a command, whatever comes of it."""
    return invoke


@pytest.fixture(scope="session")
def script() -> Path:
    """The installed `tsumiki`, for tests that need a process of its own."""
    return Path(sys.executable).with_name("tsumiki")


@pytest.fixture
def tsumiki() -> Command:
    """Run a command that is expected to succeed; returns its result."""

    def succeed(*arguments: str | Path, input: str | None = None) -> Any:
        result = invoke(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result

    return succeed


@pytest.fixture
def refused() -> Command:
    """Run a command that is expected to refuse; returns its sentence."""

    def refuse(*arguments: str | Path, input: str | None = None) -> str:
        result = invoke(*arguments, input=input)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("tsumiki: ")
        assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.endswith((".\n", "?\n")), result.stderr
        return result.stderr.removeprefix("tsumiki: ").strip()

    return refuse


@pytest.fixture(scope="session")
def trained(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; to be copied before it is changed."""
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    result = invoke("train", TINY, "--run-dir", run_dir)
    assert result.exit_code == 0, result.output
    return run_dir


@pytest.fixture(scope="session")
def endless(trained: Path) -> Path:
    """A run whose context is so long that greedy text goes on for minutes."""
    run_dir = trained.with_name("endless")
    result = invoke("train", TINY, "model.max_seq_len=100000", "--run-dir", run_dir, "--skip-doctor")
    assert result.exit_code == 0, result.output
    return run_dir
