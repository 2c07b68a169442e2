"""Schedules: numbers a person can check by hand."""

import math

import pytest

from tsumiki.train.schedule import Cosine, WarmupStableDecay


def test_warmup_constant_cooldown() -> None:
    schedule = WarmupStableDecay(
        WarmupStableDecay.Config(warmup_steps=4, cooldown_fraction=0.5, final_fraction=0.2), 16
    )
    warmup = [schedule(step) for step in range(4)]
    constant = [schedule(step) for step in range(4, 9)]
    cooldown = [schedule(step) for step in range(9, 17)]
    assert warmup == [0.25, 0.5, 0.75, 1.0]
    assert constant == [1.0] * 5
    assert cooldown == pytest.approx([0.2 + 0.8 * left / 8 for left in range(7, -1, -1)])


def test_no_update_is_wasted_on_a_rate_of_zero() -> None:
    for schedule in (
        WarmupStableDecay(WarmupStableDecay.Config(warmup_steps=3), 13),
        Cosine(Cosine.Config(warmup_steps=3), 13),
    ):
        assert all(0 < schedule(step) <= 1 for step in range(13))
        assert schedule(13) == pytest.approx(0, abs=1e-12)


def test_a_run_stopped_in_the_constant_part_can_be_extended() -> None:
    config = WarmupStableDecay.Config(warmup_steps=5, cooldown_fraction=0.25)
    short, long = WarmupStableDecay(config, 20), WarmupStableDecay(config, 400)
    assert [short(step) for step in range(15)] == [long(step) for step in range(15)]


def test_cosine() -> None:
    schedule = Cosine(Cosine.Config(warmup_steps=2, final_fraction=0.1), 10)
    assert [schedule(0), schedule(1), schedule(2)] == [0.5, 1.0, 1.0]
    assert schedule(6) == pytest.approx(0.55)  # half-way between 1 and 0.1
    assert schedule(4) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert schedule(10) == pytest.approx(0.1)


def test_constant_is_a_cooldown_of_nothing() -> None:
    schedule = WarmupStableDecay(WarmupStableDecay.Config(cooldown_fraction=0.0), 7)
    assert [schedule(step) for step in range(7)] == [1.0] * 7


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="6 steps of warm-up and 5 of cooldown do not fit into 10 steps"):
        WarmupStableDecay(WarmupStableDecay.Config(warmup_steps=6, cooldown_fraction=0.5), 10)
    with pytest.raises(ValueError, match="10 steps of warm-up leave none of 10 steps"):
        Cosine(Cosine.Config(warmup_steps=10), 10)
    with pytest.raises(ValueError, match=r"final_fraction is 1\.5"):
        Cosine.Config(final_fraction=1.5)
