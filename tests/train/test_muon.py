"""Muon: what it does to a matrix, which parameters it leaves to AdamW, and its state."""

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from tsumiki.config import parse
from tsumiki.models import build_model
from tsumiki.models.build import ModelConfig
from tsumiki.train.optimizer import AdamW, Muon, is_hidden_matrix, orthogonalise

REST = AdamW.Config(learning_rate=0.01, weight_decay=0.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_singular_values_come_near_one_and_singular_vectors_stay() -> None:
    matrices = random(3, 5, 11)
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    made = orthogonalise(matrices, steps=5)
    turned = u.mT @ made @ vt.mT
    values = turned.diagonal(dim1=-2, dim2=-1)
    assert values.min() > 0.67
    assert values.max() < 1.14
    torch.testing.assert_close(turned, torch.diag_embed(values), rtol=0, atol=1e-9)


def test_one_step_of_the_iteration_is_the_polynomial_on_paper() -> None:
    """s -> 3.4445 s - 4.7750 s³ + 2.0315 s⁵ on the singular values, divided by their root sum of squares before."""
    made = orthogonalise(torch.diag_embed(torch.tensor([[3.0, 4.0]], dtype=torch.float64)), steps=1)
    expected = [3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5 for s in (0.6, 0.8)]
    assert made[0].diagonal().tolist() == pytest.approx(expected, abs=1e-6)


def test_the_first_step_is_the_one_on_paper() -> None:
    """M = G, so U = orthogonal(1.95 G), which is orthogonal(G); W moves by η (λ W + 0.2 √max(m, n) U)."""
    weight, gradient = random(7, 3, seed=1), random(7, 3, seed=2)
    matrix = Parameter(weight.clone())
    optimizer = Muon(Muon.Config(learning_rate=0.1, weight_decay=0.5, rest=REST), [("layers.0.w", matrix)])
    matrix.grad = gradient.clone()
    optimizer.step(scale=0.5)
    update = orthogonalise(gradient.T[None], steps=5)[0].T
    expected = weight - 0.05 * 0.5 * weight - 0.05 * 0.2 * 7**0.5 * update
    torch.testing.assert_close(matrix.data, expected, rtol=0, atol=1e-6)


def test_the_update_has_the_size_of_adamws() -> None:
    matrix = Parameter(random(64, 96))
    before = matrix.detach().clone()
    optimizer = Muon(Muon.Config(learning_rate=1.0, weight_decay=0.0, rest=REST), [("w", matrix)])
    matrix.grad = 1e-9 * random(64, 96, seed=5)
    optimizer.step(scale=1.0)
    # singular values between 0.68 and 1.13 make the root mean square 0.2 times as much
    assert 0.13 < (matrix.detach() - before).square().mean().sqrt() < 0.23


def test_matrices_of_one_shape_do_not_meet() -> None:
    """Stacked or alone, standing or lying: the same update."""
    shapes = {"layers.0.a": (5, 3), "layers.0.b": (3, 5), "layers.1.a": (5, 3), "layers.1.c": (4, 4)}
    parameters = {name: Parameter(random(*shape, seed=len(name))) for name, shape in shapes.items()}
    alone = {name: Parameter(parameter.detach().clone()) for name, parameter in parameters.items()}
    together = Muon(Muon.Config(learning_rate=0.1, rest=REST), parameters.items())
    apart = [Muon(Muon.Config(learning_rate=0.1, rest=REST), [item]) for item in alone.items()]
    for step in range(3):
        for seed, name in enumerate(shapes):
            gradient = random(*shapes[name], seed=10 * step + seed)
            parameters[name].grad, alone[name].grad = gradient.clone(), gradient.clone()
        for optimizer in (together, *apart):
            optimizer.step(scale=1.0)
    for name in shapes:
        torch.testing.assert_close(parameters[name], alone[name], rtol=1e-9, atol=1e-9)


MODEL = {
    "family": "gpt_oss",
    "vocab_size": 31,
    "max_seq_len": 16,
    "d_model": 8,
    "num_layers": 2,
    "tie_embeddings": False,
    "attention": {"variant": "gated", "num_heads": 2, "num_kv_heads": 1, "head_dim": 4, "bias": True, "sinks": True},
    "feed_forward": {"variant": "swiglu", "d_ff": 12},
}


def test_the_tables_at_the_ends_and_all_vectors_are_left_to_adamw() -> None:
    model = build_model(parse(MODEL, ModelConfig, where="test"))  # pyright: ignore[reportArgumentType]
    optimizer = Muon(Muon.Config(learning_rate=0.01, rest=REST), model.named_parameters())
    assert {name.split(".")[-2] for name in optimizer.matrices} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert {"embedding.weight", "head.weight", "layers.1.attention.sinks"} <= optimizer.rest.parameters.keys()
    assert optimizer.matrices.keys() | optimizer.rest.parameters.keys() == dict(model.named_parameters()).keys()
    assert not is_hidden_matrix("position.weight", torch.zeros(3, 5))


def test_its_state_goes_on_where_it_was() -> None:
    def run(optimizer: Muon, parameters: dict[str, Parameter], steps: range) -> None:
        for step in steps:
            for number, parameter in enumerate(parameters.values()):
                parameter.grad = random(*parameter.shape, seed=7 * step + number)
            optimizer.step(scale=1 / (1 + step))

    def fresh() -> dict[str, Parameter]:
        shapes = {"embedding.weight": (6, 4), "layers.0.w": (4, 4), "norm.weight": (4,)}
        return {name: Parameter(random(*shape)) for name, shape in shapes.items()}

    config = Muon.Config(learning_rate=0.1, rest=REST)
    whole = fresh()
    run(Muon(config, whole.items()), whole, range(6))
    parted = fresh()
    first = Muon(config, parted.items())
    run(first, parted, range(3))
    state = {name: tensor.clone() for name, tensor in first.state_tensors().items()}
    moments = ("first_moment", "second_moment", "steps")
    of_adamw = {f"{name}.{part}" for name in ("embedding.weight", "norm.weight") for part in moments}
    assert state.keys() == {"layers.0.w.momentum"} | of_adamw
    second = Muon(config, parted.items())
    second.load_state_tensors(state)
    run(second, parted, range(3, 6))
    for name in whole:
        assert torch.equal(whole[name], parted[name])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"momentum": 1.0}, "momentum is 1.0, but must be at least 0 and below 1."),
        ({"weight_decay": -0.1}, "weight_decay is -0.1, but must be at least 0."),
        ({"newton_schulz_steps": 0}, "newton_schulz_steps is 0, but must be at least 1."),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0."),
    ],
)
def test_wrong_numbers_are_refused(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Muon.Config(**{"learning_rate": 0.01, "rest": REST, **changes})
