"""`tsumiki export` and `tsumiki import`, as they are typed."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from export.conftest import random_model
from tsumiki import load
from tsumiki.data import SOURCES
from tsumiki.data.sources import SampleSource
from tsumiki.data.tokenizer import train_tokenizer
from tsumiki.models import save_model


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    checkpoint = tmp_path / "toy"
    checkpoint.mkdir()
    save_model(random_model("qwen3", num_layers=1), checkpoint)
    stories = SOURCES["sample"](SampleSource.Config(language="en")).documents("train")
    train_tokenizer(stories, vocab_size=300, train_bytes=20_000).save(checkpoint / "tokenizer.json")
    return checkpoint


def test_out_to_transformers_and_in_again(tsumiki, run, checkpoint: Path, tmp_path) -> None:
    out = tmp_path / "out"
    assert "a Qwen3ForCausalLM" in tsumiki("export", checkpoint, "--to", "hf", "-o", out).stdout
    assert AutoModelForCausalLM.from_pretrained(out).config.num_hidden_layers == 1
    again = tmp_path / "again"
    assert "parameters; try it with tsumiki generate" in tsumiki("import", f"hf:{out}", again).stdout
    first, second = load(checkpoint, device="cpu"), load(again, device="cpu")
    assert torch.equal(first.logits("むかし"), second.logits("むかし"))
    refused = run("export", checkpoint, "--to", "hf", "-o", out)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr


def test_out_to_gguf_and_onnx(tsumiki, checkpoint: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "llama-cli -m" in tsumiki("export", checkpoint, "--to", "gguf").stdout
    assert (tmp_path / "exports/toy-gguf/model.gguf").stat().st_size > 10_000
    assert "run it with onnxruntime" in tsumiki("export", checkpoint, "--to", "onnx").stdout
    assert sorted(path.name for path in (tmp_path / "exports/toy-onnx").iterdir()) == ["model.onnx", "tokenizer.json"]


def test_what_cannot_be_imported(run, tmp_path) -> None:
    refused = run("import", "somewhere", tmp_path / "new")
    assert refused.exit_code == 2
    assert "name a directory of transformers as hf:DIR" in refused.stderr
    assert "cannot be read" in run("import", f"hf:{tmp_path}", tmp_path / "new").stderr
    assert not (tmp_path / "new").exists()
