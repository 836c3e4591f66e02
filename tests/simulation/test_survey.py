"""Many schedules at once: each seed exactly once, and whatever happens to a process, an end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.simulation.outcome import Outcome
from tests.simulation.survey import Survey, Task, survey


def _third_fails(seed: int, nodes: int, tell: Callable[[str], None] | None) -> Outcome:
    return Outcome(seed, float(seed), 2, ("broken",) if seed % 3 == 0 else (), ())


def _killed(seed: int, nodes: int, tell: Callable[[str], None] | None) -> Outcome:
    if seed == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(seed, 0.0, 0, (), ())


def _endless(seed: int, nodes: int, tell: Callable[[str], None] | None) -> Outcome:
    """But for the first, which fails."""
    if seed > 1:
        time.sleep(60.0)
    return Outcome(seed, 0.0, 0, ("broken",), ())


def _survey(task: Task, jobs: int) -> tuple[Survey, list[int]]:
    failed: list[int] = []
    found = survey(task, jobs, lambda outcome: failed.append(outcome.seed))
    return found, sorted(failed)


@pytest.mark.parametrize("jobs", [1, 3, 20])
def test_each_seed_once(jobs: int) -> None:
    found, failed = _survey(Task(_third_fails, 5, count=10), jobs)
    assert (found.schedules, found.steps, found.longest) == (10, 20, 14.0)
    assert failed == [6, 9, 12]


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(OSError, match="job 1 of the simulation ended without a result"):
        _survey(Task(_killed, 5, count=10), 3)


def test_ctrl_c_ends_all() -> None:
    before, began = signal.getsignal(signal.SIGINT), time.monotonic()
    found = survey(Task(_endless, 1, count=10), 2, lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert found.schedules == 1
    assert time.monotonic() - began < 30.0
    assert signal.getsignal(signal.SIGINT) is before
