from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumiki.compare import Comparison, run_experiment
from tsumiki.config import dump_yaml
from tsumiki.train.display import silent

TINY = Path(__file__).with_name("tiny.yaml")

Write = Callable[..., Path]
Compare = Callable[..., Comparison]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prepared data is shared by all tests here and lies where no user's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSUMIKI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def write_experiment(path: Path, vary: dict[str, dict[str, Any]], **changes: Any) -> Path:
    content = {"base": str(TINY), "question": "Does it matter?", "vary": vary, "match": {"tokens": "0%"}, **changes}
    path.write_text(dump_yaml(content), encoding="utf-8")
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an experiment on the tiny model with these arms; keyword arguments are further keys of the file."""
    return lambda vary, **changes: write_experiment(tmp_path / "experiment.yaml", vary, **changes)


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Make an experiment's comparison in `tmp_path/runs`, without the doctor, who has tests of his own."""
    return lambda path: run_experiment(
        path, tmp_path / "runs", skip_doctor=True, workers=1, device="cpu", display=silent()
    )


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A learning rate ten times too low against one that fits, examined by the doctor as every run is."""
    directory = tmp_path_factory.mktemp("planted")
    rate = "train.optimizer.learning_rate"
    path = write_experiment(directory / "planted.yaml", {"low": {rate: 0.002}, "tuned": {rate: 0.02}})
    return run_experiment(path, directory / "runs", workers=1, device="cpu", display=silent())
