"""How a figure grows with the size of the cluster, and where it ends. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

FLAT = 0.1  # an exponent below this is no growth that a measurement could tell from chance


@dataclass(frozen=True, slots=True)
class Power:
    """`factor` × size ^ `exponent`."""

    factor: float
    exponent: float

    def at(self, size: float) -> float:
        return self.factor * float(size**self.exponent)

    def reaches(self, value: float) -> float:
        """The size at which it has that value; infinite when it does not grow."""
        if self.exponent < FLAT:
            return math.inf
        return float((value / self.factor) ** (1 / self.exponent))

    def __str__(self) -> str:
        if abs(self.exponent) < FLAT:
            return f"does not grow (n^{self.exponent:.2f})"
        return f"grows as n^{self.exponent:.2f}"


def fit(points: Iterable[tuple[float, float]]) -> Power:
    """The power law through (size, value) with the least squares of the logarithms.

    Values that are not positive say nothing and are left out. Raises `ValueError` when there are
    not two sizes left.
    """
    logs = [(math.log(size), math.log(value)) for size, value in points if size > 0 and value > 0]
    if len({x for x, _ in logs}) < 2:
        raise ValueError("growth shows in two sizes at least")
    middle_x, middle_y = fmean(x for x, _ in logs), fmean(y for _, y in logs)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in logs)
    slope /= sum((x - middle_x) ** 2 for x, _ in logs)
    return Power(math.exp(middle_y - slope * middle_x), slope)


def rounded(size: float) -> str:
    """Two digits are what an extrapolation can bear: 4,317 is "4,300"."""
    if not math.isfinite(size):
        return "no number of"
    digits = max(0, int(math.log10(max(size, 1))) - 1)
    return f"{round(size, -digits):,.0f}"
