"""Weights in fewer bits."""

from pathlib import Path

import pytest
import torch

from contract.cases import CASES, Case
from generate.conftest import CONFIGS, toy_model
from generate.test_batch import GREEDY
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError
from tsumiki.generate import load
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.quantise import load_quantised, num_bytes, quantised, save_quantised
from tsumiki.kernels.stored import StoredLinear
from tsumiki.models import build_model


def test_int8_by_hand() -> None:
    weight = torch.tensor([[1.27, -0.635, 0.0], [0.0, 0.0, 0.0], [-254.0, 1.0, 127.0]])
    layer = StoredLinear.rounded(weight, torch.int8)
    assert layer.stored.tolist() == [[127, -64, 0], [0, 0, 0], [-127, 0, 64]]
    assert layer.weight[2].tolist() == [-254.0, 0.0, 128.0]
    torch.testing.assert_close(layer(torch.eye(3)), layer.weight.T)


def test_no_weight_is_off_by_more_than_half_a_step() -> None:
    weight = torch.randn(31, 17, generator=torch.Generator().manual_seed(1))
    layer = StoredLinear.rounded(weight, torch.int8)
    assert ((layer.weight - weight).abs() <= weight.abs().amax(dim=1, keepdim=True) / 127 / 2 * 1.0001).all()


@pytest.mark.parametrize("case", CASES[::4], ids=lambda case: case.name)
@pytest.mark.parametrize("stored", ["int8", "bf16"])
def test_every_variant_keeps_its_logits_nearly(case: Case, stored) -> None:
    model = case.model(dtype=torch.float32)
    ids = torch.randint(0, 53, (2, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        small, exact = quantised(model, stored)(ids), model(ids)
    assert 0 < (small - exact).norm() < 0.05 * exact.norm()
    nats, count = quantised(model, stored).loss(ids, ids.roll(-1, dims=1))
    assert nats.isfinite()
    assert count == ids.numel()


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("tied", [True, False])
def test_what_was_saved_computes_the_same(name: str, tied: bool, tmp_path: Path) -> None:
    config = CONFIGS[name]
    model = quantised(build_model(type(config)(**{**vars(config), "tie_embeddings": tied})).eval(), "int8")
    save_quantised(model, "int8", tmp_path)
    again = load_quantised(tmp_path)
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))
    assert num_bytes(again) == num_bytes(model)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="cannot be read"):
        load_quantised(tmp_path)


def test_a_quantised_model_is_small_and_writes() -> None:
    config = type(CONFIGS["gpt_oss"])(**{**vars(CONFIGS["gpt_oss"]), "d_model": 128, "vocab_size": 512})
    model = toy_model(config)
    small = quantised(model, "int8")
    assert num_bytes(small) < 0.27 * num_bytes(model)
    (text,) = Engine(small, num_rows=2).run([Request([1, 2], GREEDY, 9)])
    assert len(text.tokens) == 9


def test_load_takes_a_quantised_directory(run: Path, small_tokenizer: Tokenizer, tmp_path: Path) -> None:
    directory = tmp_path / "small"
    directory.mkdir()
    save_quantised(quantised(load(run).model, "int8"), "int8", directory)
    small_tokenizer.save(directory / "tokenizer.json")
    assert isinstance(load(directory).generate("Once", temperature=0, max_tokens=5), str)
