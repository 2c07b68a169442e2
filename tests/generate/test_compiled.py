"""Compiled steps: the same logits and the same texts as eager ones."""

import dataclasses

import pytest
import torch

from contract.cases import CASES, Case
from contract.test_moe import MIXTURES, MOE
from generate.test_batch import alone, requests
from tsumiki.generate.batch import Engine
from tsumiki.generate.decoder import spelled_for_decoding
from tsumiki.generate.sampling import Sampling
from tsumiki.models import build_model

EVERYTHING = dataclasses.replace(
    next(case for case in CASES if case.name.endswith("headwise-query-qk_norm-sinks-rope-sliding_window")).config,
    num_layers=2,
    feed_forward=MOE,
)
"""Window, sinks, gate, QK-norm, YaRN, grouped queries and experts at once: compiling takes its time."""


@pytest.mark.parametrize("case", [*CASES, *MIXTURES], ids=lambda case: case.name)
def test_the_model_that_is_compiled_computes_the_same_logits(case: Case) -> None:
    model = case.model(dtype=torch.float32)
    ids = torch.randint(0, 53, (2, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(spelled_for_decoding(model)(ids), model(ids), rtol=1e-4, atol=1e-4)


def test_compiled_steps_write_the_same() -> None:
    model = build_model(EVERYTHING, seed=3).eval()
    wanted = requests(5, 5, [Sampling(temperature=1.0, seed=8)])
    for request, text in zip(wanted, Engine(model, num_rows=2, mode="compiled").run(wanted), strict=True):
        assert text.tokens == alone(model, request)
