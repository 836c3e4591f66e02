"""When ids are told, on a clock of our own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piccolo.runtime.burst import LONGEST, QUIET, SETTLE, Burst


def test_nothing_is_never_due() -> None:
    burst = Burst()
    assert burst.due() is None
    assert burst.take(1.0) == frozenset()


def test_one_event_waits_for_quiet() -> None:
    burst = Burst()
    burst.add("a", 5.0)
    assert burst.due() == pytest.approx(5.0 + QUIET)
    assert burst.take(5.0 + QUIET) == {"a"}
    assert burst.due() is None


def test_a_burst_is_one_set_and_does_not_wait_for_ever() -> None:
    burst = Burst()
    now = 5.0
    for number in range(100):
        due = burst.due()
        if due is not None and due <= now:
            break
        burst.add(f"{number % 7}", now)
        now += QUIET / 2
    assert now == pytest.approx(5.0 + LONGEST, abs=QUIET)
    assert burst.take(now) == set("0123456")


def test_what_is_about_to_change_is_told_later() -> None:
    burst = Burst()
    burst.later("a", 5.0)
    burst.add("b", 5.0)
    assert burst.due() == pytest.approx(5.0 + QUIET)
    assert burst.take(5.0 + QUIET) == {"b"}
    assert burst.due() == pytest.approx(5.0 + SETTLE)
    burst.add("a", 5.0 + SETTLE)
    assert burst.take(5.0 + SETTLE) == {"a"}
    assert burst.due() is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 0.1, allow_nan=False)),
        max_size=30,
    )
)
def test_every_event_is_told_in_time_and_after_it(events: list[tuple[str, bool, float]]) -> None:
    burst, now = Burst(), 1.0
    owed: list[tuple[float, float, str]] = []  # not before, at the latest, id

    def advance(until: float) -> None:
        nonlocal owed
        while (due := burst.due()) is not None and due <= until:
            told = burst.take(due)
            assert told
            assert all(due <= latest + 1e-9 for _, latest, _ in owed)
            owed = [
                (least, latest, id) for least, latest, id in owed if least > due or id not in told
            ]

    for id, is_late, pause in events:
        advance(now + pause)
        now += pause
        if is_late:
            burst.later(id, now)
            owed.append((now + SETTLE, now + SETTLE, id))
        else:
            burst.add(id, now)
            owed.append((now, now + LONGEST, id))
    advance(now + 1)
    assert owed == []
    assert burst.due() is None
