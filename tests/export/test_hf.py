"""Exported folders load in `transformers` and compute the same; imported folders are read strictly."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from export.conftest import CONFIGS, VOCAB_SIZE, random_model
from tsumiki.errors import UserError
from tsumiki.export.hf import architecture_for, export_hf, import_hf
from tsumiki.generate.load import TextModel
from tsumiki.nn.attention import GatedAttention
from tsumiki.nn.feed_forward import GeluFeedForward, SwiGLUFeedForward
from tsumiki.nn.rope import NtkScaling, RopeConfig, YarnScaling

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_oss": "GptOssForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
PROMPTS = ("Once upon a time", "むかし、ある村に")


def load_theirs(directory):
    theirs = AutoModelForCausalLM.from_pretrained(directory)
    if theirs.config.model_type == "gpt_oss":
        theirs.set_experts_implementation("eager")
    return theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_an_exported_model_computes_the_same(name: str, tokenizer, tmp_path) -> None:
    model = random_model(name)
    assert export_hf(model, tokenizer, tmp_path) == CLASSES[name.partition("-")[0]]
    theirs = load_theirs(tmp_path)
    assert type(theirs).__name__ == CLASSES[name.partition("-")[0]]
    ids = torch.randint(0, VOCAB_SIZE, (2, 96), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt_oss-moe", "qwen3"])
def test_an_exported_model_writes_the_same(name: str, tokenizer, tmp_path) -> None:
    """From text to text: their tokenizer puts the token that begins a text in front, as ours does."""
    model = random_model(name)
    export_hf(model, tokenizer, tmp_path)
    theirs, their_tokenizer = load_theirs(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for prompt in PROMPTS:
        inputs = their_tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        assert inputs.input_ids[0].tolist() == [tokenizer.end_of_text_id, *tokenizer.encode(prompt)]
        written = theirs.generate(**inputs, max_new_tokens=40, do_sample=False)
        text = their_tokenizer.decode(written[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        ours = TextModel(model, tokenizer, tmp_path).stream(prompt, max_tokens=40, temperature=0.0)
        assert "".join(ours) == text.replace("\ufffd", "")


@pytest.mark.parametrize("name", CONFIGS)
def test_there_and_back_is_the_same_model(name: str, tokenizer, tmp_path) -> None:
    model = random_model(name)
    export_hf(model, tokenizer, tmp_path)
    again, their_tokenizer = import_hf(tmp_path)
    scaling = getattr(getattr(model.config, "rope", None), "scaling", None)
    if isinstance(scaling, NtkScaling):
        # It comes back as the theta that it is.
        theta = model.config.rope.theta * scaling.factor ** (12 / 10)
        assert again.config == dataclasses.replace(model.config, rope=RopeConfig(theta=theta))
    else:
        assert again.config == model.config
    assert their_tokenizer.vocab_size == VOCAB_SIZE
    assert their_tokenizer.encode(PROMPTS[1]) == tokenizer.encode(PROMPTS[1])
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_generation_config_knows_the_end(tokenizer, tmp_path) -> None:
    export_hf(random_model("llama"), tokenizer, tmp_path)
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert generation.eos_token_id == generation.bos_token_id == tokenizer.end_of_text_id
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token == "<|endoftext|>"


def test_bfloat16_stays_bfloat16(tokenizer, tmp_path) -> None:
    export_hf(random_model("gpt_oss-moe").bfloat16(), tokenizer, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert import_hf(tmp_path)[0].unembedding.dtype == torch.bfloat16


GATED = GatedAttention.Config(num_heads=4, num_kv_heads=4, head_dim=12, bias=True)
INEXPRESSIBLE = {
    "GPT2LMHeadModel: it has no 'gated' attention.": dataclasses.replace(CONFIGS["gpt2"], attention=GATED),
    "it has no 'swiglu' feed-forward layer": dataclasses.replace(
        CONFIGS["gpt2"], feed_forward=SwiGLUFeedForward.Config(d_ff=7)
    ),
    "each of its query heads has its own key/value head": dataclasses.replace(
        CONFIGS["gpt2"], attention=CONFIGS["llama"].attention
    ),
    "GptOssForCausalLM: it has no 'gated' attention, it always has attention sinks": dataclasses.replace(
        CONFIGS["gpt_oss-moe"], attention=GATED
    ),
    "LlamaForCausalLM: it has no logit_softcap.": dataclasses.replace(CONFIGS["llama"], logit_softcap=15.0),
    "LlamaForCausalLM: it has no sliding window.": dataclasses.replace(CONFIGS["llama"], sliding_window=8),
    "it has no 'gelu' feed-forward layer": dataclasses.replace(
        CONFIGS["llama"], feed_forward=GeluFeedForward.Config(d_ff=7)
    ),
    "GptOssForCausalLM: its YaRN has the index ramp only.": dataclasses.replace(
        CONFIGS["gpt_oss-dense"],
        rope=RopeConfig(scaling=YarnScaling(factor=2.0, original_max_seq_len=32, ramp="wavelength")),
    ),
    "Qwen3ForCausalLM: it always has QK-norm, its SwiGLU is not clamped": dataclasses.replace(
        CONFIGS["llama"], feed_forward=SwiGLUFeedForward.Config(d_ff=7, limit=7.0, alpha=1.702)
    ),
}


@pytest.mark.parametrize("sentence", INEXPRESSIBLE)
def test_what_no_class_can_express_is_refused_with_the_reason(sentence: str) -> None:
    with pytest.raises(UserError, match="No class of transformers can express this model") as caught:
        architecture_for(INEXPRESSIBLE[sentence])
    assert sentence in str(caught.value)


@pytest.fixture
def folder(tokenizer, tmp_path):
    export_hf(random_model("llama"), tokenizer, tmp_path)
    return tmp_path


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        import_hf(folder)
    return str(caught.value)


def change(folder, edit) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_tensors_are_read_strictly(folder) -> None:
    change(folder, lambda tensors: tensors.update(extra=torch.ones(1)))
    assert "holds a tensor 'extra', which its config.json does not know" in refusal(folder)
    change(folder, lambda tensors: [tensors.pop("extra"), tensors.update({"model.norm.weight": torch.ones(3)})])
    assert "'norm.weight' is [3], but the configuration beside it says [48]" in refusal(folder)
    change(folder, lambda tensors: tensors.pop("model.norm.weight"))
    assert "holds no tensor 'model.norm.weight', which its config.json needs" in refusal(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert "is cut short or no safetensors file" in refusal(folder)


def test_norms_in_fp32_and_the_rest_in_bf16(folder) -> None:
    halve = {name: t if "norm" in name else t.bfloat16() for name, t in load_file(folder / "model.safetensors").items()}
    save_file(halve, folder / "model.safetensors")
    model, _ = import_hf(folder)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model.unembedding, halve["model.embed_tokens.weight"].float())
    change(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(48, dtype=torch.int8)}))
    assert "'norm.weight' holds int8, but weights are floating-point numbers" in refusal(folder)


def test_a_pickle_is_not_opened(folder) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no model.safetensors. Ask for" in refusal(folder)
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")
    assert "'pytorch_model.bin' is a pickle, which can run code, and was not opened" in refusal(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    assert "no safetensors file" in refusal(folder)


def test_several_files_with_an_index(folder) -> None:
    expected, _ = import_hf(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {"a.safetensors": list(tensors)[:5], "b.safetensors": list(tensors)[5:]}
    for file, names in files.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    weight_map = {name: file for file, names in files.items() for name in names}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    again, _ = import_hf(folder)
    assert torch.equal(again.unembedding, expected.unembedding)


def test_rows_that_no_token_has_are_left_out(folder) -> None:
    expected, _ = import_hf(folder)
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**fields, "vocab_size": VOCAB_SIZE + 4}), encoding="utf-8")
    padding = torch.ones(4, 48)
    change(
        folder,
        lambda tensors: tensors.update(
            {"model.embed_tokens.weight": torch.cat([tensors["model.embed_tokens.weight"], padding])}
        ),
    )
    again, _ = import_hf(folder)
    assert again.config == expected.config
    assert torch.equal(again.unembedding, expected.unembedding)


def test_a_tokenizer_that_does_not_belong_to_the_model(folder) -> None:
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**fields, "vocab_size": VOCAB_SIZE - 1}), encoding="utf-8")
    assert f"has {VOCAB_SIZE} tokens, but the model beside it knows {VOCAB_SIZE - 1}" in refusal(folder)


def test_no_configuration(folder) -> None:
    (folder / "config.json").write_text("[", encoding="utf-8")
    assert "config.json' is not JSON" in refusal(folder)
    (folder / "config.json").write_text("[1]", encoding="utf-8")
    assert "holds no mapping" in refusal(folder)
    (folder / "config.json").unlink()
    assert "cannot be read" in refusal(folder)
