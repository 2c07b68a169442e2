"""What is recorded is what was computed, and recording changes nothing."""

from pathlib import Path

import pytest
import torch

from interpret.conftest import CASES, VOCAB_SIZE, build
from tsumiki.data import Tokenizer
from tsumiki.errors import UserError
from tsumiki.interpret import Trace, load_trace, record, save_trace, token_label
from tsumiki.interpret.activations import gate_sparsity, largest_activations, mean_gate
from tsumiki.interpret.lens import guesses, logit_lens
from tsumiki.nn.attention import GatedAttention
from tsumiki.nn.feed_forward import MixtureOfExperts

every_case = pytest.mark.parametrize("case", sorted(CASES))
IDS = torch.randint(0, VOCAB_SIZE, (23,), generator=torch.Generator().manual_seed(1)).tolist()


def hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@every_case
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_the_logits_are_those_of_the_plain_forward_bit_for_bit(case: str, backend: str) -> None:
    model = build(case, backend=backend)
    with torch.inference_mode():
        plain = model(torch.tensor([IDS]))[0]
    assert torch.equal(record(model, IDS).logits, plain)
    with torch.inference_mode():
        assert torch.equal(model(torch.tensor([IDS]))[0], plain)
    assert hooks(model) == 0


def test_the_model_is_left_alone_when_something_fails() -> None:
    model = build("plain")
    with pytest.raises(IndexError):
        record(model, [VOCAB_SIZE + 5])
    assert hooks(model) == 0


@every_case
def test_the_weights_recompute_every_block(case: str) -> None:
    """Attention's part of the stream, computed again from the recorded weights, gates and shares alone."""
    model = build(case)
    trace = record(model, IDS)
    for number, layer in enumerate(model.get_submodule("layers").children()):
        block = layer.get_submodule("attention")
        with torch.inference_mode():
            x = layer.get_submodule("attention_norm")(trace.residual[number])
            values_TKD = block.get_submodule("v_proj")(x).unflatten(-1, (2, 6))
            values_THD = values_TKD.repeat_interleave(2, dim=1)
            heads_THD = torch.einsum("hts,shd->thd", trace.attention[number], values_THD)
            if trace.gates is not None:
                heads_THD = heads_THD * trace.gates[number]
            after = trace.residual[number] + block.get_submodule("o_proj")(heads_THD.flatten(1))
            h = layer.get_submodule("feed_forward_norm")(after)
            feed_forward = layer.get_submodule("feed_forward")
            if trace.experts is None:
                update = feed_forward(h)
            else:
                experts = torch.stack([expert(h) for expert in feed_forward.get_submodule("experts").children()], dim=1)
                update = (trace.experts[number][:, :, None] * experts).sum(dim=1)
        torch.testing.assert_close(after + update, trace.residual[number + 1], rtol=1e-4, atol=1e-4)


@every_case
def test_shapes_and_sums(case: str) -> None:
    model = build(case)
    trace = record(model, IDS)
    assert trace.attention.shape == (3, 4, 23, 23)
    assert trace.residual.shape == (4, 23, 24)
    assert (trace.attention.triu(1) == 0).all()
    sums = trace.attention.sum(-1)
    if case == "sinks":
        assert (sums < 0.999).all()
        assert (trace.attention[0].tril(-5) == 0).all()  # the first layer slides: five tokens, itself among them
        assert (trace.attention[1].tril(-5) > 0).any()
    else:
        torch.testing.assert_close(sums, torch.ones_like(sums))
    assert (trace.gates is not None) == any(isinstance(module, GatedAttention) for module in model.modules())
    assert (trace.experts is not None) == any(isinstance(module, MixtureOfExperts) for module in model.modules())
    if trace.experts is not None:
        assert trace.experts.shape == (3, 23, 5)
        assert ((trace.experts > 0).sum(-1) == 2).all()
        torch.testing.assert_close(trace.experts.sum(-1), torch.ones(3, 23))
    if trace.gates is not None:
        assert trace.gates.shape == (3, 23, 4, 6 if case == "gated" else 1)


@every_case
def test_a_trace_survives_the_disk(case: str, tmp_path: Path) -> None:
    trace = record(build(case), IDS)
    save_trace(trace, tmp_path)
    again = load_trace(tmp_path)
    assert (again.ids, again.labels) == (trace.ids, trace.labels)
    assert again.tensors.keys() == trace.tensors.keys()
    for name, tensor in trace.tensors.items():
        assert torch.equal(again.tensors[name], tensor)


def test_damaged_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing or damaged"):
        load_trace(tmp_path)
    save_trace(record(build("plain"), IDS), tmp_path)
    text = (tmp_path / "trace.json").read_text(encoding="utf-8")
    (tmp_path / "trace.json").write_text(text.replace('"format": 1', '"format": 9'), encoding="utf-8")
    with pytest.raises(UserError, match="has the format 9"):
        load_trace(tmp_path)
    save_trace(record(build("plain"), IDS[:9]), tmp_path)
    (tmp_path / "trace.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="of different traces"):
        load_trace(tmp_path)


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match="68 tokens, but the model's context holds 67"):
        record(build("plain"), [1] * 68)


@every_case
def test_the_lens_of_the_last_place_is_the_model(case: str) -> None:
    model = build(case)
    trace = record(model, IDS)
    lens = logit_lens(model, trace)
    assert lens.shape == (4, 23, VOCAB_SIZE)
    assert torch.equal(lens[-1], trace.logits)


def test_guesses_are_the_likeliest_tokens(tokenizer: Tokenizer) -> None:
    logits = torch.full((1, 1, VOCAB_SIZE), -9.0)
    frog, time = tokenizer.encode("f")[0], tokenizer.encode("t")[0]
    logits[0, 0, frog], logits[0, 0, time] = 9.0, 8.0
    first, second = guesses(logits, tokenizer, number=2)[0][0]
    assert (first.label, second.label) == ("f", "t")
    assert first.probability == pytest.approx(1 / (1 + 2.718281828**-1), rel=1e-3)


def test_labels(tokenizer: Tokenizer) -> None:
    assert token_label(tokenizer, tokenizer.end_of_text_id) == "‹end›"
    assert [token_label(tokenizer, token) for token in tokenizer.encode("猫 \n")] == ["‹E7›", "‹8C›", "‹AB›", "␣", "↵"]
    assert "".join(token_label(tokenizer, token) for token in tokenizer.encode("むかし"))


def test_largest_activations_by_hand() -> None:
    residual = torch.ones(2, 3, 5)
    residual[1, 0, 4] = -700.0
    residual[0, 2, 1] = 30.0
    trace = Trace(
        ids=(1, 2, 3), labels=("a", "b", "c"), attention=torch.zeros(2, 1, 3, 3), residual=residual, logits=residual
    )
    first, second = largest_activations(trace, number=2)
    assert (first.place, first.token, first.width, first.value, first.times_median) == (1, 0, 4, -700, 700)
    assert (second.place, second.token, second.width, second.value, second.times_median) == (0, 2, 1, 30, 30)


def test_gates_by_hand() -> None:
    gates = torch.tensor([[[[0.0, 1.0]], [[0.05, 0.5]], [[0.2, 0.3]]]])  # [L = 1, T = 3, H = 1, D = 2]
    assert gate_sparsity(gates).item() == pytest.approx(2 / 6)
    assert mean_gate(gates).item() == pytest.approx(2.05 / 6)
