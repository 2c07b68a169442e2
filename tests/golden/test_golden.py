"""The same random weights in `transformers` and in tsumiki give the same logits, and the same text."""

import json

import pytest
import torch
import transformers

from golden.conftest import MODELS, VOCAB_SIZE, gpt2, without_rounding
from tsumiki.errors import UserError
from tsumiki.export.hf import import_model
from tsumiki.generate import Sampling
from tsumiki.generate.engine import Generation
from tsumiki.kernels import BackendConfig
from tsumiki.models import LanguageModel, build_model
from tsumiki.nn.feed_forward import Routing
from tsumiki.nn.feed_forward.moe import balance_loss

CONTEXT = 64


def random_ids(batch_size: int, num_tokens: int) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE, (batch_size, num_tokens), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def ours(theirs, tmp_path) -> LanguageModel:
    theirs.save_pretrained(tmp_path)
    return import_model(tmp_path)


@torch.no_grad()
def test_fp32_logits_agree(theirs, ours) -> None:
    ids = random_ids(2, CONTEXT)
    expected = theirs(ids).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(ours(ids), expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("spelling", ["eager", "fast"])
def test_fp64_logits_agree(theirs, tmp_path, spelling: str) -> None:
    theirs.double()
    theirs.save_pretrained(tmp_path)
    eager = BackendConfig(attention="eager", activation="eager", experts="eager", cross_entropy="eager")
    ours = import_model(tmp_path, backend=eager if spelling == "eager" else None)
    assert ours.unembedding.dtype == torch.float64
    ids = random_ids(2, CONTEXT)
    with without_rounding(theirs, None if ours.rope is None else ours.rope.inverse_frequencies):
        expected = theirs(ids).logits
    torch.testing.assert_close(ours(ids), expected, rtol=0, atol=1e-8)


@torch.no_grad()
def test_padding_on_the_left_agrees(theirs, ours) -> None:
    ids, padding = random_ids(2, 41), 7
    mask = torch.ones_like(ids)
    mask[1, :padding] = 0
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    expected = theirs(ids, attention_mask=mask, position_ids=positions).logits
    found = ours(ids, positions=torch.where(mask.bool(), positions, -1))
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[1, padding:], expected[1, padding:], rtol=0, atol=1e-4)


def test_greedy_text_agrees_with_the_cache(theirs, ours) -> None:
    prompt = random_ids(1, 5)
    expected = theirs.generate(prompt, max_new_tokens=40, do_sample=False, eos_token_id=None, use_cache=True)
    found = list(Generation(ours, prompt[0].tolist(), Sampling(temperature=0.0), max_tokens=40))
    assert found == expected[0, 5:].tolist()


def test_the_balance_loss_agrees(tmp_path) -> None:
    theirs = MODELS["gpt_oss-moe"]()
    theirs.save_pretrained(tmp_path)
    ours, ids = import_model(tmp_path), random_ids(2, 23)
    routings: list[Routing] = []
    with torch.no_grad():
        expected = theirs(ids, output_router_logits=True).aux_loss
        ours.hidden_states(ids, routings=routings)
        torch.testing.assert_close(balance_loss(routings), expected)


def test_gpt2_drops_where_transformers_drops(tmp_path, monkeypatch) -> None:
    """In training mode, with every dropout replaced by one that keeps the same places on both sides."""

    def drop(x, p, *rest):
        del rest
        return x * (torch.arange(x.numel()).view(x.shape) % 5 != 0) * (1 + p)

    theirs = gpt2(embd_pdrop=0.2, attn_pdrop=0.2, resid_pdrop=0.2)
    theirs.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, attn_implementation="eager").train()
    ours = import_model(tmp_path, backend=BackendConfig(attention="eager")).train()
    assert ours.config.dropout == 0.2
    monkeypatch.setattr("torch.nn.functional.dropout", lambda x, p=0.5, training=True, inplace=False: drop(x, p))
    monkeypatch.setattr("tsumiki.nn.attention.core.drop", drop)
    monkeypatch.setattr("tsumiki.nn.dropout.dropout", drop)
    ids = random_ids(2, 11)
    with torch.no_grad():
        expected, found = theirs(ids).logits, ours(ids)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert (found - ours.eval()(ids)).abs().max() > 0.1


def test_gpt2_starts_as_transformers_does(tmp_path) -> None:
    """Standard deviations of the initial weights, the scaled residual projections among them."""
    config = transformers.GPT2Config(vocab_size=509, n_positions=101, n_embd=96, n_layer=8, n_head=3)
    theirs = transformers.GPT2LMHeadModel(config)
    theirs.save_pretrained(tmp_path)
    imported = import_model(tmp_path)
    fresh = build_model(imported.config)
    for name, expected in imported.state_dict().items():
        found = fresh.state_dict()[name]
        if expected.ndim == 1:
            assert torch.equal(found, expected), name
        else:
            assert found.std().item() == pytest.approx(expected.std().item(), rel=0.05), name


REFUSED = {
    "gpt2": {
        "scale_attn_by_inverse_layer_idx": True,
        "activation_function": "relu",
        "embd_pdrop": 0.3,
        "model_type": "bert",
        "quantization_config": {"bits": 4},
    },
    "llama": {
        "hidden_act": "gelu",
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0},
        "hidden_size": None,
    },
    "gpt_oss-dense": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
}
SENTENCES = {
    "scale_attn_by_inverse_layer_idx": "is True, but tsumiki's blocks can express False only",
    "activation_function": "is relu, but tsumiki's blocks can express gelu_new or gelu only",
    "embd_pdrop": "tsumiki's GPT-2 has one dropout for all places",
    "model_type": "describes a 'bert' model; tsumiki can import gpt2, gpt_oss, llama, qwen3",
    "quantization_config": "describes quantised weights",
    "hidden_act": "is gelu, but tsumiki's blocks can express silu only",
    "rope_parameters": "are scaled as 'llama3', but tsumiki knows 'linear' and 'yarn'",
    "hidden_size": "the field 'hidden_size' is missing",
    "layer_types": "tsumiki knows every other one from the first, or all",
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in REFUSED.items() for field in fields])
def test_what_our_blocks_cannot_express_is_refused(tmp_path, name: str, field: str) -> None:
    MODELS[name]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**fields, field: REFUSED[name][field]}), encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json") as caught:
        import_model(tmp_path)
    assert SENTENCES[field] in str(caught.value)
