"""Whether a dependency holds, as an agent sees it."""

from __future__ import annotations

import pytest

from piccolo.core.workloads.dependency_rule import Known, waits_for
from piccolo.core.workloads.instances import DependencyState, InstanceStatus, Phase
from piccolo.core.workloads.workload import Dependency, DependencyCondition

RUNNING, HEALTHY, COMPLETED = DependencyCondition
RUNS = InstanceStatus("db", 0, 1, Phase.RUNNING)
WELL = InstanceStatus("db", 1, 1, Phase.RUNNING, ready=True)
DONE = InstanceStatus("db", 2, 1, Phase.COMPLETED)
ENDED = InstanceStatus("db", 3, 1, Phase.BACK_OFF)


def told(**holds: bool) -> DependencyState:
    return DependencyState("db", **holds)


@pytest.mark.parametrize(
    ("condition", "known", "holds"),
    [
        # The master sees all nodes: its word counts, whatever is seen here or held once.
        (RUNNING, Known(True, told(running=True), (ENDED,)), True),
        (RUNNING, Known(True, told(), (RUNS,), held_once=True), False),
        (RUNNING, Known(True, None, (RUNS,), held_once=True), False),
        (HEALTHY, Known(True, told(running=True)), False),
        (HEALTHY, Known(True, told(running=True, healthy=True)), True),
        (COMPLETED, Known(True, told(completed=True)), True),
        (COMPLETED, Known(True, told(running=True, healthy=True)), False),
        # Without it, what is here is looked at: all of it.
        (RUNNING, Known(False, None, (RUNS, WELL)), True),
        (RUNNING, Known(False, None, (RUNS, ENDED), held_once=True), False),
        (RUNNING, Known(False, None, (DONE,)), False),
        (HEALTHY, Known(False, None, (WELL,)), True),
        (HEALTHY, Known(False, None, (WELL, RUNS)), False),
        (COMPLETED, Known(False, None, (DONE,)), True),
        (COMPLETED, Known(False, None, (DONE, ENDED)), False),
        # What is elsewhere counts as holding once it has held.
        (HEALTHY, Known(False, held_once=True), True),
        (HEALTHY, Known(False), False),
        (HEALTHY, Known(False, told(healthy=True)), False),  # that was another session
    ],
)
def test_whether_it_holds(condition: DependencyCondition, known: Known, holds: bool) -> None:
    assert (waits_for(Dependency("db", condition), known) == "") is holds


def test_what_it_waits_for_is_said() -> None:
    healthy = Dependency("db", HEALTHY)
    assert waits_for(healthy, Known(True)) == "waits for db to be healthy"
    assert "on this node" in waits_for(healthy, Known(False, None, (RUNS,)))
    assert "the master" in waits_for(Dependency("db", COMPLETED), Known(False))
