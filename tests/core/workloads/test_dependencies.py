"""Workloads that depend on each other: what holds of them, and in which order they go."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.dependencies import dependents_of, in_order, state_of
from piccolo.core.workloads.instances import DependencyState, InstanceStatus, Phase
from tests.core.planning.planned import NOW, workload


def declared(**depends_on: str) -> dict[str, Declared]:
    """By name, the letters of those that it depends on."""
    return {
        name: Declared(workload(name, depends_on=tuple(needed)), 1, NOW, NOW)
        for name, needed in depends_on.items()
    }


DB = declared(db="")["db"]
TWO = (Assignment("db", 0, "a", 2), Assignment("db", 1, "b", 2))
WELL = InstanceStatus("db", 0, 2, Phase.RUNNING, ready=True)


def state(first: InstanceStatus | None, second: InstanceStatus | None) -> tuple[bool, bool, bool]:
    told = {("a", "db.0"): first, ("b", "db.1"): second, ("c", "db.2"): WELL, ("a", "x.0"): WELL}
    found = state_of("db", TWO, {k: s for k, s in told.items() if s}, DB)
    assert found.workload == "db"
    return found.running, found.healthy, found.completed


@pytest.mark.parametrize(
    ("second", "holds"),
    [
        (WELL, (True, True, False)),
        (replace(WELL, ready=False), (True, False, False)),
        (replace(WELL, phase=Phase.STARTING), (False, False, False)),
        (replace(WELL, phase=Phase.COMPLETED), (False, False, False)),
        (replace(WELL, generation=1), (False, False, False)),
        (replace(WELL, hash="a-b-1"), (False, False, False)),
        (replace(WELL, hash="a-b-0"), (True, True, False)),
        (None, (False, False, False)),
    ],
)
def test_every_copy_counts(second: InstanceStatus | None, holds: tuple[bool, ...]) -> None:
    assert state(WELL, second) == holds
    assert state(second, WELL) == holds


def test_completed_is_when_all_have_ended_well() -> None:
    done = replace(WELL, phase=Phase.COMPLETED, ready=False)
    assert state(done, done) == (False, False, True)
    assert state(done, replace(done, phase=Phase.FAILED)) == (False, False, False)
    assert state(done, replace(done, generation=1)) == (False, False, False), "an older one did"


def test_of_nothing_nothing_holds() -> None:
    seen = {("a", "db.0"): WELL, ("b", "db.1"): WELL}
    assert state_of("db", (), seen, DB) == DependencyState("db")
    assert state_of("db", TWO, seen, None) == DependencyState("db")
    assert state_of("db", TWO, seen, DB) == DependencyState("db", running=True, healthy=True)


def test_dependents() -> None:
    all_ = declared(a="", b="a", c="b", d="a", e="", f="e", g="x")
    assert dependents_of(["a"], all_) == {"b", "c", "d"}
    assert dependents_of(["b", "e"], all_) == {"c", "f"}
    assert dependents_of(["a", "b"], all_) == {"c", "d"}, "not those that were asked for"
    assert dependents_of(["x"], all_) == {"g"}, "not declared, but depended on"
    assert dependents_of(["c", "zz"], all_) == set()
    assert dependents_of([], all_) == set()
    circle = declared(a="b", b="a", c="c")
    assert dependents_of(["a"], circle) == {"b"}
    assert dependents_of(["c"], circle) == set()


def test_dependents_of_many_do_not_take_long() -> None:
    names = [f"w{i}" for i in range(5_000)]
    chain = {
        name: Declared(workload(name, depends_on=(before,)), 1, NOW, NOW)
        for before, name in pairwise(names)
    }
    assert len(dependents_of(["w0"], chain)) == 4_999
    assert in_order(chain, set(chain), set(chain)) == ("w4999",)
    assert len(in_order(chain, set(chain), set())) == 4_999


ALL = declared(a="", b="a", c="b", d="a")


@pytest.mark.parametrize(
    ("assigned", "seen", "may_stop"),
    [
        ("", "", ""),
        ("abcd", "abcd", "cd"),
        ("abd", "abcd", "cd"),  # c is stopping still
        ("abd", "abd", "bd"),
        ("abcd", "abd", "bcd"),  # nobody has c any more, so b is next, too
        ("abcd", "", "abcd"),
        ("abcd", "a", "abcd"),
        ("a", "ad", "d"),
        ("a", "a", "a"),
        ("xy", "z", ""),  # others
    ],
)
def test_dependents_go_first(assigned: str, seen: str, may_stop: str) -> None:
    assert in_order(ALL, set(assigned), set(seen)) == tuple(may_stop)


def test_a_circle_goes_at_once_but_after_those_that_need_it() -> None:
    circle = declared(p="q", q="p", r="pr", s="")
    assert in_order(circle, set("pqr"), set("pqr")) == ("r",)
    assert in_order(circle, set("pq"), set("pqr")) == ("r",), "r is not gone yet"
    assert in_order(circle, set("pq"), set("pq")) == ("p", "q")
    assert in_order(circle, set("pqr"), set()) == ("p", "q", "r")
