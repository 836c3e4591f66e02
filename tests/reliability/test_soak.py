"""The soak's plan and its judgement: pure, so that a seed means the same everywhere."""

from __future__ import annotations

import random

import pytest

from tests.reliability.mishaps import AT_ONCE, ENDED, Mishap, mishaps
from tests.reliability.trend import settled, slope_per_hour
from tests.reliability.wishes import CONTAINERS, wishes

NODES = ["node1", "node2", "node3"]


def plan(seed: int) -> list[Mishap]:
    return mishaps(random.Random(seed), 600.0, NODES, ["node3"], (2.0, 30.0))


def test_the_same_seed_breaks_and_asks_the_same() -> None:
    assert plan(7) == plan(7) != plan(8)
    first, second = (list(wishes(random.Random(7), 600.0, (2.0, 8.0))) for _ in range(2))
    assert first == second
    assert {wish.name for wish in first} == set(CONTAINERS)


@pytest.mark.parametrize("seed", range(20))
def test_at_most_two_things_are_broken_at_once_and_each_once(seed: int) -> None:
    troubles = plan(seed)
    assert len(troubles) > 30
    for one in troubles:
        assert 0 <= one.begin <= one.end <= 600
        others = [t for t in troubles if t is not one and t.begin <= one.begin < t.end]
        assert len(others) < AT_ONCE
        assert (one.host, one.part) not in {(t.host, t.part) for t in others}


def test_only_agents_that_may_are_ended() -> None:
    ended = {one.host for seed in range(10) for one in plan(seed) if one.kind in ENDED}
    assert ended == {"node3"}


def test_a_slope_is_not_moved_by_spikes() -> None:
    points = [(float(t), 1000.0 + t / 36 + (500 if t % 50 == 0 else 0)) for t in range(0, 900, 5)]
    assert slope_per_hour(points) == pytest.approx(100, rel=0.1)
    assert slope_per_hour([(0.0, 5.0)]) == 0
    assert slope_per_hour([(float(t), 7.0) for t in range(10)]) == 0


def test_the_first_part_of_the_time_does_not_count() -> None:
    points = [(100.0 + t, float(t)) for t in range(101)]
    assert settled(points, 0.25)[0] == (125.0, 25.0)
    assert settled([]) == []
