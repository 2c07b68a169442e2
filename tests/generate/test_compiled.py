"""Compiled and captured steps: the same logits and the same texts as eager ones."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from contract.cases import CASES, VOCAB_SIZE, Case
from contract.test_moe import MIXTURES, MOE
from generate.test_batch import GREEDY, alone, requests
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.decoder import spelled_for_decoding
from tsumiki.generate.rows import Needs
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel, build_model

EVERYTHING = dataclasses.replace(
    next(case for case in CASES if case.name.endswith("headwise-query-qk_norm-sinks-rope-sliding_window")).config,
    num_layers=2,
    feed_forward=MOE,
)
"""Window, sinks, gate, QK-norm, YaRN, grouped queries and experts at once: compiling takes its time."""


def record_logits(engine: Engine) -> Tensor:
    """[B, C, V]: what the engine's own steps, compiled or not, score after each position of each row."""
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
        whole = torch.tensor([[*request.prompt, *text.tokens[:-1]]])
        with torch.no_grad():
            plain = engine.model(whole)[0]
        first = len(request.prompt)  # what follows the prompt itself is no step's logits
        torch.testing.assert_close(recorded[row, first : whole.shape[1]], plain[first:], rtol=1e-4, atol=1e-4)


def plain_log_probabilities(model: LanguageModel, request: Request, tokens: list[int]) -> Tensor:
    """ln p of the tokens after the request's prompt, by the plain model without a cache."""
    device = model.unembedding.device
    with torch.no_grad():
        logits = model(torch.tensor([[*request.prompt, *tokens[:-1]]], device=device))[0, len(request.prompt) - 1 :]
    return logits.float().log_softmax(dim=-1).gather(1, torch.tensor(tokens, device=device)[:, None])[:, 0].cpu()


def assert_texts_are_the_plain_models(engine: Engine, wanted: list[Request]) -> None:
    """Every text is what the plain model writes, and so are the probabilities of its tokens: a short message if not."""
    for number, (request, text) in enumerate(zip(wanted, engine.run(wanted), strict=True)):
        plain = plain_log_probabilities(engine.model, request, text.tokens)
        error = (torch.tensor(text.log_probabilities) - plain).abs()
        worst = int(error.argmax())
        assert error[worst] < 1e-4, (
            f"text {number}: ln p of token {worst} of {len(error)} is {text.log_probabilities[worst]:.5f}, by the "
            f"plain model {plain[worst]:.5f}; {int((error > 1e-4).sum())} tokens are off by more than 1e-4"
        )
        expected = alone(engine.model, request)
        same = sum(a == b for a, b in zip(text.tokens, expected, strict=False))
        assert text.tokens == expected, f"text {number}: {same} of {len(expected)} tokens are those of the text alone"


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


class Replayed:
    """Instead of CUDA graphs: what is recorded runs again, on the same memory."""

    def __init__(self, device: torch.device) -> None:
        pass

    def record(self, function: Callable[[], None]) -> SimpleNamespace:
        function()
        return SimpleNamespace(replay=function)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of steps as on a GPU, but neither compiled nor captured."""
    monkeypatch.setattr("tsumiki.generate.decoder.Recorder", Replayed)
    monkeypatch.setattr("torch.compile", lambda function, **options: function)


@pytest.mark.usefixtures("replayed")
@pytest.mark.parametrize("case", [CASES[0], *MIXTURES, CASES[-1]], ids=lambda case: case.name)
def test_blocks_of_steps_compute_the_same_logits(case: Case) -> None:
    engine = Engine(case.model(dtype=torch.float32), num_rows=3, mode="captured")
    assert_steps_are_the_plain_model(engine, Sampling(temperature=1.0))


@pytest.mark.usefixtures("replayed")
def test_64_requests_join_and_leave_blocks_of_steps() -> None:
    """Each other number of slots and each other kind of sampling is recorded anew, while other texts are half done."""
    model = build_model(dataclasses.replace(EVERYTHING, max_seq_len=150), seed=3).eval()
    engine = Engine(model, num_rows=5, mode="captured")
    options = [GREEDY, Sampling(temperature=1.0, top_p=0.9, seed=4), Sampling(repetition_penalty=1.2, seed=5)]
    assert_texts_are_the_plain_models(engine, [*requests(63, 6, options), Request([1, 2, 3], GREEDY, 140)])
