"""The figures of `tsumiki bench`: what they count, and that every writer writes the same."""

import json
from pathlib import Path

import pytest
import torch

from tsumiki.bench import grid, peers
from tsumiki.bench.bound import arithmetic, bandwidth, bound, cache_bytes, weight_bytes, what_binds
from tsumiki.bench.ours import (
    TURN,
    allocated,
    turns_with_cache,
    turns_without_cache,
    with_engine,
    without_cache,
)
from tsumiki.bench.speed import Timed, compare
from tsumiki.generate.batch import Engine
from tsumiki.generate.cache import SPARE
from tsumiki.generate.quantise import quantised
from tsumiki.models import GPTOSS, LanguageModel, build_model
from tsumiki.nn.attention import GroupedQueryAttention
from tsumiki.nn.feed_forward import SwiGLUFeedForward

CPU = torch.device("cpu")
PROMPTS = [[3, 1, 4, 1, 5]]


def model(*, tied: bool = True, window: int | None = None) -> LanguageModel:
    config = GPTOSS.Config(
        vocab_size=61,
        max_seq_len=40,
        d_model=26,
        num_layers=3,
        attention=GroupedQueryAttention.Config(num_heads=2, num_kv_heads=1, head_dim=10),
        feed_forward=SwiGLUFeedForward.Config(d_ff=41),
        tie_embeddings=tied,
        sliding_window=window,
        init_std=0.3,
    )
    return build_model(config, seed=3).eval().requires_grad_(False)


def test_a_step_reads_every_weight_but_the_look_up_table() -> None:
    table = 61 * 26 * 4
    for tied in (True, False):
        each = model(tied=tied)
        total = sum(parameter.nbytes for parameter in each.parameters())
        assert weight_bytes(each) == (total if tied else total - table)


def test_int8_reads_a_quarter_and_the_scales() -> None:
    small = quantised(model(), "int8")
    matrices = 61 * 26 + 3 * (26 * (20 + 10 + 10 + 20) + 3 * 26 * 41)
    scales = 61 + 3 * (20 + 10 + 10 + 26 + 41 + 41 + 26)
    norms = 7 * 26
    assert weight_bytes(small) == matrices + 4 * (scales + norms)


def test_cached_bytes_and_the_bound_by_hand() -> None:
    each = model(window=5)  # layers 0 and 2 keep 5 tokens
    assert cache_bytes(each, 20, 4) == 2 * (5 + 20 + 5) * 10 * 4
    assert cache_bytes(each, 3, 2) == 2 * 9 * 10 * 2
    read = weight_bytes(each) + 7 * cache_bytes(each, 20, 4)
    assert bound(each, rows=7, context=20, bytes_per_second=1e9) == pytest.approx(7e9 / read)


def test_what_binds_is_said_in_a_sentence() -> None:
    assert what_binds(0.010, 0.001, 0.002).startswith("Small functions bind: memory needs 1.00 ms of 10.00 ms")
    assert what_binds(0.010, 0.008, 0.002).startswith("Memory binds")
    assert what_binds(0.010, 0.002, 0.008).startswith("Arithmetic binds")


def test_the_machine_is_measured() -> None:
    assert bandwidth(CPU, repeats=1) > 1e8
    assert arithmetic(CPU, torch.float32, repeats=1) > 1e8


def test_all_writers_write_the_same(tmp_path: Path) -> None:
    each = model()
    theirs = peers.transformers_model(each, torch.float32)
    writers = {
        "cache": with_engine(Engine(each)),
        "no cache": without_cache(each, compiled=False),
        "dynamic": peers.with_transformers(theirs, static=False),
        "static": peers.with_transformers(theirs, static=True),
        "onnxruntime": peers.with_onnxruntime(each, tmp_path, threads=1),
    }
    speeds = compare(writers, PROMPTS, 7, repeats=1)
    assert len({tuple(speed.tokens) for speed in speeds.values()}) == 1
    assert all(len(speed.tokens) == 7 for speed in speeds.values())


def test_a_slow_writer_takes_fewer_turns() -> None:
    slow, quick = (lambda prompts, number, each=each: Timed([[1] * number], 0.0, each) for each in (3.0, 0.5))
    speeds = compare({"slow": slow, "quick": quick}, PROMPTS, 7, repeats=5, seconds=5)
    assert [(speed.turns, speed.tokens_per_second) for speed in speeds.values()] == [(2, 2.0), (5, 12.0)]


def test_turns_at_the_end_of_a_text() -> None:
    each = model()
    engine = Engine(each)
    for _ in range(2):  # the second prompt finds the row free
        assert len(list(turns_with_cache(engine, [3, 1, 4], 2))) == 2
        assert engine.num_busy == 0
    turns = turns_without_cache(each.hidden_states, each, [3, 1, 4])
    assert all(next(turns) > 0 for _ in range(3))
    assert len(PROMPTS[0]) + 2 * TURN < each.config.max_seq_len


def test_the_memory_of_a_cache_is_what_was_counted_and_a_few_slots() -> None:
    each = model(window=5)
    assert allocated(each, 20) == cache_bytes(each, 20, 4) + SPARE * cache_bytes(each, 1, 4)


def test_the_grid_is_written_as_figures_and_as_a_picture(tmp_path: Path) -> None:
    each = model()
    figures = grid.measure(each, [3, 9], rows=2, new_tokens=4, compiled=False, peers={}, repeats=1)
    grid.save(figures, tmp_path)
    saved = json.loads((tmp_path / grid.FILE).read_text(encoding="utf-8"))
    assert [line["length"] for line in saved["lengths"]] == [3, 9]
    assert set(saved["lengths"][0]["speeds"]) == {"cache, eager", "no cache, eager"}
    assert saved["lengths"][1]["cache_bytes"] == 2 * cache_bytes(each, 11, 4)
    assert (
        "tokens of context" in (tmp_path / grid.PICTURE).read_text(encoding="utf-8")
        or (tmp_path / grid.PICTURE).stat().st_size > 10_000
    )
