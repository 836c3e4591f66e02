"""What copies still have of an earlier spec is in the way of others; what agents may have, too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from piccolo.core.model import Resources
from piccolo.core.workloads.declared import Assignment
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Placement, Update, Workload
from tests.core.planning.planned import RECREATE, Cluster, cluster, workload


def done(c: Cluster) -> list[str]:
    return [c.text(step) for step in c.act().steps]


def running(*nodes: str, **ports: int) -> Cluster:
    """One copy of each of these, well, with a port of its node."""
    c = cluster(*nodes)
    c.declare(*[workload(name, port=port) for name, port in ports.items()])
    c.settle()
    return c


def waits(c: Cluster, name: str) -> None:
    """Its agent was told, and cannot start it: the containers of before run on."""
    a = next(a for a in c.assignments if a.workload == name)
    hash_ = c.seen[a.node_id, a.key].hash
    c.obey()
    c.status(name, phase=Phase.WAITING, reason="DependencyNotReady", ready=False, hash=hash_)


# ---- it cannot change ----


def test_what_may_not_be_sent_keeps_its_port() -> None:
    c = running("a", old=80)
    c.declare(workload("old", image="i:2"), workload("new", port=80))
    c.blocked = {"old": "a secret is missing"}
    found = c.act()
    assert not found.steps
    assert found.unplaced == {
        "new": "no node for 1 of 1: a: has its port 80/tcp taken by old.0",
        "old": "a secret is missing",
    }
    c.blocked = {}
    assert c.settle() == [["replace old.0 a"], ["start new.0 a"]]


def test_others_go_where_the_port_is_free() -> None:
    c = running("a", "b", old=80)
    c.declare(workload("old", image="i:2"), workload("new", port=80, replicas=2))
    c.blocked = {"old": "a secret is missing"}
    found = c.act()
    assert c.where("new") == {0: "b"}
    assert "a: has its port 80/tcp taken by old.0" in found.unplaced["new"]


def test_what_waits_for_a_dependency_keeps_its_port() -> None:
    c = running("a", old=80)
    c.declare(workload("old", image="i:2"), workload("new", port=80))
    assert done(c) == ["replace old.0 a"]
    waits(c, "old")
    found = c.act()
    assert not found.steps
    assert "taken by old.0" in found.unplaced["new"]
    c.obey()
    assert done(c) == ["start new.0 a"]


def test_nor_does_a_restart_free_it() -> None:
    c = running("a", old=80)
    c.declare(workload("old", image="i:2"), workload("new", port=80))
    c.act()
    waits(c, "old")
    c.change("old", restarts=1)
    assert done(c) == ["replace old.0 a"]
    assert "taken by old.0" in c.ask().unplaced["new"]


def test_one_that_runs_does_not_change_to_a_port_that_stays_taken() -> None:
    c = running("a", big=80, small=81)
    c.declare(workload("big"), workload("small", port=80))
    assert done(c) == ["replace big.0 a"], "the other waits for it"
    waits(c, "big")
    assert c.act().unplaced == {
        "small": "small.0 stays as it is: a has its port 80/tcp taken by big.0"
    }
    c.obey()
    assert done(c) == ["replace small.0 a"]


def test_what_does_not_fit_itself_keeps_what_it_has() -> None:
    c = running("a", x=80, y=81)
    c.declare(workload("x", port=81), workload("new", port=80))
    assert sorted(c.act().unplaced) == ["new", "x"]
    assert not c.act().steps


def test_a_spec_that_history_no_longer_has_counts_for_nothing() -> None:
    c = running("a", old=80)
    c.declare(workload("old"), workload("new", port=80))
    c.blocked, c.history = {"old": "a secret is missing"}, {}
    assert done(c) == ["start new.0 a"]


def test_memory_and_cores_are_kept_too() -> None:
    c = cluster("a")
    c.set_node("a", resources=Resources(cpu_cores=1, memory_mb=100))
    c.declare(workload("old", memory=80, cpu=0.8))
    c.settle()
    c.declare(workload("old", memory=10), workload("m", memory=50), workload("c", cpu=0.5))
    assert c.settle() == [["replace old.0 a"], ["start c.0 a", "start m.0 a"]]
    c.declare(workload("old", memory=60), workload("m", memory=30))
    assert c.settle() == [["replace m.0 a"], ["replace old.0 a"]]


# ---- it changes ----


def test_a_port_is_not_given_away_before_it_is_free() -> None:
    c = running("a", old=80)
    c.declare(workload("old", port=81), workload("new", port=80))
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["replace old.0 a"]
    assert not found.unplaced, "it will be there soon"
    c.status("old", generation=2, phase=Phase.STOPPING, ready=False)
    assert not c.act().steps
    assert c.settle() == [["start new.0 a"]]


def starting(c: Cluster) -> None:
    """All agents have taken it up, and had made no containers yet when they said so."""
    c.settle()
    for place, status in c.seen.items():
        c.seen[place] = replace(status, phase=Phase.STARTING, ready=False, hash="")


def test_nor_before_what_begins_just_now_has_it() -> None:
    """Its containers may run when the agent hears of the change, and stay: what comes then waits
    for a dependency, or what it began with is asked for again."""
    c = cluster("a")
    c.declare(workload("old", port=80))
    starting(c)
    c.declare(workload("old"), workload("new", port=80))
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["replace old.0 a"]
    assert not found.unplaced, "it will be there soon"
    c.status("old", generation=2)
    assert done(c) == ["start new.0 a"]


def test_nor_what_it_was_told_in_between() -> None:
    c = running("a", old=80)
    for port in (81, 82):
        c.declare(workload("old", port=port))
        assert done(c) == ["replace old.0 a"]
    c.declare(workload("new", port=81))
    assert not c.act().steps, "old may have got it since it was seen"
    assert c.settle() == [["start new.0 a"]]


def test_what_is_removed_keeps_the_port_that_it_may_have() -> None:
    c = cluster("a")
    c.declare(workload("old", port=80))
    starting(c)
    c.declare(workload("old", replicas=0), workload("new", port=80))
    assert done(c) == ["stop old.0 a"]
    assert c.settle() == [["start new.0 a"]]


def test_what_is_removed_keeps_the_port_that_it_has() -> None:
    c = running("a", old=80)
    c.declare(workload("old", port=81))
    c.act()
    c.delete("old")
    c.declare(workload("new", port=80))
    c.act()
    assert not c.nodes_of("new")
    c.settle()
    assert c.nodes_of("new") == ["a"]


def test_one_after_the_other_where_one_can_begin() -> None:
    c = running("a", x=80, y=81, z=82)
    c.declare(workload("x", port=81), workload("y", port=82), workload("z", port=83))
    assert c.settle() == [["replace z.0 a"], ["replace y.0 a"], ["replace x.0 a"]]


# ---- in a circle ----


def swapped(**more: Any) -> tuple[Workload, Workload]:
    return workload("x", port=81, **more), workload("y", port=80, **more)


def test_two_that_swap_their_ports_change_at_once() -> None:
    """Each agent's slot stops what it has first. What cannot start yet is tried again."""
    c = running("a", x=80, y=81)
    c.declare(*swapped())
    assert c.settle() == [["replace x.0 a", "replace y.0 a"]]


def test_three_in_a_circle() -> None:
    c = running("a", x=80, y=81, z=82)
    c.declare(workload("x", port=81), workload("y", port=82), workload("z", port=80))
    assert c.settle() == [["replace x.0 a", "replace y.0 a", "replace z.0 a"]]


def test_a_circle_waits_while_one_of_it_cannot_change() -> None:
    c = running("a", x=80, y=81)
    c.declare(*swapped())
    c.blocked = {"y": "a secret is missing"}
    found = c.act()
    assert not found.steps
    assert found.unplaced["x"] == "x.0 stays as it is: a has its port 81/tcp taken by y.0"
    c.blocked = {}
    assert c.settle() == [["replace x.0 a", "replace y.0 a"]]


def test_a_circle_of_which_one_is_down_already() -> None:
    """Its agent stopped it, and the port that it needs is not free yet."""
    c = running("a", x=80, y=81)
    c.declare(*swapped())
    c.assignments = tuple(
        a if a.workload == "y" else Assignment("x", 0, a.node_id, 2) for a in c.assignments
    )
    assert not c.act().steps, "its port may not be free yet"
    c.status("x", generation=2, phase=Phase.ERROR, reason="PortTaken", ready=False, hash="")
    assert done(c) == ["replace y.0 a"]


@pytest.mark.parametrize("update", [Update(), RECREATE])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_swap_ends_whatever_the_strategy(update: Update, replicas: int) -> None:
    c = cluster("a", "b")
    c.declare(
        workload("x", port=80, replicas=replicas, update=update),
        workload("y", port=81, replicas=replicas, update=update),
    )
    c.settle()
    c.declare(*swapped(replicas=replicas, update=update))
    c.settle()
    assert {a.generation for a in c.assignments} == {2}
    assert len(c.assignments) == 2 * replicas


def test_a_rolling_swap_goes_node_by_node() -> None:
    """Each with one copy at a time: they must choose the same node, or both wait for ever."""
    c = cluster("a", "b")
    c.declare(workload("x", port=80, replicas=2), workload("y", port=81, replicas=2))
    c.assignments = tuple(
        Assignment(name, index, f"id-{node}", 1)
        for name, nodes in (("x", "ab"), ("y", "ba"))
        for index, node in enumerate(nodes)
    )
    c.settle()
    c.declare(*swapped(replicas=2))
    assert c.settle() == [["replace x.0 a", "replace y.1 a"], ["replace x.1 b", "replace y.0 b"]]


# ---- what agents may have ----


def test_a_copy_that_may_have_been_told_does_not_start_elsewhere() -> None:
    c = cluster("a", "b")
    c.declare(workload(placement=Placement(nodes=("a", "b"))))
    c.held = {("id-a", "web.0")}
    assert done(c) == ["start web.0 a"], "a first start waits for nothing"
    c.declare(workload(placement=Placement(nodes=("b",))))
    assert done(c) == ["stop web.0 a"]
    assert not c.act().steps
    c.held = set()
    assert done(c) == ["start web.0 b"]


def test_nor_is_its_workload_gone() -> None:
    c = cluster("a")
    c.declare(workload())
    c.act()
    c.held = {("id-a", "web.0")}
    c.delete("web")
    assert c.act().gone == ()
    c.held = set()
    assert c.act().gone == ("web",)


def test_what_a_node_that_is_away_was_told_is_not_waited_for() -> None:
    c = cluster("a", "b")
    c.declare(workload())
    c.act()
    c.held = {("id-a", "web.0")}
    c.set_node("a", ready=False)
    c.declare(workload(placement=Placement(nodes=("b",))))
    assert done(c) == ["stop web.0 a", "start web.0 b"]


def test_what_was_assigned_and_cannot_be_told_any_more_says_why() -> None:
    c = cluster("a")
    c.declare(workload())
    c.act()
    c.blocked = {"web": "the secret s is missing"}
    assert c.act().unplaced == {"web": "the secret s is missing"}
    c.set_node("a", ready=False)
    assert not c.act().unplaced, "the node may have it"
    c.set_node("a", ready=True)
    c.obey()
    assert not c.act().unplaced
    c.change("web", restarts=1)
    c.blocked = {}
    assert done(c) == ["replace web.0 a"]
    c.blocked = {"web": "the secret s is missing"}
    assert c.act().unplaced == {"web": "the secret s is missing"}
