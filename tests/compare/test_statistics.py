"""What is shown by a few seeds: against numbers checked by hand, scipy, and simulated studies."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tsumiki.compare.statistics import Difference, paired_difference, shared_level, t_probability, t_quantile


def test_the_quantiles_are_those_of_the_printed_tables() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042}
    assert {freedom: round(t_quantile(0.975, freedom), 3) for freedom in table} == table


@given(t=st.floats(0, 50), freedom=st.integers(1, 40))
def test_the_distribution_is_scipys(t: float, freedom: int) -> None:
    # scipy is off by 3e-11 near 0: with one degree of freedom it says 0.5 for t = 1e-10, and 0.5 + t / π is right.
    assert t_probability(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-9)


def test_the_distribution_near_zero() -> None:
    assert t_probability(1e-10, 1) - 0.5 == pytest.approx(1e-10 / math.pi, rel=1e-4)


def test_three_differences_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, s = 1, interval 2 ± 4.3027 / √3. Variances 1 and 0: noise √(1/2).
    found = paired_difference([11.0, 12.0, 13.0], [10.0, 10.0, 10.0])
    assert (found.mean, found.noise) == (2.0, pytest.approx(math.sqrt(0.5)))
    assert (found.low, found.high) == (pytest.approx(-0.4841, abs=1e-4), pytest.approx(4.4841, abs=1e-4))
    assert not found.shown


def test_pairing_takes_the_seeds_noise_out_of_the_interval() -> None:
    seeds = [1.0, 2.0, 3.0]
    found = paired_difference([value + 5.0 for value in seeds], seeds)
    assert (found.mean, found.low, found.high, found.noise) == (5.0, 5.0, 5.0, 1.0)
    assert found.shown


def test_a_difference_that_another_seed_outweighs_is_not_shown() -> None:
    seeds = [1.0, 2.0, 3.0]
    found = paired_difference([value + 0.5 for value in seeds], seeds)
    assert found.low == found.high == 0.5
    assert not found.shown


def test_equal_figures_and_a_single_seed_show_nothing() -> None:
    assert not paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).shown
    alone = paired_difference([1.0], [2.0])
    assert (alone.mean, alone.low, alone.high) == (-1.0, -math.inf, math.inf)
    assert not alone.shown
    assert not Difference(-1.0, -2.0, 0.5, 0.1).shown


@given(
    figures=st.lists(st.tuples(st.floats(0.5, 5), st.floats(0.5, 5)), min_size=2, max_size=8),
    shift=st.floats(-3, 3),
)
def test_exchanged_arms_differ_the_other_way_and_a_common_shift_changes_nothing(
    figures: list[tuple[float, float]], shift: float
) -> None:
    arm, reference = ([pair[side] for pair in figures] for side in (0, 1))
    there, back = paired_difference(arm, reference), paired_difference(reference, arm)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    moved = paired_difference([value + shift for value in arm], [value + shift for value in reference])
    assert (moved.mean, moved.low, moved.high) == pytest.approx((there.mean, there.low, there.high), abs=1e-9)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_arms_seem_different_as_rarely_as_promised(seeds: int) -> None:
    """A/A studies by the thousand: the interval leaves 0 out in 5 %, and `shown` is never more frequent."""
    generator = random.Random(seeds)
    studies = 4000
    found = [
        paired_difference(*([generator.gauss(1.5, 0.02) for _ in range(seeds)] for _ in range(2)))
        for _ in range(studies)
    ]
    outside = sum(not one.low <= 0 <= one.high for one in found) / studies
    assert outside == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / studies))
    assert sum(one.shown for one in found) / studies <= outside


def test_of_several_equal_arms_one_seems_different_as_rarely_as_promised() -> None:
    generator = random.Random(7)
    studies, others = 2000, 4
    wrong = 0
    for _ in range(studies):
        first, *rest = ([generator.gauss(0, 1) for _ in range(3)] for _ in range(1 + others))
        found = [paired_difference(arm, first, level=shared_level(others)) for arm in rest]
        wrong += any(not one.low <= 0 <= one.high for one in found)
    assert 0.02 < wrong / studies < 0.05 + 4 * math.sqrt(0.05 * 0.95 / studies)


def test_a_real_difference_is_found() -> None:
    generator = random.Random(3)
    found = [
        paired_difference(*([generator.gauss(centre, 0.01) for _ in range(3)] for centre in (1.4, 1.5)))
        for _ in range(500)
    ]
    assert sum(one.shown for one in found) / 500 > 0.95
