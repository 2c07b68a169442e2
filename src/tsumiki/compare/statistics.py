"""What a few paired runs show, and what they do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev, variance


@dataclass(frozen=True)
class Difference:
    """How much higher one arm's figure is than another's, over the same seeds.

    Args:
        mean: the mean of the paired differences.
        low, high: its interval; infinite with a single seed.
        noise: the standard deviation of a figure from seed to seed, in both arms together; NaN with a single seed.
    """

    mean: float
    low: float
    high: float
    noise: float

    @property
    def shown(self) -> bool:
        """Whether the runs show a difference: the interval leaves 0 out, and the mean is above the noise of a seed."""
        return not self.low <= 0.0 <= self.high and abs(self.mean) > self.noise


def paired_difference(arm: Sequence[float], reference: Sequence[float], *, level: float = 0.95) -> Difference:
    """The mean of d = arm - reference over seeds, and its interval: d̄ ± t(n - 1) · s(d) / √n (Student 1908).

    Exact if the differences are normal, for three seeds as for thirty. A bootstrap is not: three numbers have only ten
    different resamples, and its "95 %" interval is the range of the three, which misses the true mean in a quarter of
    all cases. The price of honesty with few seeds is width: t(2) = 4.30, t(9) = 2.26.

    The second condition of `Difference.shown` concerns the size. Where both arms follow the same path (the same seed,
    almost the same model), paired differences may be tiny and still all of one sign; a difference that another seed
    would outweigh is of no use to anybody who trains one model.

    Args:
        arm, reference: the figures of the same seeds, in the same order.
        level: the probability with which the interval holds the true difference.
    """
    differences = [one - other for one, other in zip(arm, reference, strict=True)]
    n, middle = len(differences), mean(differences)
    if n == 1:
        return Difference(middle, -math.inf, math.inf, math.nan)
    width = t_quantile((1 + level) / 2, n - 1) * stdev(differences) / math.sqrt(n)
    noise = math.sqrt((variance(arm) + variance(reference)) / 2)
    return Difference(middle, middle - width, middle + width, noise)


def shared_level(comparisons: int, level: float = 0.95) -> float:
    """The level of each of several intervals for all of them to hold at once with `level`: 1 - (1 - level) / k.

    Without it (Bonferroni's inequality), of six equal arms one would seem different in more than every fifth study.
    """
    return 1 - (1 - level) / comparisons


def t_quantile(probability: float, freedom: int) -> float:
    """The t below which Student's distribution has this probability, above 1/2; found by bisection.

    `t_quantile(0.975, 2)` is 4.303.
    """
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return high


def t_probability(t: float, freedom: int) -> float:
    """P(T <= t) for t >= 0 and whole degrees of freedom ν, by the finite sums in Abramowitz & Stegun, 26.7.3-4.

    With θ = arctan(t / √ν), P(|T| <= t) is
        ν even: sin θ (1 + 1/2 cos² θ + 1·3/(2·4) cos⁴ θ + ... up to cos^(ν - 2) θ)
        ν odd:  2/π (θ + sin θ (cos θ + 2/3 cos³ θ + 2·4/(3·5) cos⁵ θ + ... up to cos^(ν - 2) θ))
    """
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    total, term = 0.0, math.cos(angle) ** odd
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
    inside = math.sin(angle) * total
    return 0.5 + (2 / math.pi * (angle + inside) if odd else inside) / 2
