"""A mixture of experts in a model: the same contract, eager = grouped, balance figures, and what a plan says of it."""

import dataclasses

import pytest
import torch

from contract import test_contract as contract
from contract.cases import CASES, VOCAB_SIZE, Case, tokens
from tsumiki.kernels import BackendConfig
from tsumiki.models import build_model, plan
from tsumiki.nn.feed_forward import MixtureOfExperts, Routing
from tsumiki.nn.feed_forward.moe import balance_loss, collapsed_layers, effective_experts, expert_load

MOE = MixtureOfExperts.Config(d_ff=29, num_experts=5, experts_per_token=2)
MIXTURES = [
    Case(f"{family}-moe", dataclasses.replace(case.config, feed_forward=MOE))
    for family, case in (("gpt2", CASES[1]), ("gpt_oss", CASES[-1]))
]
every_mixture = pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
every_spelling = pytest.mark.parametrize("experts", ["eager", "grouped", "dense"])


def mixture(experts: str, config=MIXTURES[-1].config, *, dtype=torch.float64):
    return build_model(config, backend=BackendConfig(experts=experts), seed=3, dtype=dtype)


@every_mixture
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "promise",
    [
        contract.test_no_position_sees_the_future,
        contract.test_padding_on_the_left_changes_nothing,
        contract.test_documents_in_one_row_do_not_meet,
        contract.test_rows_of_a_batch_do_not_meet,
    ],
    ids=lambda promise: promise.__name__,
)
def test_a_mixture_keeps_the_contract(case: Case, backend: str, promise) -> None:
    promise(case, backend)


@every_mixture
def test_the_cache_changes_nothing(case: Case) -> None:
    contract.test_the_cache_changes_nothing(case, "sdpa", torch.float64, 1e-9)


@every_mixture
def test_every_parameter_learns(case: Case) -> None:
    contract.test_every_parameter_learns(case)


@every_mixture
def test_a_saved_mixture_computes_the_same(case: Case, tmp_path) -> None:
    contract.test_a_saved_model_computes_the_same(case, tmp_path)


@every_mixture
@pytest.mark.parametrize("experts", ["grouped", "dense"])
def test_every_spelling_computes_what_eager_computes(case: Case, experts: str) -> None:
    models = [mixture(experts, case.config) for experts in ("eager", experts)]
    ids = tokens()
    losses = []
    for model in models:
        nats, _ = model.eval().loss(ids, ids.roll(-1, dims=1))
        nats.backward()
        losses.append(nats.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-13, atol=0)
    gradients = [{name: p.grad for name, p in model.named_parameters()} for model in models]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-11)


@every_spelling
def test_an_expert_that_no_token_chose_gets_a_zero_gradient(experts: str) -> None:
    model = mixture(experts)
    with torch.no_grad():
        for layer in model.layers:
            layer.feed_forward.router.bias[4] = -1e9
    model.loss(tokens(), tokens())[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) != (".experts.4." in name), name


@every_spelling
def test_bfloat16_keeps_its_dtype_and_routes_in_fp32(experts: str) -> None:
    model = mixture(experts, dtype=torch.bfloat16)
    routings: list[Routing] = []
    assert model.hidden_states(tokens(), routings=routings).dtype == torch.bfloat16
    assert all(routing.logits.dtype == torch.float32 for routing in routings)


def test_one_expert_is_the_dense_layer() -> None:
    one = dataclasses.replace(MOE, num_experts=1, experts_per_token=1)
    model = mixture("grouped", dataclasses.replace(MIXTURES[-1].config, feed_forward=one))
    dense = build_model(dataclasses.replace(model.config, feed_forward=one.expert), dtype=torch.float64)
    renamed = {name.replace("experts.0.", ""): t for name, t in model.state_dict().items() if "router" not in name}
    dense.load_state_dict(renamed)
    torch.testing.assert_close(model(tokens()), dense(tokens()), rtol=0, atol=1e-12)


def test_the_callers_list_holds_where_each_layer_sent_the_tokens() -> None:
    model, ids = mixture("grouped"), tokens()
    routings: list[Routing] = []
    model.loss(ids, ids, routings=routings)
    load = expert_load(routings)
    assert load.shape == (model.config.num_layers, MOE.num_experts)
    assert (load.sum(dim=1) == ids.numel() * MOE.experts_per_token).all()
    for routing in routings:
        torch.testing.assert_close(routing.weights.sum(dim=1), torch.ones(ids.numel(), dtype=torch.float64))
        assert torch.equal(routing.chosen, routing.logits.argsort(dim=1, descending=True)[:, :2])


def test_the_balance_loss_is_added_while_training_only() -> None:
    config = dataclasses.replace(
        MIXTURES[-1].config, feed_forward=dataclasses.replace(MOE, balance_coefficient=0.5), init_std=0.02
    )
    model, ids = mixture("grouped", config), tokens()
    targets = ids.masked_fill(ids < VOCAB_SIZE // 2, -100)
    routings: list[Routing] = []
    training, count = model.train().loss(ids, targets, routings=routings)
    plain, _ = model.eval().loss(ids, targets)
    torch.testing.assert_close(training - plain, 0.5 * count * balance_loss(routings))


def routing_of(chosen: list[list[int]], num_experts: int, *, sure: float = 50.0) -> Routing:
    ids = torch.tensor(chosen)
    logits = torch.zeros(len(chosen), num_experts).scatter(1, ids, sure)
    return Routing(logits=logits, chosen=ids, weights=torch.full(ids.shape, 1 / ids.shape[1]))


def test_balance_by_hand() -> None:
    even = routing_of([[0, 1], [2, 3], [1, 2], [3, 0]], 4)
    assert balance_loss([even]).item() == pytest.approx(2.0)
    assert effective_experts(expert_load([even])).tolist() == pytest.approx([4.0])
    # Every token to the same two experts: f = (1, 1, 0, 0), P = (1/2, 1/2, 0, 0), 4 (1/2 + 1/2) = 4.
    uneven = routing_of([[0, 1]] * 4, 4)
    assert balance_loss([uneven]).item() == pytest.approx(4.0)
    assert effective_experts(expert_load([uneven])).tolist() == pytest.approx([2.0])
    assert collapsed_layers(expert_load([even, uneven, even]), experts_per_token=2) == [1]


def test_a_router_that_collapses_is_reported() -> None:
    model = mixture("grouped")
    with torch.no_grad():
        model.layers[1].feed_forward.router.bias[:2] += 1e6
    routings: list[Routing] = []
    model.hidden_states(tokens(), routings=routings)
    assert collapsed_layers(expert_load(routings), MOE.experts_per_token) == [1]
    assert collapsed_layers(torch.tensor([[3, 3]]), experts_per_token=2) == []


def test_a_compiled_loss_fills_the_list_afresh_at_every_step() -> None:
    config = dataclasses.replace(MIXTURES[0].config, num_layers=1)
    model = mixture("grouped", config, dtype=torch.float32).train()
    compiled = torch.compile(model.loss, backend="eager")
    for batch_size in (2, 2, 3):
        ids = tokens(batch_size)
        expected: list[Routing] = []
        found: list[Routing] = []
        nats, _ = compiled(ids, ids, routings=found)
        torch.testing.assert_close(nats, model.loss(ids, ids, routings=expected)[0])
        assert torch.equal(expert_load(found), expert_load(expected))


def test_a_plan_counts_what_a_token_uses() -> None:
    counted = plan(MIXTURES[-1].config)
    dense = plan(dataclasses.replace(MIXTURES[-1].config, feed_forward=MOE.expert))
    width, layers, num_experts = 23, 3, 5
    expert = 3 * width * 29 + 2 * 29 + width
    router = num_experts * (width + 1)
    assert counted.total == dense.total + layers * (4 * expert + router)
    assert counted.active == dense.active + layers * (expert + router)
    assert dense.active == dense.total
    assert counted.forward_flops == dense.forward_flops + 2 * layers * (3 * width * 29 + width * num_experts)


def test_what_makes_no_sense_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_experts is 0"):
        MixtureOfExperts.Config(d_ff=3, num_experts=0, experts_per_token=1)
    with pytest.raises(ValueError, match="experts_per_token is 6, but must be from 1 to num_experts, 5"):
        MixtureOfExperts.Config(d_ff=3, num_experts=5, experts_per_token=6)
    with pytest.raises(ValueError, match=r"balance_coefficient is -0\.1"):
        MixtureOfExperts.Config(d_ff=3, num_experts=5, experts_per_token=2, balance_coefficient=-0.1)
    with pytest.raises(ValueError, match="d_ff is 0"):
        MixtureOfExperts.Config(d_ff=0, num_experts=5, experts_per_token=2)
    with pytest.raises(ValueError, match=r"alpha is 1\.702, but it belongs to the clamped form"):
        MixtureOfExperts.Config(d_ff=3, num_experts=5, experts_per_token=2, limit=None)
