"""What stands in a GGUF file, and what is refused. `test_llama_cpp.py` runs the files."""

import dataclasses

import gguf
import numpy as np
import pytest
import torch

from export.conftest import CONFIGS, VOCAB_SIZE, random_model
from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError
from tsumiki.export.gguf import export_gguf
from tsumiki.models import build_model
from tsumiki.nn.feed_forward import SwiGLUFeedForward
from tsumiki.nn.rope import NtkScaling, RopeConfig, YarnScaling

EXPRESSIBLE = ["gpt2", "gpt_oss-dense", "gpt_oss-moe", "llama", "qwen3"]


def fields(reader: gguf.GGUFReader) -> dict:
    return {name: field.contents() for name, field in reader.fields.items()}


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_every_weight_is_in_the_file_under_a_name_that_llama_cpp_knows(name: str, tokenizer, tmp_path) -> None:
    model = random_model(name)
    export_gguf(model, tokenizer, tmp_path / "model.gguf")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    architecture = fields(reader)["general.architecture"]
    assert architecture == name.partition("-")[0].replace("_", "-")
    known = next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == architecture)
    patterns = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[known]}
    for tensor in reader.tensors:
        stem = tensor.name.rpartition(".")[0]
        layer = stem.split(".")[1] if stem.startswith("blk.") else ""
        assert stem.replace(f".{layer}.", ".{bid}.") in patterns
    written = np.concatenate([np.sort(tensor.data.reshape(-1)) for tensor in reader.tensors])
    ours = sum(parameter.numel() for parameter in model.parameters())
    repeated_head = VOCAB_SIZE * 48 if architecture == "gpt-oss" and model.config.tie_embeddings else 0
    router_of_one = 3 * 49 if name == "gpt_oss-dense" else 0
    assert len(written) == ours + repeated_head + router_of_one


def test_sizes_and_rope_by_name(tokenizer, tmp_path) -> None:
    export_gguf(random_model("gpt_oss-moe"), tokenizer, tmp_path / "model.gguf")
    found = fields(gguf.GGUFReader(tmp_path / "model.gguf"))
    expected = {
        "context_length": 96,
        "embedding_length": 48,
        "block_count": 3,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 12,
        "attention.sliding_window": 8,
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_feed_forward_length": 68,
        "rope.freq_base": 5000.0,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 3.0,
        "rope.scaling.original_context_length": 32,
        "rope.scaling.yarn_beta_fast": 4.0,
    }
    assert {name: found[f"gpt-oss.{name}"] for name in expected} == expected


def test_ntk_scaling_is_another_theta(tokenizer, tmp_path) -> None:
    config = dataclasses.replace(CONFIGS["qwen3"], rope=RopeConfig(scaling=NtkScaling(factor=2.0)))
    export_gguf(build_model(config), tokenizer, tmp_path / "model.gguf")
    found = fields(gguf.GGUFReader(tmp_path / "model.gguf"))
    assert found["qwen3.rope.freq_base"] == pytest.approx(10000.0 * 2.0 ** (12 / 10))
    assert "qwen3.rope.scaling.type" not in found


def test_llamas_queries_turn_neighbouring_coordinates(tokenizer, tmp_path) -> None:
    """Row 2i of a head is our row i, row 2i + 1 our row i + D/2; values are as they are."""
    model = random_model("llama")
    export_gguf(model, tokenizer, tmp_path / "model.gguf")
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    for part in ("q", "k"):
        ours = model.get_parameter(f"layers.1.attention.{part}_proj.weight").unflatten(0, (-1, 12))
        theirs = tensors[f"blk.1.attn_{part}.weight"].unflatten(0, (-1, 12))
        assert torch.equal(theirs[:, 0::2], ours[:, :6])
        assert torch.equal(theirs[:, 1::2], ours[:, 6:])
    assert torch.equal(tensors["blk.1.attn_v.weight"], model.get_parameter("layers.1.attention.v_proj.weight"))


def test_the_tokenizer_is_in_the_file(tokenizer, tmp_path) -> None:
    export_gguf(random_model("llama"), tokenizer, tmp_path / "model.gguf")
    found = fields(gguf.GGUFReader(tmp_path / "model.gguf"))
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "dbrx"
    assert len(found["tokenizer.ggml.tokens"]) == VOCAB_SIZE
    assert len(found["tokenizer.ggml.merges"]) == VOCAB_SIZE - 257
    assert found["tokenizer.ggml.tokens"][tokenizer.end_of_text_id] == "<|endoftext|>"
    control = [id for id, kind in enumerate(found["tokenizer.ggml.token_type"]) if kind == gguf.TokenType.CONTROL]
    assert control == [tokenizer.end_of_text_id] == [found["tokenizer.ggml.bos_token_id"]]
    assert found["tokenizer.ggml.add_bos_token"] is True


CLAMPED = SwiGLUFeedForward.Config(d_ff=68, bias=True, limit=3.0, alpha=1.702)
REFUSED = {
    "its GELU is the tanh approximation": CONFIGS["gpt2-untied-erf"],
    "as llama: it has no biases": CONFIGS["llama-biases-linear"],
    "as qwen3: it has no sliding window": CONFIGS["qwen3-window-ntk"],
    "its SwiGLU has alpha 1.702 and limit 7": dataclasses.replace(CONFIGS["gpt_oss-dense"], feed_forward=CLAMPED),
    "every other layer slides": dataclasses.replace(CONFIGS["gpt_oss-dense"], sliding_window=None),
    "its attention has biases": dataclasses.replace(
        CONFIGS["gpt_oss-dense"], attention=dataclasses.replace(CONFIGS["gpt_oss-dense"].attention, bias=False)
    ),
    "its YaRN rounds the ramp to whole pairs": dataclasses.replace(
        CONFIGS["qwen3"], rope=RopeConfig(scaling=YarnScaling(factor=2.0, original_max_seq_len=32))
    ),
    "No class of transformers can express": dataclasses.replace(CONFIGS["qwen3"], feed_forward=CLAMPED),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_llama_cpp_cannot_express_is_refused_with_the_reason(sentence: str, tokenizer, tmp_path) -> None:
    with pytest.raises(UserError) as caught:
        export_gguf(build_model(REFUSED[sentence]), tokenizer, tmp_path / "model.gguf")
    assert sentence in str(caught.value)
    assert not (tmp_path / "model.gguf").exists()


def test_a_tokenizer_that_llama_cpp_would_cut_otherwise_is_refused(tokenizer, tmp_path) -> None:
    every_letter = tokenizer.text.replace('"Regex":"', '"Regex":".|')
    assert every_letter != tokenizer.text
    with pytest.raises(UserError, match=r"llama\.cpp knows no way to cut texts as this tokenizer does"):
        export_gguf(random_model("llama"), Tokenizer(every_letter), tmp_path / "model.gguf")
