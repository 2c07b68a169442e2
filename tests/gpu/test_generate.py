"""Captured steps: recorded once, replayed for every token, and the same texts as eager ones.

Run with `pytest -m gpu` on a machine with a GPU.
"""

import dataclasses
import gc

import pytest
import torch

from contract.cases import CASES, Case
from contract.test_moe import MIXTURES
from generate.test_batch import GREEDY, alone, requests
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel, build_model

pytestmark = pytest.mark.gpu

ALL_OPTIONS = [case for case in CASES if case.name.endswith("headwise-query-qk_norm-sinks-rope-sliding_window")]


def gpu_model(case: Case) -> LanguageModel:
    """Two layers, of which one slides: compiling takes its time."""
    config = dataclasses.replace(case.config, num_layers=2, max_seq_len=200)
    return build_model(config, seed=3, device="cuda").eval().requires_grad_(False)


@pytest.mark.parametrize("case", [*ALL_OPTIONS, CASES[0], *MIXTURES], ids=lambda case: case.name)
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.1, seed=7)])
def test_captured_steps_write_the_same(case: Case, sampling: Sampling) -> None:
    model = gpu_model(case)
    engine = Engine(model, num_rows=3, mode="captured")
    wanted = [*requests(6, 5, [sampling]), Request([1, 2, 3], sampling, 150)]
    for request, text in zip(wanted, engine.run(wanted), strict=True):
        assert text.tokens == alone(model, request)


def test_64_requests_join_and_leave_captured_steps() -> None:
    model = gpu_model(ALL_OPTIONS[0])
    wanted = requests(64, 6, [GREEDY])
    for request, text in zip(wanted, Engine(model, num_rows=8, mode="captured").run(wanted), strict=True):
        assert text.tokens == alone(model, request)


def test_memory_stays_flat_over_1000_texts() -> None:
    engine = Engine(gpu_model(CASES[0]), num_rows=50, mode="captured")
    engine.run(requests(50, 0, [GREEDY]))
    gc.collect()
    before = torch.cuda.memory_allocated()
    for seed in range(20):
        engine.run(requests(50, seed, [GREEDY]))
    gc.collect()
    assert torch.cuda.memory_allocated() == before
