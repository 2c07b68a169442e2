"""Compiled steps: the same logits and the same texts as eager ones."""

import dataclasses

import pytest
import torch
from torch import Tensor

from contract.cases import CASES, VOCAB_SIZE, Case
from contract.test_moe import MIXTURES, MOE
from generate.test_batch import alone, requests
from tsumiki.generate.batch import Engine
from tsumiki.generate.decoder import spelled_for_decoding
from tsumiki.generate.rows import Needs
from tsumiki.generate.sampling import Sampling
from tsumiki.models import build_model

EVERYTHING = dataclasses.replace(
    next(case for case in CASES if case.name.endswith("headwise-query-qk_norm-sinks-rope-sliding_window")).config,
    num_layers=2,
    feed_forward=MOE,
)
"""Window, sinks, gate, QK-norm, YaRN, grouped queries and experts at once: compiling takes its time."""


def record_logits(engine: Engine) -> Tensor:
    """[B, C, V]: what the engine's own steps, compiled or captured, score after each position of each row."""
    rows, take = engine.decoder.rows, engine.decoder.rows.take
    device = rows.ids.device
    recorded = torch.zeros(len(rows.ids), engine.context + 1, VOCAB_SIZE, device=device)
    every = torch.arange(len(rows.ids), device=device)

    def recording(logits: Tensor, needs: Needs, follow: Tensor) -> tuple[Tensor, Tensor]:
        recorded[every, rows.positions] = logits.float()
        return take(logits, needs, follow)

    rows.take = recording
    return recorded


def assert_steps_are_the_plain_model(engine: Engine, sampling: Sampling) -> None:
    """As many texts as the engine has rows, in steps: their logits are those of the plain model without a cache."""
    recorded = record_logits(engine)
    wanted = [dataclasses.replace(each, max_tokens=20) for each in requests(len(recorded), 5, [sampling])]
    for row, (request, text) in enumerate(zip(wanted, engine.run(wanted), strict=True)):
        assert text.tokens == alone(engine.model, request)
        whole = torch.tensor([[*request.prompt, *text.tokens[:-1]]], device=recorded.device)
        with torch.no_grad():
            plain = engine.model(whole)[0]
        first = len(request.prompt)  # what follows the prompt itself is no step's logits
        torch.testing.assert_close(recorded[row, first : whole.shape[1]], plain[first:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [*CASES, *MIXTURES], ids=lambda case: case.name)
def test_the_model_that_is_compiled_computes_the_same_logits(case: Case) -> None:
    model = case.model(dtype=torch.float32)
    ids = torch.randint(0, 53, (2, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(spelled_for_decoding(model)(ids), model(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [*CASES, *MIXTURES], ids=lambda case: case.name)
def test_steps_with_the_engines_cache_compute_the_same_logits(case: Case) -> None:
    assert_steps_are_the_plain_model(Engine(case.model(dtype=torch.float32), num_rows=3), Sampling(temperature=1.0))


def test_compiled_steps_compute_the_same_logits() -> None:
    model = build_model(EVERYTHING, seed=3).eval()
    assert_steps_are_the_plain_model(Engine(model, num_rows=5, mode="compiled"), Sampling(temperature=1.0, seed=8))
