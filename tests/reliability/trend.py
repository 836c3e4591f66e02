"""Whether something that is measured again and again stays where it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

WARM_UP = 0.25  # of the time: caches fill, pools open
Point = tuple[float, float]  # seconds, and the value then


def settled(points: Sequence[Point], warm_up: float = WARM_UP) -> list[Point]:
    """Those after the first part of the time."""
    if not points:
        return []
    begin, end = points[0][0], points[-1][0]
    return [point for point in points if point[0] >= begin + (end - begin) * warm_up]


def slope_per_hour(points: Sequence[Point]) -> float:
    """The slope by Theil and Sen: the median of the slopes between any two points.

    One outlier in four does not move it, where least squares follow a single spike. Zero for fewer
    than two points.
    """
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return median(slopes) * 3600 if slopes else 0.0
