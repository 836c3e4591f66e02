"""One word for a workload, and whether to go on waiting for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from piccolo.core.planning.rollup import Rollup, State, roll_up
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import InstanceStatus, Phase
from piccolo.core.workloads.workload import Update
from tests.core.planning.planned import NOW, RECREATE, workload

WEB = Declared(workload(replicas=2), 2, NOW, NOW)
ONE = Declared(workload(), 2, NOW, NOW)
EACH = Declared(workload(one_per_node=True), 2, NOW, NOW)
WELL = InstanceStatus("web", 0, 2, Phase.RUNNING, ready=True, restarts=2)
BEFORE = replace(WELL, generation=1)
NAMES = {"id-a": "a", "id-b": "b", "id-c": "c"}


def of(phase: Phase, **fields: Any) -> InstanceStatus:
    return replace(WELL, phase=phase, ready=False, **fields)


def at(node: str, index: int = 0, generation: int = 2, restarts: int = 0) -> Assignment:
    return Assignment("web", index, f"id-{node}", generation, restarts)


BOTH = (at("a", 0), at("b", 1))


def roll(
    declared: Declared,
    assignments: tuple[Assignment, ...],
    seen: Mapping[str, InstanceStatus | None],
    *,
    away: str = "",
    unplaced: str | None = None,
) -> Rollup:
    """`seen` by "NODE INDEX"; `away`: the letters of nodes."""
    found = {}
    for place, status in seen.items():
        node, index = place.split()
        if status is not None:
            status = replace(status, index=int(index))
            found[f"id-{node}", status.key] = status
    ready = {node_id: name not in away for node_id, name in NAMES.items()}
    return roll_up(declared, assignments, found, ready, unplaced, NAMES)


def two(first: InstanceStatus | None, second: InstanceStatus | None, **more: Any) -> Rollup:
    return roll(WEB, BOTH, {"a 0": first, "b 1": second}, **more)


def brief(found: Rollup) -> tuple[State, bool, bool]:
    return found.state, found.settled, found.failed


def test_all_is_well() -> None:
    assert two(WELL, WELL) == Rollup(
        State.RUNNING, wanted=2, placed=2, updated=2, ready=2, restarts=4, settled=True
    )


@pytest.mark.parametrize(
    ("second", "state", "settled", "failed", "reason"),
    [
        (WELL, State.RUNNING, True, False, ""),
        (None, State.STARTING, False, False, "NotTakenUp"),
        (of(Phase.WAITING, reason="Dependency"), State.WAITING, False, False, "Dependency"),
        (of(Phase.PULLING), State.STARTING, False, False, "Pulling"),
        (of(Phase.STARTING), State.STARTING, False, False, "Starting"),
        (of(Phase.RUNNING), State.DEGRADED, False, False, "NotReady"),
        (of(Phase.BACK_OFF), State.DEGRADED, False, False, "BackOff"),
        (of(Phase.STOPPING), State.DEGRADED, False, False, "Stopping"),
        (of(Phase.STOPPING, reason="Replaced"), State.UPDATING, False, False, "Replaced"),
        (of(Phase.CRASH_LOOP), State.DEGRADED, True, True, "CrashLoop"),
        (of(Phase.ERROR, reason="PortTaken"), State.DEGRADED, True, True, "PortTaken"),
        (of(Phase.FAILED), State.DEGRADED, True, True, "Failed"),
        (of(Phase.COMPLETED), State.RUNNING, True, False, ""),
        (BEFORE, State.UPDATING, False, False, ""),
        (replace(BEFORE, phase=Phase.ERROR, ready=False), State.UPDATING, False, False, ""),
    ],
)
def test_one_of_two(
    second: InstanceStatus | None, state: State, settled: bool, failed: bool, reason: str
) -> None:
    found = two(WELL, second)
    assert (*brief(found), found.reason) == (state, settled, failed, reason)
    assert brief(two(second, WELL)) == brief(found)


@pytest.mark.parametrize(
    ("status", "state", "settled", "failed"),
    [
        (of(Phase.CRASH_LOOP), State.CRASH_LOOP, True, True),
        (of(Phase.ERROR), State.ERROR, True, True),
        (of(Phase.FAILED), State.FAILED, True, True),
        (of(Phase.COMPLETED), State.COMPLETED, True, False),
        (of(Phase.BACK_OFF), State.DEGRADED, False, False),
        (of(Phase.STOPPING), State.DEGRADED, False, False),
        (of(Phase.STOPPING, reason="Replaced"), State.UPDATING, False, False),
        (of(Phase.RUNNING, restarts=0), State.STARTING, False, False),
        (of(Phase.RUNNING, restarts=0, reason="NotReady"), State.STARTING, False, False),
        (of(Phase.RUNNING, restarts=0, reason="Unhealthy"), State.DEGRADED, False, False),
        (of(Phase.RUNNING, restarts=1), State.DEGRADED, False, False),
        (of(Phase.WAITING), State.WAITING, False, False),
        (None, State.STARTING, False, False),
    ],
)
def test_the_only_one(
    status: InstanceStatus | None, state: State, settled: bool, failed: bool
) -> None:
    assert brief(roll(ONE, (at("a"),), {"a 0": status})) == (state, settled, failed)


def test_the_worst_is_told_and_how_many_there_are() -> None:
    found = two(
        of(Phase.CRASH_LOOP, reason="ExitCode", message="exit code 1"),
        of(Phase.ERROR, reason="ImageMissing", message="no such image"),
    )
    assert found.state is State.ERROR
    assert found.message == "web.1 on b: no such image (and 1 more)"
    for said in ("", "Failed"):
        found = two(WELL, of(Phase.FAILED, message=said))
        assert found.message == "web.1 on b", "the reason says that much"
    assert two(WELL, of(Phase.FAILED, reason="Ended")).message == "web.1 on b: Ended"
    both = two(of(Phase.WAITING), of(Phase.WAITING, message="for db"))
    assert both.message == "web.0 on a (and 1 more)"


def test_while_others_are_on_their_way_it_is_not_settled() -> None:
    found = two(of(Phase.CRASH_LOOP), of(Phase.PULLING))
    assert brief(found) == (State.CRASH_LOOP, False, False)


def test_without_a_node() -> None:
    found = roll(WEB, (), {}, unplaced="no node for 2 of 2: a: is not ready")
    assert (*brief(found), found.message) == (
        State.PENDING,
        True,
        True,
        "no node for 2 of 2: a: is not ready",
    )
    assert (found.wanted, found.placed) == (2, 0)
    some = roll(WEB, (at("a"),), {"a 0": WELL}, unplaced="no node for 1 of 2")
    assert (*brief(some), some.reason) == (State.DEGRADED, True, True, "Unplaced")
    starting = roll(WEB, (at("a"),), {}, unplaced="no node for 1 of 2")
    assert brief(starting) == (State.PENDING, False, False), "the other one may still come"


def test_copies_none_of_which_has_been_well_are_starting() -> None:
    unready = of(Phase.RUNNING, restarts=0)
    assert two(unready, unready).state is State.STARTING
    assert two(unready, WELL).state is State.DEGRADED
    assert two(unready, of(Phase.BACK_OFF)).state is State.DEGRADED


def test_a_copy_that_will_get_a_node_soon() -> None:
    assert roll(WEB, (), {}).message == "it is about to get a node"
    assert brief(roll(WEB, (at("a"),), {"a 0": WELL})) == (State.PENDING, False, False)
    elsewhere = roll(WEB, (at("a"),), {"a 0": WELL, "b 1": BEFORE})
    assert brief(elsewhere) == (State.UPDATING, False, False)
    assert elsewhere.message == "stops web.1 on b"


def test_an_update_on_its_way() -> None:
    found = roll(WEB, (at("a"), at("b", 1, generation=1)), {"a 0": WELL, "b 1": BEFORE})
    assert (*brief(found), found.message) == (
        State.UPDATING,
        False,
        False,
        "1 of 2 in generation 2",
    )
    assert (found.updated, found.ready, found.placed) == (1, 2, 2)


def test_an_update_that_has_stopped() -> None:
    old = {"a 0": of(Phase.ERROR, message="no such image"), "b 1": BEFORE}
    assignments = (at("a"), at("b", 1, generation=1))
    found = roll(WEB, assignments, old)
    assert brief(found) == (State.DEGRADED, True, True)
    assert found.message == "web.0 on a: no such image; the update has stopped"
    spec = replace(WEB.workload, update=Update(max_unavailable=2))
    goes_on = roll(replace(WEB, workload=spec), assignments, old)
    assert brief(goes_on) == (State.DEGRADED, False, False)
    blocked = roll(WEB, assignments, {"a 0": WELL, "b 1": BEFORE}, unplaced="a secret is missing")
    assert (*brief(blocked), blocked.message) == (
        State.DEGRADED,
        True,
        True,
        "a secret is missing",
    )


def test_recreating() -> None:
    declared = replace(WEB, workload=workload(replicas=2, update=RECREATE))
    found = roll(declared, (), {"a 0": BEFORE, "b 1": BEFORE})
    assert (*brief(found), found.message) == (
        State.UPDATING,
        False,
        False,
        "stops web.0 on a, web.1 on b",
    )


def test_a_restart_is_over_when_the_new_containers_are_there() -> None:
    declared = replace(ONE, restarts=1)
    asked = (at("a", restarts=1),)
    old = roll(declared, asked, {"a 0": replace(WELL, hash="x-y-0")})
    assert (*brief(old), old.message) == (State.UPDATING, False, False, "0 of 1 in generation 2")
    new = roll(declared, asked, {"a 0": replace(WELL, hash="x-y-1")})
    assert brief(new) == (State.RUNNING, True, False)


# ---- nodes that are away ----


def test_what_is_away_is_settled_and_named() -> None:
    known = two(WELL, WELL, away="b")
    assert brief(known) == (State.DEGRADED, True, False), "as far as is known all is as asked"
    assert known.message.startswith("b: not ready")
    assert (known.ready, known.updated) == (1, 1)
    for last in (None, BEFORE, of(Phase.STARTING), of(Phase.ERROR)):
        found = two(WELL, last, away="b")
        assert brief(found) == (State.DEGRADED, True, True)
    all_ = two(None, None, away="ab")
    assert (*brief(all_), all_.message) == (
        State.PENDING,
        True,
        True,
        "a, b: not ready; what is there is not known",
    )
    assert brief(two(of(Phase.PULLING), None, away="b")) == (State.STARTING, False, False)


def test_with_one_on_each_node_those_away_do_not_matter() -> None:
    each = (at("a"), at("b"), at("c"))
    some = roll(EACH, each, {"a 0": WELL, "b 0": WELL}, away="c")
    assert brief(some) == (State.DEGRADED, True, False)
    assert (some.wanted, some.ready) == (3, 2)
    assert brief(roll(EACH, each, {}, away="abc")) == (State.PENDING, True, True)
    assert brief(roll(EACH, each, {f"{n} 0": WELL for n in "abc"})) == (State.RUNNING, True, False)
    nowhere = roll(EACH, (), {}, unplaced="not on all nodes: a: has no label gpu")
    assert brief(nowhere) == (State.PENDING, True, True)
    assert nowhere.wanted == 1


# ---- going ----


def test_held() -> None:
    held = replace(WEB, active=False)
    found = roll(held, (), {})
    assert (*brief(found), found.message) == (
        State.HELD,
        True,
        False,
        "no action has launched it, or one has terminated it",
    )
    assert brief(roll(held, BOTH, {})) == (State.STOPPING, False, False)
    stopping = roll(held, (), {"a 0": WELL, "b 1": WELL})
    assert brief(stopping) == (State.STOPPING, False, False)
    assert stopping.message == "still there: web.0 on a, web.1 on b"
    away = roll(held, (), {"a 0": WELL, "b 1": WELL}, away="ab")
    assert brief(away) == (State.HELD, True, False)
    assert away.message == "a, b: not ready; what is there stops once the node is back"


def test_deleting() -> None:
    deleting = replace(WEB, deleting_since=NOW)
    assert brief(roll(deleting, BOTH, {})) == (State.STOPPING, False, False)
    assert brief(roll(deleting, (), {"a 0": WELL})) == (State.STOPPING, False, False)
    assert brief(roll(deleting, (), {})) == (State.STOPPING, True, False)


def test_fewer() -> None:
    found = roll(ONE, (at("a"),), {"a 0": WELL, "b 1": WELL})
    assert (*brief(found), found.message) == (State.UPDATING, False, False, "stops web.1 on b")
    assert brief(roll(ONE, (at("a"),), {"a 0": WELL, "b 1": WELL}, away="b")) == (
        State.RUNNING,
        True,
        False,
    )
    none = roll(replace(WEB, workload=workload(replicas=0)), (), {})
    assert (*brief(none), none.message) == (State.RUNNING, True, False, "no copies are asked for")


def test_others_and_nodes_that_are_gone_do_not_count() -> None:
    seen = {
        ("id-a", "web.0"): WELL,
        ("id-a", "db.0"): replace(WELL, workload="db"),
        ("id-gone", "web.1"): WELL,
    }
    found = roll_up(ONE, (at("a"),), seen, {"id-a": True}, None)
    assert brief(found) == (State.RUNNING, True, False)
    assert found.restarts == 2


def test_many_names_are_cut() -> None:
    copies = tuple(at("a", i) for i in range(6))
    found = roll_up(replace(WEB, active=False), copies, {}, {}, None)
    assert found.message == "still there: web.0 on id-a, web.1 on id-a, web.2 on id-a and 3 more"


def test_whatever_is_seen_what_is_failed_is_settled() -> None:
    statuses = [None, BEFORE, WELL, *(of(phase) for phase in Phase)]
    for first in statuses:
        for second in statuses:
            for away in ("", "a", "ab"):
                for unplaced in (None, "why"):
                    found = two(first, second, away=away, unplaced=unplaced)
                    assert found.settled or not found.failed
                    assert found.state not in (State.RUNNING, State.COMPLETED) or (
                        found.settled and not found.failed
                    )
