"""How sure a figure is."""

import math
from dataclasses import dataclass

Z = 1.959964
"""The normal distribution's quantile for 95 %."""


@dataclass(frozen=True)
class Proportion:
    """How many of some trials came out right.

    Args:
        right: the successes; a tie counts half.
        total: the trials.
    """

    right: float
    total: int

    @property
    def value(self) -> float:
        """right / total; NaN without trials."""
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (1927): what the true proportion may be.

        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Unlike p ± z √(p(1-p)/n) it is right near 0 and 1, too. It
        takes the trials for independent; pairs made from the same template are less than that, so the true uncertainty
        about a rule of grammar is larger.
        """
        if self.total == 0:
            return 0.0, 1.0
        p, n = self.value, self.total
        middle = p + Z**2 / (2 * n)
        width = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, (middle - width) / (1 + Z**2 / n)), min(1.0, (middle + width) / (1 + Z**2 / n))

    def __add__(self, other: "Proportion") -> "Proportion":
        return Proportion(self.right + other.right, self.total + other.total)
