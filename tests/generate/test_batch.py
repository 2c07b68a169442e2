"""Many texts at once: every one is what it would be alone."""

import dataclasses
import gc
import random
import weakref

import pytest
import torch

from contract.cases import CASES, VOCAB_SIZE, Case
from contract.test_moe import MIXTURES
from generate.conftest import CONFIGS, toy_model
from tsumiki.errors import UserError
from tsumiki.generate.batch import Engine, Request
from tsumiki.generate.cache import SPARE, StaticCache
from tsumiki.generate.engine import Generation
from tsumiki.generate.sampling import Sampling
from tsumiki.models import LanguageModel
from tsumiki.models.language_model import DecoderConfig

GREEDY = Sampling(temperature=0)


def requests(number: int, seed: int, sampling: list[Sampling]) -> list[Request]:
    """Prompts and texts of random lengths, some longer than the window, some up to the end of the context."""
    rng = random.Random(seed)
    return [
        Request(
            prompt=[rng.randrange(VOCAB_SIZE) for _ in range(rng.randint(1, 9))],
            sampling=sampling[index % len(sampling)],
            max_tokens=rng.choice([1, 2, 5, 11, 40]),
        )
        for index in range(number)
    ]


def alone(model: LanguageModel, request: Request) -> list[int]:
    return list(Generation(model, request.prompt, request.sampling, max_tokens=request.max_tokens))


@pytest.mark.parametrize("case", [*CASES, *MIXTURES], ids=lambda case: case.name)
def test_every_variant_writes_what_a_text_alone_is(case: Case) -> None:
    model = case.model(dtype=torch.float32)
    wanted = requests(5, 1, [GREEDY, Sampling(temperature=1.0, top_p=0.9, seed=4)])
    for request, text in zip(wanted, Engine(model, num_rows=2).run(wanted), strict=True):
        assert text.tokens == alone(model, request)
        assert len(text.log_probabilities) == len(text.tokens)


WINDOWS = [dataclasses.replace(CONFIGS["gpt_oss"], sliding_window=window) for window in (None, 2, 5, 13)]


@pytest.mark.parametrize("config", [CONFIGS["gpt2"], *WINDOWS], ids=["gpt2", "none", "2", "5", "13"])
def test_64_requests_that_join_and_leave_at_random_write_what_each_writes_alone(config: DecoderConfig) -> None:
    model = toy_model(config)
    rng = random.Random(2)
    waiting = requests(64, 3, [GREEDY])
    engine = Engine(model, num_rows=7)
    submitted, cancelled = [], set()
    while waiting or engine.num_busy:
        for _ in range(rng.randint(0, 3)):
            if waiting:
                submitted.append((request := waiting.pop(), engine.submit(request)))
        engine.step()
        going = [index for index, (_, text) in enumerate(submitted) if text.stop_reason is None]
        if going and rng.random() < 0.1:
            cancelled.add(index := rng.choice(going))
            engine.cancel(submitted[index][1])
    assert len(submitted) == 64
    assert 0 < len(cancelled) < 20
    for index, (request, text) in enumerate(submitted):
        expected = alone(model, request)
        assert text.tokens == (expected[: len(text.tokens)] if index in cancelled else expected)
        assert (text.stop_reason == "cancelled") == (index in cancelled)


def test_a_text_with_its_own_settings_and_seed_does_not_depend_on_its_neighbours() -> None:
    model = toy_model(CONFIGS["gpt_oss"])
    mine = Request([3, 1, 4], Sampling(temperature=1.3, top_k=20, repetition_penalty=1.2, seed=9), 15)
    (text,) = Engine(model).run([mine])
    for seed in (1, 2):
        others = requests(6, seed, [Sampling(temperature=0.7, min_p=0.1, seed=seed), GREEDY])
        among = Engine(model, num_rows=4).run([*others[:3], mine, *others[3:]])[3]
        assert among.tokens == text.tokens
        assert among.log_probabilities == pytest.approx(text.log_probabilities, abs=1e-3)


def test_log_probabilities_are_the_model_s_own() -> None:
    model = toy_model(CONFIGS["gpt2"])
    request = Request([5, 6], Sampling(temperature=3.0, presence_penalty=1.0, seed=1), 7)
    (text,) = Engine(model).run([request])
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, *text.tokens]]))[0, 1:-1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(text.tokens)[:, None])[:, 0]
    assert text.log_probabilities == pytest.approx(expected.tolist(), abs=1e-4)


def test_penalties_are_those_of_transformers_and_forbid_what_they_make_unlikely() -> None:
    model = toy_model(CONFIGS["gpt_oss"])
    (text,) = Engine(model).run([Request([7, 8], Sampling(temperature=0, presence_penalty=1e9), 20)])
    assert len(set(text.tokens)) == 20
    (text,) = Engine(model).run([Request([7, 8], Sampling(temperature=0, repetition_penalty=1e9), 20)])
    expected, seen = [], {7, 8}
    for _ in range(20):
        with torch.no_grad():
            logits = model(torch.tensor([[7, 8, *expected]]))[0, -1]
        for token in seen:
            logits[token] = logits[token] / 1e9 if logits[token] > 0 else logits[token] * 1e9
        expected.append(int(logits.argmax()))
        seen.add(expected[-1])
    assert text.tokens == expected


def test_long_prompts_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsumiki.generate.batch.CHUNK", 4)
    model = toy_model(CONFIGS["gpt_oss"])
    request = Request(list(range(19)), GREEDY, 8)
    assert Engine(model).run([request])[0].tokens == alone(model, request)


def test_a_stop_token_ends_a_text_and_frees_its_row() -> None:
    model = toy_model(CONFIGS["gpt_oss"])
    free = alone(model, Request([3, 1], GREEDY, 12))
    engine = Engine(model)
    (text,) = engine.run([Request([3, 1], GREEDY, 12, stop_ids=[free[6]])])
    assert text.tokens == free[: free.index(free[6])]
    assert text.stop_reason == "stop token"
    assert engine.num_busy == 0


def test_a_stream_that_is_left_early_is_cancelled() -> None:
    engine = Engine(toy_model(CONFIGS["gpt2"]))
    stream = engine.stream(Request([1], GREEDY))
    next(stream)
    assert engine.num_busy == 1
    stream.close()
    assert engine.num_busy == 0


def test_nothing_grows_over_1000_texts_and_nothing_is_left_of_an_engine() -> None:
    model = toy_model(CONFIGS["gpt2"])
    engine = Engine(model, num_rows=50)

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    engine.run(requests(50, 0, [GREEDY]))
    before = tensors()
    for seed in range(19):
        texts = [engine.submit(request) for request in requests(50, seed, [GREEDY])]
        engine.step()
        for text in texts[::3]:
            engine.cancel(text)
        while engine.num_busy:
            engine.step()
    assert tensors() == before
    memory = weakref.ref(engine.decoder.cache.layers[0].k)
    del engine, texts, text
    gc.collect()
    assert memory() is None


def test_the_cache_has_the_size_of_its_formula() -> None:
    model = toy_model(CONFIGS["gpt_oss"])
    cache = StaticCache(model, 3, 29, dtype=torch.bfloat16)
    window, attention = 5, model.config.attention
    slots = (window + SPARE) * 2 + 29 + SPARE
    assert cache.num_bytes == 3 * slots * attention.num_kv_heads * attention.head_dim * 2 * 2
    engine = Engine(model, num_rows=3, cache_dtype=torch.bfloat16)
    assert engine.decoder.cache.num_bytes == cache.num_bytes
    assert len(engine.run([Request([1, 2], GREEDY, 9)])[0].tokens) == 9


def test_what_cannot_be_is_said() -> None:
    model = toy_model(CONFIGS["gpt2"])
    with pytest.raises(UserError, match="30 tokens long, but the model's context holds 29"):
        Engine(model).submit(Request([0] * 30))
    with pytest.raises(UserError, match="Only a CUDA device can replay captured steps, but the model is on cpu"):
        Engine(model, mode="captured")
    with pytest.raises(ValueError, match="valid_utf8 needs the table"):
        Engine(model).submit(Request([0], Sampling(valid_utf8=True)))


def test_without_a_compiler_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"install g\+\+ or clang\+\+, or let the engine run eagerly"):
        Engine(toy_model(CONFIGS["gpt2"]), mode="compiled")
