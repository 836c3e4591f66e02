"""Back-off: never longer than the cap, never in step, growing at first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.backoff import pause
from piccolo.core.nodes.liveness import PROFILES

quick = settings(derandomize=True, deadline=None, max_examples=200)

attempts = st.integers(1, 10**9)
chances = st.floats(0, 1)
seconds = st.floats(0.01, 1000)


@quick
@given(attempts, chances, seconds, seconds)
def test_a_pause_lies_between_half_and_all_of_what_is_due(
    attempt: int, chance: float, base: float, cap: float
) -> None:
    due = min(cap, base * 2.0 ** min(attempt - 1, 32))
    assert due / 2 <= pause(attempt, chance, base=base, cap=cap) <= min(due, cap)


@quick
@given(attempts, chances)
def test_a_later_pause_is_not_shorter(attempt: int, chance: float) -> None:
    assert pause(attempt, chance) <= pause(attempt + 1, chance)


@quick
@given(attempts, chances, chances)
def test_chance_keeps_agents_apart(attempt: int, one: float, other: float) -> None:
    if one < other:
        assert pause(attempt, one) <= pause(attempt, other)
    assert pause(attempt, 1.0) - pause(attempt, 0.0) == pause(attempt, 1.0) / 2


def test_the_figures() -> None:
    assert [pause(n, 1.0) for n in range(1, 8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    for profile in PROFILES.values():
        assert pause(1000, 1.0, cap=profile.backoff_cap) == profile.backoff_cap
