"""Shortage (N10): it must last before it counts, and be over for as long before it ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.core.model import Usage
from piccolo.core.nodes.shortage import ShortageDetector, Thresholds
from piccolo.core.nodes.states import Fault

quick = settings(derandomize=True, deadline=None, max_examples=200)

GOOD = Usage(memory_available_percent=50.0, disk_used_percent=50.0)
SHORT = {
    Fault.MEMORY_SHORTAGE: Usage(memory_available_percent=4.9, disk_used_percent=50.0),
    Fault.DISK_SHORTAGE: Usage(memory_available_percent=50.0, disk_used_percent=95.1),
}
faults = pytest.mark.parametrize("fault", SHORT)


def test_the_defaults_are_those_of_the_design() -> None:
    assert Thresholds() == Thresholds(5.0, 95.0, 30.0)


@faults
def test_begins_after_its_duration_and_ends_after_as_long(fault: Fault) -> None:
    detector = ShortageDetector(Thresholds())
    assert detector.sample(SHORT[fault], 100.0) == {}
    assert detector.sample(SHORT[fault], 129.9) == {}
    (begun,) = detector.sample(SHORT[fault], 130.0).items()
    assert begun[0] is fault
    assert begun[1] is not None
    assert "30 s" in begun[1]
    assert detector.sample(SHORT[fault], 1000.0) == {}, "told once"
    assert detector.sample(GOOD, 2000.0) == {}
    assert detector.sample(GOOD, 2029.9) == {}
    assert detector.sample(GOOD, 2030.0) == {fault: None}
    assert detector.sample(GOOD, 3000.0) == {}


@faults
def test_a_moment_on_the_other_side_begins_the_wait_anew(fault: Fault) -> None:
    detector = ShortageDetector(Thresholds())
    for now, usage in ((0.0, SHORT[fault]), (29.0, GOOD), (30.0, SHORT[fault])):
        assert detector.sample(usage, now) == {}
    assert detector.sample(SHORT[fault], 59.0) == {}
    assert fault in detector.sample(SHORT[fault], 60.0)
    for now, usage in ((70.0, GOOD), (99.0, SHORT[fault]), (100.0, GOOD), (129.0, GOOD)):
        assert detector.sample(usage, now) == {}
    assert detector.sample(GOOD, 130.0) == {fault: None}


@faults
def test_a_shortage_that_held_before_the_restart_ends_too(fault: Fault) -> None:
    detector = ShortageDetector(Thresholds(), active=[fault])
    assert detector.sample(GOOD, 5.0) == {}
    assert detector.sample(GOOD, 35.0) == {fault: None}


def test_the_limits_themselves_are_no_shortage() -> None:
    edge = Usage(memory_available_percent=5.0, disk_used_percent=95.0)
    detector = ShortageDetector(Thresholds(duration=0.0))
    assert detector.sample(edge, 0.0) == {}


def test_both_can_hold_at_once_and_end_apart() -> None:
    both = Usage(memory_available_percent=1.0, disk_used_percent=99.0)
    detector = ShortageDetector(Thresholds(duration=0.0))
    begun = detector.sample(both, 0.0)
    assert set(begun) == set(SHORT)
    assert "1.0 % of memory available" in (begun[Fault.MEMORY_SHORTAGE] or "")
    assert "99.0 % of the disk used" in (begun[Fault.DISK_SHORTAGE] or "")
    assert detector.sample(SHORT[Fault.DISK_SHORTAGE], 1.0) == {Fault.MEMORY_SHORTAGE: None}
    assert detector.sample(GOOD, 2.0) == {Fault.DISK_SHORTAGE: None}


samples = st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), max_size=40)


@quick
@given(samples, st.integers(0, 40))
def test_a_verdict_changes_only_after_the_opposite_held_throughout(
    story: list[tuple[int, bool, bool]], duration: int
) -> None:
    detector = ShortageDetector(Thresholds(duration=duration))
    active: dict[Fault, bool] = dict.fromkeys(SHORT, False)
    opposite_since: dict[Fault, int | None] = dict.fromkeys(SHORT)
    now = 0
    for step, low_memory, full_disk in story:
        now += step
        usage = Usage(
            memory_available_percent=1.0 if low_memory else 60.0,
            disk_used_percent=99.0 if full_disk else 10.0,
        )
        changed = detector.sample(usage, now)
        for fault, short in zip(SHORT, (low_memory, full_disk), strict=True):
            since = opposite_since[fault]
            if short is active[fault]:
                since = None
            elif since is None:
                since = now
            due = since is not None and now - since >= duration
            assert (fault in changed) is due
            if due:
                assert (changed[fault] is not None) is short
                active[fault], since = short, None
            opposite_since[fault] = since
