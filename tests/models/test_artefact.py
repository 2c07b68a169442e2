"""Loading a model is strict: one sentence for each way in which a file can be wrong."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from contract.cases import CASES
from tsumiki.errors import UserError
from tsumiki.models import build_model, load_model, save_model


@pytest.fixture
def directory(tmp_path):
    save_model(build_model(CASES[-1].config), tmp_path)
    return tmp_path


def sentence(directory) -> str:
    with pytest.raises(UserError) as caught:
        load_model(directory)
    return str(caught.value)


def change(directory, edit) -> None:
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_a_model_is_loaded_in_eval_mode_with_its_own_weights(directory) -> None:
    model = load_model(directory)
    assert not model.training
    assert torch.equal(model.unembedding, load_file(directory / "model.safetensors")["embedding.weight"])


def test_the_weights_keep_the_precision_they_were_saved_in(directory) -> None:
    change(directory, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    assert load_model(directory).unembedding.dtype == torch.bfloat16
    assert load_model(directory, dtype=torch.float32).unembedding.dtype == torch.float32


def test_a_missing_tensor(directory) -> None:
    change(directory, lambda tensors: tensors.pop("norm.weight"))
    assert "holds no 'norm.weight', which the configuration beside it needs" in sentence(directory)


def test_an_extra_tensor(directory) -> None:
    change(directory, lambda tensors: tensors.update(extra=torch.ones(1)))
    assert "holds 'extra', which the configuration beside it does not know" in sentence(directory)


def test_a_tensor_of_another_shape(directory) -> None:
    change(directory, lambda tensors: tensors.update({"norm.weight": torch.ones(5)}))
    assert "'norm.weight' is [5], but the configuration beside it says [23]" in sentence(directory)


def test_a_tensor_of_integers(directory) -> None:
    change(directory, lambda tensors: tensors.update({"norm.weight": torch.ones(23, dtype=torch.int32)}))
    assert "holds torch.int32, but weights are floating-point numbers" in sentence(directory)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short(directory, keep: int) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "is cut short or no safetensors file" in sentence(directory)


def test_a_pickle_is_not_opened(directory, tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    torch.save(Bomb(), directory / "model.safetensors")
    assert "no safetensors file" in sentence(directory)
    assert not (tmp_path / "opened").exists()


def test_no_weights_and_no_configuration(directory) -> None:
    (directory / "model.safetensors").unlink()
    assert "model.safetensors' does not exist" in sentence(directory)
    (directory / "config.yaml").unlink()
    assert "holds no config.yaml" in sentence(directory)


def test_a_configuration_without_a_model(directory) -> None:
    (directory / "config.yaml").write_text("name: x\n", encoding="utf-8")
    assert "the key 'model' is missing" in sentence(directory)
