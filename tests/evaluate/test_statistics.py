"""Wilson's interval, against numbers checked by hand."""

import math

import pytest

from tsumiki.evaluate.statistics import Proportion


def test_wilson_by_hand() -> None:
    """n = 10, p = 1/2, z² = 3.8415: middle (0.5 + 0.19207) / 1.38415 = 0.5, half width 0.26344."""
    low, high = Proportion(5, 10).interval
    assert (low, high) == (pytest.approx(0.23659, abs=1e-5), pytest.approx(0.76341, abs=1e-5))


def test_the_ends_are_proportions() -> None:
    """For p = 0 the interval is [0, z² / (n + z²)], for p = 1 its mirror image."""
    assert Proportion(0, 10).interval == (pytest.approx(0.0, abs=1e-12), pytest.approx(3.84146 / 13.84146, abs=1e-5))
    low, high = Proportion(10, 10).interval
    assert (low, high) == (pytest.approx(10 / 13.84146, abs=1e-5), pytest.approx(1.0))


def test_more_trials_say_more_and_none_say_nothing() -> None:
    widths = [high - low for low, high in (Proportion(n * 0.7, n).interval for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert Proportion(0, 0).interval == (0.0, 1.0)
    assert math.isnan(Proportion(0, 0).value)
    assert Proportion(1, 2) + Proportion(3, 5) == Proportion(4, 7)
