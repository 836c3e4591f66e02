"""Laws of growth, and what follows from them."""

from __future__ import annotations

import math

import pytest

from benchmarks.crowd import Measured
from benchmarks.growth import fit, rounded
from benchmarks.scale import laws, limits, paragraph


def test_the_exponent_is_found() -> None:
    power = fit([(size, 3 * size**1.5) for size in (10, 100, 1000)])
    assert (power.factor, power.exponent) == pytest.approx((3, 1.5))
    assert power.at(4) == pytest.approx(24)
    assert power.reaches(24) == pytest.approx(4)
    assert str(power) == "grows as n^1.50"


def test_what_does_not_grow_reaches_nothing() -> None:
    power = fit([(10, 2.5), (100, 2.6), (1000, 2.5)])
    assert power.reaches(5) == math.inf
    assert str(power).startswith("does not grow")


def test_values_that_no_logarithm_has_are_left_out() -> None:
    assert fit([(10, 0), (100, 100), (1000, 1000)]).exponent == pytest.approx(1)
    with pytest.raises(ValueError, match="two sizes"):
        fit([(10, 0), (100, 100)])


def test_an_extrapolation_is_told_with_two_digits() -> None:
    assert [rounded(n) for n in (7, 83, 4317, 123_456)] == ["7", "83", "4,300", "120,000"]


def _seen(size: int, *, cpu: float) -> Measured:
    return Measured(
        size,
        alone=40.0,
        memory=40.0 + size / 10,
        cpu=cpu,
        joined=[size / 100],
        detected=[2.5],
        fanned_out=[0.01],
        listed=[0.2],
    )


def test_what_breaks_first_is_computed_and_comes_first() -> None:
    found = [_seen(size, cpu=size / 20) for size in (10, 100, 1000)]
    assert {law.what: round(law.power.exponent, 2) for law in laws(found)} == {
        "memory": 1.0,
        "CPU": 1.0,
        "join": 1.0,
        "detection": 0.0,
        "watch fan-out": 0.0,
        "get nodes": 0.0,
    }
    assert [limit.what for limit in limits(found)] == ["CPU", "connections", "memory"]
    assert paragraph(found).startswith("first CPU, at about 2,000 agents: one core is full")
    slower = [_seen(size, cpu=size / 200) for size in (10, 100, 1000)]
    assert paragraph(slower).startswith("first connections, at about 4,100 agents")
