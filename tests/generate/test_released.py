"""Models that come with tsumiki: what lies in `models/` works, and such a model can be named wherever a run can."""

import shutil
from pathlib import Path

import pytest
import torch

from tsumiki.errors import UserError
from tsumiki.generate import load, released
from tsumiki.generate.load import find_checkpoint, home_of
from tsumiki.models import load_model, save_model

NAME = "tsumiki-12m-en-ja"


@pytest.fixture
def folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of released models with one in it, in place of the real one."""
    folder = tmp_path / "models"
    shutil.copytree(run / "checkpoints/step-000030", folder / NAME)
    (folder / "README.md").write_text("# Models\n", encoding="utf-8")
    monkeypatch.setattr(released, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_released_model_is_found_by_its_name(folder: Path) -> None:
    assert released.released_names() == [NAME]
    assert load(NAME).checkpoint == folder / NAME
    with pytest.raises(UserError, match=f"or {NAME}, which comes with tsumiki"):
        find_checkpoint(Path("tsumiki-12m"))


def test_a_model_of_the_same_name_in_the_working_directory_comes_first(folder: Path, run: Path) -> None:
    Path(NAME).mkdir()
    assert find_checkpoint(Path(NAME)) == folder / NAME
    shutil.copytree(run / "checkpoints", Path(NAME) / "checkpoints")
    assert find_checkpoint(Path(NAME)).parent == Path(NAME) / "checkpoints"


def test_results_do_not_go_beside_a_released_model(folder: Path) -> None:
    assert home_of(find_checkpoint(Path(NAME))) == Path("exports") / NAME
    assert home_of(Path("models") / NAME) == Path("exports") / NAME


def test_weights_in_bf16_are_computed_with_in_fp32(run: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(run / "checkpoints/step-000030", tmp_path / "half"))
    save_model(load_model(half).to(torch.bfloat16), half)
    assert load_model(half).unembedding.dtype == torch.bfloat16
    assert load(half, device="cpu").model.unembedding.dtype == torch.float32


def test_what_is_released_writes_the_same_text_every_time() -> None:
    """Whatever lies in `models/`; that it is a model of few megabytes is what lets it come with the package."""
    assert (released.FOLDER / "README.md").is_file()
    for name in released.released_names():
        model = load(name, device="cpu")
        assert (model.checkpoint / "model.safetensors").stat().st_size <= 26_000_000
        for prompt in ("むかし", "Once upon a time"):
            first, second = (model.generate(prompt, temperature=0.8, seed=7, max_tokens=40) for _ in range(2))
            assert first == second != ""
            assert "\ufffd" not in first


def test_a_released_model_is_one_however_its_path_is_spelled(folder: Path) -> None:
    assert released.is_released(folder / NAME)
    assert released.is_released(Path("models") / NAME)
    assert not released.is_released(Path("models") / NAME / "checkpoints")
