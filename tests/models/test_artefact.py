"""Loading a model is strict: one sentence for each way in which a file can be wrong."""

import pytest
import torch
import yaml
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


def test_the_weights_keep_the_precision_they_were_saved_in(directory, tmp_path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    save_model(load_model(directory, dtype=torch.bfloat16), half)
    assert load_model(half).unembedding.dtype == torch.bfloat16
    assert load_model(half, dtype=torch.float32).unembedding.dtype == torch.float32


def test_weights_of_another_dtype(directory) -> None:
    change(directory, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    assert "'embedding.weight' holds bfloat16, but the weights were saved as float32" in sentence(directory)


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
    assert "'norm.weight' holds int32, but the weights were saved as float32" in sentence(directory)


EDITS = {
    "max_seq_len": 30,
    "norm_eps": 1e-6,
    "init_std": 0.02,
    "sliding_window": 4,
    "sliding_layers": "all",
    "rope.theta": 10000.0,
    "rope.scaling.factor": 4.0,
    "rope.scaling.kind": "linear",
    "rope.scaling.temperature": False,
    "attention.sinks": False,
    "attention.qk_norm": False,
    "attention.num_kv_heads": 6,
    "attention.gate_input": "query",
    "feed_forward.d_ff": 30,
    "tie_embeddings": False,
}


@pytest.mark.parametrize("field", EDITS)
def test_a_changed_field_is_named(directory, field: str) -> None:
    path = directory / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    section, value = content["model"], EDITS[field]
    *parents, last = field.split(".")
    for parent in parents:
        section = section[parent]
    assert section[last] != value
    section[last] = value
    if value == "linear":  # the whole of the other kind, so that the configuration itself is valid
        content["model"]["rope"]["scaling"] = {"kind": "linear", "factor": 2.0}
        field = "rope.scaling.beta_fast"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert f"model.{field} is " in sentence(directory)
    assert "but the weights were saved with" in sentence(directory)


def test_a_weight_that_was_changed_shows_in_the_answers(directory) -> None:
    change(directory, lambda tensors: tensors["layers.1.attention.v_proj.weight"].mul_(1.05))
    assert "the model answers otherwise than when it was saved" in sentence(directory)


def test_code_that_computes_something_else_shows_in_the_answers(directory, monkeypatch) -> None:
    monkeypatch.setattr("tsumiki.nn.attention.core.rotate", lambda x, rotation: x)
    assert "or this version of tsumiki computes it differently" in sentence(directory)


def test_weights_that_are_not_finite_can_be_saved_and_loaded(directory) -> None:
    model = load_model(directory)
    with torch.no_grad():
        model.unembedding[0] = float("nan")
    save_model(model, directory)
    assert load_model(directory).unembedding[0].isnan().all()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"config": {}, "dtype": "float32", "logits": "x"}'])
def test_a_damaged_fingerprint(directory, content: str) -> None:
    (directory / "fingerprint.json").write_text(content, encoding="utf-8")
    assert "fingerprint.json' is damaged" in sentence(directory)
    (directory / "fingerprint.json").unlink()
    assert "holds no fingerprint.json, so nothing says what its weights are" in sentence(directory)


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
