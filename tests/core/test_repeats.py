"""What is denied over and over becomes few records, and none of it is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from piccolo.core.repeats import MAX_WINDOWS, WINDOW, Repeats
from piccolo.core.security.audit import Entry

TIME = datetime(2026, 11, 21, tzinfo=UTC)


def denied(reason: str = "no certificate", source: str = "10.0.0.9:1000") -> Entry:
    return Entry(TIME, "anonymous", source, "GetNodes", allowed=False, reason=reason)


def test_the_first_is_passed_on_at_once_the_rest_as_one() -> None:
    repeats = Repeats()
    assert repeats.add(denied(), 100.0) == [denied()]
    for port in range(7):
        assert repeats.add(denied(source=f"10.0.0.9:{2000 + port}"), 101.0 + port) == []
    assert repeats.next() == 100.0 + WINDOW
    assert repeats.over(109.9) == []
    [gathered] = repeats.over(110.0)
    assert (gathered.count, gathered.source) == (7, "10.0.0.9:2006")
    assert repeats.next() is None
    assert repeats.add(denied(), 111.0) == [denied()]  # a new window


def test_what_came_once_leaves_nothing_behind() -> None:
    repeats = Repeats()
    repeats.add(denied(), 0.0)
    assert repeats.all() == []


def test_what_differs_is_kept_apart() -> None:
    repeats = Repeats()
    for other in (
        denied(),
        denied("another"),
        denied(source="10.0.0.8:1"),
        denied(source="[::1]:1"),
    ):
        assert repeats.add(other, 0.0) == [other]
    assert repeats.add(denied(source="[::1]:2"), 0.0) == []


def test_an_attacker_who_varies_does_not_fill_the_memory() -> None:
    repeats = Repeats()
    repeats.add(denied("0"), 0.0)
    repeats.add(denied("0"), 0.0)
    written = [e for n in range(1, 5 * MAX_WINDOWS) for e in repeats.add(denied(str(n)), 1.0)]
    assert len(repeats._windows) == MAX_WINDOWS
    assert sum(e.count for e in written) == 5 * MAX_WINDOWS  # the gathered one was not forgotten


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 4.0))))
def test_none_is_forgotten_and_none_counted_twice(steps: list[tuple[str, float]]) -> None:
    repeats, now, found = Repeats(), 0.0, []
    for reason, passed in steps:
        now += passed
        found += repeats.over(now)
        found += repeats.add(denied(reason), now)
    found += repeats.all()
    for reason in "abc":
        times = sum(r == reason for r, _ in steps)
        assert sum(e.count for e in found if e.reason == reason) == times
