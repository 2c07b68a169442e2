"""Captured steps: recorded once, replayed for every token, and the same texts and probabilities as the plain model's.

In fp32 (products are not rounded to TF32, as by default) texts must agree token by token, and the logarithms of their
probabilities, which the steps themselves compute from all logits, within 1e-4. In bf16 two nearly equal scores may
change places, so there it is compared how far the probabilities are from the fp32 model's.

Run with `pytest -m gpu` on a machine with a GPU.
"""

import dataclasses
import gc

import pytest
import torch

from contract.cases import CASES, Case
from contract.test_moe import MIXTURES
from generate.test_batch import GREEDY, requests
from generate.test_compiled import assert_texts_are_the_plain_models, plain_log_probabilities
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel, build_model

pytestmark = pytest.mark.gpu

ALL_OPTIONS = [case for case in CASES if case.name.endswith("headwise-query-qk_norm-sinks-rope-sliding_window")]
GROUPED = [case for case in CASES if case.name.startswith("gpt_oss-grouped_query")]
"""Grouped queries alone, with each single option (sinks, YaRN, a window, ...), and with all."""

OPTIONS = Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.1, seed=7)


def gpu_model(case: Case, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """Two layers, of which one slides: compiling takes its time."""
    config = dataclasses.replace(case.config, num_layers=2, max_seq_len=200)
    return build_model(config, seed=3, device="cuda", dtype=dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("case", [CASES[0], *GROUPED, *ALL_OPTIONS, *MIXTURES], ids=lambda case: case.name)
def test_captured_steps_compute_the_same_logits(case: Case) -> None:
    wanted = [dataclasses.replace(each, max_tokens=20) for each in requests(3, 5, [Sampling(temperature=1.0)])]
    assert_texts_are_the_plain_models(Engine(gpu_model(case), num_rows=3, mode="captured"), wanted)


@pytest.mark.parametrize("sampling", [GREEDY, OPTIONS], ids=["greedy", "sampled"])
def test_captured_steps_write_the_same_over_all_of_the_context(sampling: Sampling) -> None:
    engine = Engine(gpu_model(ALL_OPTIONS[0]), num_rows=3, mode="captured")
    wanted = [*requests(6, 5, [sampling]), Request([1, 2, 3], sampling, 150)]
    assert_texts_are_the_plain_models(engine, wanted)


def test_in_bf16_captured_steps_are_as_close_to_fp32_as_the_plain_model() -> None:
    exact, rounded = (gpu_model(ALL_OPTIONS[0], dtype) for dtype in (torch.float32, torch.bfloat16))
    wanted = [Request([row, 5, 8], Sampling(temperature=1.0, seed=row), 100) for row in range(3)]
    errors, plain_errors = [], []
    for request, text in zip(wanted, Engine(rounded, num_rows=3, mode="captured").run(wanted), strict=True):
        expected = plain_log_probabilities(exact, request, text.tokens)
        errors.append(torch.tensor(text.log_probabilities) - expected)
        plain_errors.append(plain_log_probabilities(rounded, request, text.tokens) - expected)
    error, plain_error = (float(torch.cat(each).abs().mean()) for each in (errors, plain_errors))
    assert error < 1.5 * plain_error
    assert plain_error < 0.1


def test_64_requests_join_and_leave_captured_steps() -> None:
    engine = Engine(gpu_model(ALL_OPTIONS[0]), num_rows=8, mode="captured")
    assert_texts_are_the_plain_models(engine, requests(64, 6, [GREEDY]))


def test_memory_stays_flat_over_1000_texts() -> None:
    engine = Engine(gpu_model(CASES[0]), num_rows=50, mode="captured")
    engine.run(requests(50, 0, [GREEDY]))
    gc.collect()
    before = torch.cuda.memory_allocated()
    for seed in range(20):
        engine.run(requests(50, seed, [GREEDY]))
    gc.collect()
    assert torch.cuda.memory_allocated() == before
