"""The planner: what starts where, what changes when, and that it leaves alone what may stay."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace

import pytest

from piccolo.core.model import Resources
from piccolo.core.planning.planner import Step, Verb, applied, plan
from piccolo.core.planning.rollout import UNPROBED_READY, must_last
from piccolo.core.planning.steps import merged
from piccolo.core.workloads.containers import Container, Probe, Probes, TcpCheck
from piccolo.core.workloads.declared import Assignment, Past
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Placement, Update, UpdateStrategy, Workload
from tests.core.planning.planned import RECREATE, Cluster, cluster, node, workload

PROBE = Probe(tcp=TcpCheck(80))

# ---- starting ----


def test_a_workload_gets_a_node() -> None:
    c = cluster("a")
    c.declare(workload())
    (step,) = c.act().steps
    assert (step.verb, step.workload, step.index, step.node_id) == (Verb.START, "web", 0, "id-a")
    assert (step.generation, step.restarts) == (1, 0)


def test_nothing_gives_nothing() -> None:
    found = plan({}, (), [], {}, ready_for={})
    assert (found.steps, found.unplaced, found.gone, found.wake_after) == ((), {}, (), None)


def test_copies_are_spread() -> None:
    c = cluster("a", "b", "c")
    c.declare(workload(replicas=7))
    c.act()
    assert Counter(c.where().values()) == {"a": 3, "b": 2, "c": 2}
    assert sorted(c.where()) == [0, 1, 2, 3, 4, 5, 6]


def test_the_emptier_node_is_taken() -> None:
    c = cluster("a", "b")
    c.declare(workload("first"), workload("second"), workload("third"))
    c.act()
    assert [c.where(n)[0] for n in ("first", "second", "third")] == ["a", "b", "a"]


def test_only_ready_nodes_get_copies() -> None:
    c = cluster("a", b={"ready": False})
    c.declare(workload(replicas=3))
    c.act()
    assert set(c.where().values()) == {"a"}


def test_without_a_node_there_is_a_reason() -> None:
    c = cluster(a={"ready": False}, b={"zone": "rear"})
    c.declare(workload(placement=Placement(labels={"zone": "front"})))
    assert c.act().unplaced == {
        "web": "no node for 1 of 1: a: has no label zone; b: has the label zone=rear, not front"
    }
    c.declare(workload("db", placement=Placement(nodes=("a", "nope"))))
    assert c.act().unplaced["db"] == (
        'no node for 1 of 1: "nope" is no node of the cluster; a: is not ready'
    )


def test_an_empty_cluster() -> None:
    c = cluster()
    c.declare(workload(replicas=2), workload("each", one_per_node=True))
    assert c.act().unplaced == {
        "web": "no node for 2 of 2: the cluster has no nodes",
        "each": "not on all nodes: the cluster has no nodes",
    }


def test_a_node_named_alone_gets_its_copy_though_it_is_away() -> None:
    c = cluster("a", b={"ready": False})
    c.declare(workload(replicas=2, placement=Placement(nodes=("b",))))
    found = c.act()
    assert c.where() == {0: "b", 1: "b"}
    assert not found.unplaced
    c.declare(workload("db", placement=Placement(nodes=("b",), labels={"gpu": "yes"})))
    assert "has no label gpu" in c.act().unplaced["db"]


def test_some_copies_find_room_and_some_do_not() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=5, port=8080))
    found = c.act()
    assert c.where() == {0: "a", 1: "b"}
    assert found.unplaced["web"] == (
        "no node for 3 of 5: a: has its port 8080/tcp taken by web.0;"
        " b: has its port 8080/tcp taken by web.1"
    )


def test_what_cannot_be_sent_waits() -> None:
    c = cluster("a")
    c.declare(workload(replicas=2), workload("db"))
    c.settle()
    c.blocked = {"web": "the secret s is missing", "db": "so is this", "none": "not declared"}
    assert c.act().unplaced == {}, "what runs already is no problem"
    c.declare(workload(image="i:2", replicas=3))
    assert c.act().unplaced == {"web": "the secret s is missing"}
    assert c.act().steps == ()
    c.declare(workload(image="i:2", replicas=1))
    assert [c.text(s) for s in c.act().steps] == ["stop web.1 a"]
    c.blocked = {}
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]


# ---- one on each node ----


def test_one_on_each_node_also_on_those_that_are_away() -> None:
    c = cluster("a", "b", d={"ready": False}, e={"zone": "rear"})
    c.set_node("a", labels={"zone": "rear"})
    c.declare(workload(one_per_node=True))
    assert not c.act().unplaced
    assert c.nodes_of() == ["a", "b", "d", "e"]
    assert {a.index for a in c.assignments} == {0}
    c.obey()
    c.declare(workload(one_per_node=True, placement=Placement(labels={"zone": "rear"})))
    (story,) = c.settle()
    assert story == ["stop web.0 b", "stop web.0 d", "replace web.0 a", "replace web.0 e"]
    assert c.nodes_of() == ["a", "e"]
    c.nodes.append(node("f", zone="rear"))
    assert c.settle() == [["start web.0 f"]]
    c.set_node("a", labels={})
    assert c.settle() == [["stop web.0 a"]]


def test_one_on_each_node_says_which_it_is_not_on() -> None:
    c = cluster("a", "b")
    c.declare(workload("other", port=80, placement=Placement(nodes=("b",))))
    c.settle()
    c.declare(workload(one_per_node=True, port=80))
    assert c.act().unplaced == {"web": "not on all nodes: b: has its port 80/tcp taken by other.0"}
    assert c.nodes_of() == ["a"]
    c.declare(workload("named", one_per_node=True, placement=Placement(nodes=("a", "x"))))
    assert c.act().unplaced["named"] == 'not on all nodes: "x" is no node of the cluster'
    c.obey()
    assert c.act().unplaced["named"], "also when nothing is to be done"


def test_to_one_on_each_node_and_back() -> None:
    c = cluster("a", "b", "c")
    c.declare(workload(replicas=4))
    c.settle()
    c.declare(workload(one_per_node=True))
    c.settle()
    assert c.nodes_of() == ["a", "b", "c"]
    assert {a.index for a in c.assignments} == {0}
    c.declare(workload(replicas=2))
    c.settle()
    assert sorted(c.where()) == [0, 1]
    assert c.where()[0] == "a"


# ---- staying ----


def test_copies_stay_while_their_node_is_away() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=4))
    c.settle()
    c.set_node("a", ready=False)
    assert c.act().steps == ()
    c.nodes.append(node("new"))
    assert c.act().steps == (), "and where they are, though it is emptier elsewhere"


def test_a_node_that_left_the_cluster_keeps_nothing() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=2))
    c.settle()
    c.declare(workload("db", placement=Placement(nodes=("a",))))
    c.settle()
    c.nodes = c.nodes[1:]
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["stop db.0 a", "stop web.0 a", "start web.0 b"]
    assert found.unplaced == {"db": 'no node for 1 of 1: "a" is no node of the cluster'}


def test_a_node_that_is_too_full_now_keeps_what_it_has() -> None:
    c = cluster("a", "b")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.set_node("b", resources=Resources(memory_mb=10))
    c.declare(workload(memory=900))
    c.settle()
    c.set_node("a", resources=Resources(memory_mb=500))
    assert c.act().steps == ()
    assert c.act().unplaced == {}


# ---- moving ----


def test_a_copy_goes_where_its_placement_says_and_never_runs_twice() -> None:
    c = cluster("a", "b")
    c.declare(workload(placement=Placement(nodes=("a",))))
    c.settle()
    c.declare(workload(placement=Placement(nodes=("b",))))
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["stop web.0 a"]
    assert found.unplaced == {}, "it only waits"
    assert found.steps[0].reason == "its node is not among placement.nodes"
    c.obey()
    assert [c.text(s) for s in c.act().steps] == ["start web.0 b"]


def test_a_copy_whose_node_is_away_moves_at_once_when_told_so() -> None:
    c = cluster("a", "b")
    c.declare(workload(placement=Placement(nodes=("a",))))
    c.settle()
    c.set_node("a", ready=False)
    c.declare(workload(placement=Placement(nodes=("b",))))
    assert [c.text(s) for s in c.act().steps] == ["stop web.0 a", "start web.0 b"]


def test_copies_move_a_few_at_a_time() -> None:
    c = cluster("a", "b")
    c.set_node("a", labels={"zone": "front"})
    c.declare(workload(replicas=3, placement=Placement(labels={"zone": "front"})))
    c.settle()
    c.set_node("a", labels={})
    c.set_node("b", labels={"zone": "front"})
    assert c.settle() == [
        ["stop web.0 a"],
        ["start web.0 b"],
        ["stop web.1 a"],
        ["start web.1 b"],
        ["stop web.2 a"],
        ["start web.2 b"],
    ]


def test_a_copy_may_not_stay_even_if_there_is_no_other_place() -> None:
    c = cluster("a")
    c.declare(workload(placement=Placement(labels={"zone": "front"})))
    c.set_node("a", labels={"zone": "front"})
    c.settle()
    c.set_node("a", labels={})
    c.settle()
    assert c.where() == {}
    assert "a: has no label zone" in c.act().unplaced["web"]


def test_what_is_being_stopped_keeps_its_port_until_it_is_gone() -> None:
    c = cluster("a")
    c.declare(workload("old", port=80))
    c.settle()
    c.delete("old")
    c.declare(workload("new", port=80))
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["stop old.0 a"]
    assert found.unplaced == {}, "it only waits"
    c.obey()
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["start new.0 a"]
    assert found.gone == ("old",)


def test_a_copy_that_is_still_being_stopped_starts_where_it_is() -> None:
    c = cluster("a", "b")
    c.declare(workload("other"), workload(replicas=1))
    c.settle()
    assert c.where() == {0: "b"}
    c.change("web", active=False)
    c.act()
    c.change("web", active=True)
    c.declare(*[workload(f"more{i}", placement=Placement(nodes=("b",))) for i in range(3)])
    c.act()
    assert c.where() == {0: "b"}


def test_a_copy_that_two_nodes_still_have_waits_for_one_of_them() -> None:
    c = cluster("a", "b")
    c.declare(workload(one_per_node=True))
    c.settle()
    c.change("web", active=False)
    c.act()
    c.declare(workload())
    assert c.act().steps == ()
    c.obey("a")
    assert [c.text(s) for s in c.act().steps] == ["start web.0 b"]


# ---- updates ----


def test_a_single_copy_is_replaced_on_its_node() -> None:
    for update in (Update(), Update(min_ready=60.0), RECREATE):
        c = cluster("a", "b")
        c.declare(workload(update=update))
        c.settle()
        c.ready_for = {}
        c.declare(workload(image="i:2", update=update))
        (step,) = c.act().steps
        assert (step.verb, step.node_id, step.generation) == (Verb.REPLACE, "id-a", 2)
        assert step.reason == "generation 1 → 2"


@pytest.mark.parametrize(("most", "rounds"), [(1, 5), (2, 3), (3, 2), (5, 1), (99, 1), (0, 5)])
def test_a_rolling_update_takes_a_few_at_a_time(most: int, rounds: int) -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=5, update=Update(max_unavailable=most)))
    c.settle()
    c.declare(workload(image="i:2", replicas=5, update=Update(max_unavailable=most)))
    story = c.settle()
    assert len(story) == rounds
    assert max(map(len, story)) == min(5, max(1, most))
    assert {a.generation for a in c.assignments} == {2}


def test_it_stops_at_the_first_that_does_not_get_well() -> None:
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.settle()
    c.declare(workload(image="bad", replicas=3))
    c.act()
    c.obey()
    c.status("web", 0, phase=Phase.ERROR, ready=False, reason="ImageMissing")
    assert c.act().steps == ()
    c.declare(workload(image="i:1", replicas=3))
    found = [c.text(s) for s in c.act().steps]
    assert found == ["replace web.0 a", "replace web.1 a", "replace web.2 a"]
    for a in c.assignments[1:]:
        assert c.hash(a) == c.seen[a.node_id, a.key].hash, "it has run just this all the time"


def test_what_is_not_well_goes_first_and_at_once() -> None:
    c = cluster("a")
    c.declare(workload(replicas=4))
    c.settle()
    c.status("web", 1, ready=False)
    c.status("web", 3, ready=False, phase=Phase.CRASH_LOOP)
    c.declare(workload(image="i:2", replicas=4))
    assert [c.text(s) for s in c.act().steps] == ["replace web.1 a", "replace web.3 a"]


def test_after_a_restart_of_the_master_nothing_is_taken_down_unheard() -> None:
    c = cluster("a", "b")
    update = Update(min_ready=30.0)
    c.declare(workload(replicas=4, update=update))
    c.settle()
    c.declare(workload(image="i:2", replicas=4, update=update))
    known, c.seen = c.seen, {}
    assert c.act().steps == (), "not heard of anybody"
    c.seen, c.ready_for = known, {}
    found = c.act()
    assert (found.steps, found.wake_after) == ((), 30.0), "not known for how long they are well"
    c.ready_for = dict.fromkeys(c.seen, 29.0)
    assert c.act().wake_after == 1.0
    c.ready_for = dict.fromkeys(c.seen, 30.0)
    assert len(c.act().steps) == 1


def test_what_can_no_longer_be_told_is_not_waited_for() -> None:
    """… such as two copies whose secret went before their agents had them."""
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.act()
    c.declare(workload(image="i:2", replicas=3))
    assert c.act().steps == (), "they are about to be told"
    c.lost = {("id-a", "web.1"), ("id-a", "web.2")}
    assert [c.text(s) for s in c.act().steps] == ["replace web.1 a", "replace web.2 a"]
    c.lost = set()
    c.obey()
    assert c.settle() == [["replace web.0 a"]], "it may have run: it waited for the others"


def test_what_can_no_longer_be_told_runs_on_until_it_is_its_turn() -> None:
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.settle()
    c.declare(workload(image="i:2", replicas=3))
    c.lost = set(c.seen)
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]


def test_each_new_copy_must_last() -> None:
    c = cluster("a")
    update = Update(min_ready=10.0)
    c.declare(workload(replicas=3, update=update))
    c.settle()
    c.ready_for = dict.fromkeys(c.seen, 100.0)
    c.declare(workload(image="i:2", replicas=3, update=update))
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]
    c.obey()
    c.ready_for["id-a", "web.0"] = 4.0
    found = c.act()
    assert (found.steps, found.wake_after) == ((), 6.0)
    c.ready_for["id-a", "web.0"] = 10.0
    assert [c.text(s) for s in c.act().steps] == ["replace web.1 a"]
    c.settle()
    c.ready_for = dict.fromkeys(c.seen, 100.0)
    c.settle()
    assert c.act().wake_after is None, "there is nothing to wake for"


@pytest.mark.parametrize(
    ("probes", "min_ready", "pause"),
    [
        (Probes(), 0.0, UNPROBED_READY),
        (Probes(liveness=PROBE), 0.0, UNPROBED_READY),
        (Probes(), 9.0, 9.0),
        (Probes(readiness=PROBE), 0.0, None),
        (Probes(startup=PROBE), 0.0, None),
        (Probes(readiness=PROBE), 9.0, 9.0),
    ],
)
def test_what_no_probe_vouches_for_must_run_for_a_while(
    probes: Probes, min_ready: float, pause: float | None
) -> None:
    def version(image: str) -> Workload:
        made = workload(image=image, replicas=2, update=Update(min_ready=min_ready))
        return replace(made, containers=(replace(made.containers[0], probes=probes),))

    c = cluster("a")
    c.declare(version("i:1"))
    assert c.act().wake_after is None, "a first start is not slowed"
    c.obey()
    c.ready_for = dict.fromkeys(c.seen, 60.0)
    c.declare(version("i:2"))
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]
    c.obey()
    c.ready_for["id-a", "web.0"] = 0.0
    found = c.act()
    assert [c.text(s) for s in found.steps] == ([] if pause else ["replace web.1 a"])
    assert found.wake_after == pause


def test_a_version_that_ends_at_once_takes_one_copy_down() -> None:
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.settle()
    c.declare(workload(image="bad", replicas=3))
    c.act()
    for _ in range(5):
        c.obey()
        c.ready_for["id-a", "web.0"] = 0.3
        assert c.act().steps == ()
        c.status("web", 0, phase=Phase.BACK_OFF, ready=False)
        assert c.act().steps == ()
    assert Counter(a.generation for a in c.assignments) == {1: 2, 2: 1}


def test_a_container_beside_it_must_run_for_a_while_too() -> None:
    made = workload()
    probed = replace(made.containers[0], probes=Probes(readiness=PROBE))
    assert must_last(replace(made, containers=(probed,))) == 0.0
    both = replace(made, containers=(probed, Container("beside", "i:1")))
    assert must_last(both) == UNPROBED_READY


def test_what_has_ended_well_counts() -> None:
    c = cluster("a")
    update = Update(min_ready=10.0)
    c.declare(workload(replicas=2, update=update))
    c.act()
    c.obey(phase=Phase.COMPLETED, ready=False)
    c.declare(workload(image="i:2", replicas=2, update=update))
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]


def test_nodes_that_are_away_do_not_hold_an_update_up() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=4))
    c.settle()
    c.set_node("b", ready=False)
    c.declare(workload(image="i:2", replicas=4))
    assert [c.text(s) for s in c.act().steps] == [
        "replace web.1 b",
        "replace web.3 b",
        "replace web.0 a",
    ]
    c.obey()
    assert [c.text(s) for s in c.act().steps] == ["replace web.2 a"]


def test_what_leaves_the_containers_alone_is_done_at_once() -> None:
    for update in (Update(), RECREATE):
        c = cluster("a", "b")
        c.declare(workload(replicas=3, update=update))
        c.settle()
        c.declare(workload(replicas=5, stop_grace=1.0, update=update))
        assert {s.reason for s in c.ask().steps if s.verb is Verb.REPLACE} == {
            "generation 1 → 2, its containers stay"
        }
        (story,) = c.settle()
        assert Counter(text.split()[0] for text in story) == {"replace": 3, "start": 2}


def test_two_changes_in_a_row_do_not_take_everything_down() -> None:
    c = cluster("a")
    c.declare(workload(replicas=4))
    c.settle()
    c.declare(workload(replicas=4, stop_grace=1.0))
    assert len(c.act().steps) == 4
    c.declare(workload(replicas=4, image="i:2"))
    assert c.act().steps == (), "it is not known yet that the first change left all well"
    assert len(c.settle()) == 4


def test_what_goes_on_with_its_containers_does_not_let_others_go_at_once() -> None:
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.settle()
    c.declare(workload(image="i:2", replicas=3))
    c.act()
    c.obey()
    c.declare(workload(replicas=3))
    assert [c.text(s) for s in c.act().steps] == ["replace web.1 a", "replace web.2 a"]
    c.obey()
    assert [c.text(s) for s in c.act().steps] == ["replace web.0 a"]


def test_a_restart_rolls_too() -> None:
    c = cluster("a")
    c.declare(workload(replicas=3))
    c.settle()
    c.change("web", restarts=1)
    found = c.act()
    assert [(c.text(s), s.reason, s.restarts) for s in found.steps] == [
        ("replace web.0 a", "a restart was asked for", 1)
    ]
    assert len(c.settle()) == 2


def test_recreate_stops_all_before_it_starts_one() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=3, update=RECREATE))
    c.settle()
    before = c.where()
    c.declare(workload(image="i:2", replicas=3, update=RECREATE))
    assert [c.text(s) for s in c.act().steps] == ["stop web.0 a", "stop web.1 b", "stop web.2 a"]
    c.obey("a")
    assert c.act().steps == (), "b still has one"
    c.obey("b")
    c.act()
    assert c.where() == before
    assert {a.generation for a in c.assignments} == {2}


def test_recreate_does_not_wait_for_nodes_that_are_away() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=4, update=RECREATE))
    c.settle()
    c.set_node("b", ready=False)
    c.declare(workload(image="i:2", replicas=4, update=RECREATE))
    c.settle()
    assert Counter(c.where().values()) == {"a": 2, "b": 2}
    assert {a.generation for a in c.assignments} == {2}


def test_recreate_does_not_begin_what_it_cannot_end() -> None:
    c = cluster("a")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.declare(workload(memory=100, replicas=2, update=RECREATE))
    c.settle()
    c.declare(workload(memory=900, replicas=2, update=RECREATE))
    found = c.act()
    assert found.steps == ()
    assert "web.1 stays as it is: a has 100 MiB of memory left, 900" in found.unplaced["web"]


def test_recreate_does_not_begin_where_one_of_several_does_not_fit() -> None:
    c = cluster("a", "b")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.set_node("b", resources=Resources(memory_mb=500))
    c.declare(workload(memory=100, replicas=2, update=RECREATE))
    c.settle()
    c.declare(workload(memory=800, replicas=2, update=RECREATE))
    found = c.act()
    assert found.steps == ()
    assert found.unplaced == {
        "web": "web.1 stays as it is: b has 500 MiB of memory left, 800 are needed"
    }


def test_recreate_of_fewer_waits_for_those_that_go_too() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=3, update=RECREATE))
    c.settle()
    c.declare(workload(image="i:2", update=RECREATE))
    assert [c.text(s).split()[:2] for s in c.act().steps] == [
        ["stop", "web.1"],
        ["stop", "web.2"],
        ["stop", "web.0"],
    ]
    c.obey("a")
    assert c.act().steps == ()
    c.obey("b")
    assert [s.verb for s in c.act().steps] == [Verb.START]


def test_a_generation_that_does_not_fit_goes_elsewhere_or_stays() -> None:
    c = cluster("a", "b")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.set_node("b", resources=Resources(memory_mb=2000))
    c.declare(workload(memory=400, placement=Placement(nodes=("a", "b"))))
    c.act()
    c.assignments = (replace(c.assignments[0], node_id="id-a"),)
    c.settle()
    c.declare(workload(memory=1500))
    assert c.settle() == [["stop web.0 a"], ["start web.0 b"]]
    c.declare(workload(memory=3000))
    found = c.act()
    assert found.steps == ()
    assert found.unplaced == {
        "web": "web.0 stays as it is: b has 2000 MiB of memory left, 3000 are needed"
    }


def test_a_generation_that_does_not_fit_does_not_leave_a_node_that_is_away() -> None:
    c = cluster("a")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.declare(workload(memory=400))
    c.settle()
    c.nodes.append(node("b"))
    c.set_node("a", ready=False)
    c.declare(workload(memory=1500))
    found = c.act()
    assert found.steps == (), "it may still run there"
    assert "web.0 stays as it is" in found.unplaced["web"]
    c.set_node("a", ready=True)
    assert c.settle() == [["stop web.0 a"], ["start web.0 b"]]


def test_two_that_do_not_fit_do_not_leave_for_the_same_place() -> None:
    c = cluster("a", "b")
    c.set_node("a", resources=Resources(memory_mb=1000))
    c.set_node("b", resources=Resources(memory_mb=1000))
    update = Update(max_unavailable=5)
    c.declare(workload(memory=300, replicas=3, update=update))
    c.act()
    c.assignments = tuple(replace(a, node_id="id-a") for a in c.assignments)
    c.settle()
    c.declare(workload(memory=600, replicas=3, update=update))
    for _ in range(10):
        c.act()
        assert len(c.assignments) >= 2
        c.obey()
    assert Counter((a.node_id, a.generation) for a in c.assignments) == {
        ("id-a", 1): 2,  # the two together do not fit
        ("id-b", 2): 1,
    }
    assert "web.2 stays as it is: a has 400 MiB of memory left" in c.act().unplaced["web"]


# ---- fewer, none ----


def test_the_highest_go_first() -> None:
    c = cluster("a", "b")
    c.declare(workload(replicas=4))
    c.settle()
    c.declare(workload(replicas=2))
    assert [c.text(s) for s in c.act().steps if s.verb is Verb.STOP] == [
        "stop web.2 a",
        "stop web.3 b",
    ]
    c.declare(workload(replicas=0))
    c.settle()
    assert c.where() == {}
    assert c.act().unplaced == {}


def test_held_workloads_do_not_run() -> None:
    c = cluster("a")
    c.declare(workload(replicas=2), active=False)
    assert c.act().steps == ()
    c.change("web", active=True)
    c.settle()
    c.change("web", active=False)
    assert [c.text(s) for s in c.act().steps] == ["stop web.0 a", "stop web.1 a"]


def test_what_nobody_declares_stops() -> None:
    c = cluster("a")
    c.assignments = (Assignment("ghost", 0, "id-a", 3), Assignment("ghost", 0, "id-x", 3))
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["stop ghost.0 a", "stop ghost.0 x"]
    assert found.gone == (), "it was not declared"


def test_deleting_waits_until_nothing_is_left() -> None:
    c = cluster("a", b={"ready": False})
    c.declare(workload(), workload("far", placement=Placement(nodes=("b",))), workload("never"))
    c.change("never", active=False)
    c.settle()
    c.delete("web", "far", "never")
    found = c.act()
    assert [c.text(s) for s in found.steps] == ["stop far.0 b", "stop web.0 a"]
    assert found.gone == ("far", "never"), "who is away learns it when it is back"
    assert c.act().gone == (), "a still has it"
    c.obey()
    assert c.act().gone == ("web",)
    assert c.declared == {}


def test_dependents_go_first() -> None:
    c = cluster("a", "b")
    c.declare(
        workload("db"),
        workload("api", depends_on=("db",)),
        workload("web", depends_on=("api", "db")),
        workload("other", depends_on=("db",)),
    )
    c.settle()
    c.delete("db", "api", "web")
    stopped = []
    while "db" in c.declared:
        stopped.append([c.text(s).split()[1] for s in c.act().steps])
        c.obey()
    assert stopped == [["web.0"], ["api.0"], ["db.0"], []]
    assert c.where("other"), "it is not deleted, so nobody waits for it"


def test_dependents_on_nodes_that_are_away_are_not_waited_for() -> None:
    c = cluster("a", "b")
    c.declare(workload("db"), workload("web", depends_on=("db",)))
    c.settle()
    assert c.where("web") == {0: "b"}, "db came first"
    c.set_node("b", ready=False)
    c.delete("db", "web")
    assert [c.text(s) for s in c.act().steps] == ["stop db.0 a", "stop web.0 b"]


def test_a_circle_does_not_hang() -> None:
    c = cluster("a")
    c.declare(
        workload("p", depends_on=("q",)),
        workload("q", depends_on=("p",)),
        workload("r", depends_on=("r", "p")),
    )
    c.settle()
    c.delete("p", "q", "r")
    for _ in range(4):
        c.act()
        c.obey()
    assert c.declared == {}


# ---- steps ----


def one(verb: Verb, generation: int) -> Step:
    return Step(verb, "web", 0, "id-a", generation, 0, "why")


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        ([one(Verb.STOP, 1), one(Verb.START, 2)], [one(Verb.REPLACE, 2)]),
        ([one(Verb.START, 1), one(Verb.REPLACE, 2)], [one(Verb.START, 2)]),
        ([one(Verb.REPLACE, 1), one(Verb.REPLACE, 2)], [one(Verb.REPLACE, 2)]),
        ([one(Verb.REPLACE, 2), one(Verb.STOP, 2)], [one(Verb.STOP, 2)]),
        ([one(Verb.START, 2), one(Verb.STOP, 2)], []),
    ],
)
def test_steps_for_the_same_instance_become_one(steps: list[Step], result: list[Step]) -> None:
    elsewhere = replace(one(Verb.START, 5), node_id="id-b")
    assert set(merged([*steps, elsewhere])) == {*result, elsewhere}
    before = [] if steps[0].verb is Verb.START else [Assignment("web", 0, "id-a", 1)]
    assert applied(before, steps) == applied(before, merged(steps))


# ---- over all ----


def _any_workload(rng: random.Random, name: str) -> Workload:
    return workload(
        name,
        image=rng.choice(["i:1", "i:2"]),
        memory=rng.choice([0, 0, 100, 400]),
        cpu=rng.choice([0.0, 0.1, 1.5]),
        port=rng.choice([0, 0, 80, 81]),
        depends_on=tuple(n for n in "abcd" if n < name and rng.random() < 0.3),
        replicas=rng.randrange(5),
        one_per_node=rng.random() < 0.2,
        update=Update(
            strategy=rng.choice(list(UpdateStrategy)),
            max_unavailable=rng.choice([1, 1, 2]),
            min_ready=rng.choice([0.0, 5.0]),
        ),
        placement=Placement(
            nodes=tuple(rng.sample(["n0", "n1", "n2", "nx"], rng.choice([0, 0, 0, 1, 2]))),
            labels=rng.choice([{}, {}, {"z": "1"}]),
        ),
    )


def _disturb(rng: random.Random, c: Cluster) -> None:
    """Something happens: a person, a node or a program did it."""
    name, what = rng.choice("abcd"), rng.randrange(9)
    if what <= 2:
        if name not in c.declared or not c.declared[name].deleting_since:
            c.declare(_any_workload(rng, name))
    elif what == 3 and name in c.declared:
        kind = rng.randrange(3)
        if kind == 0:
            c.delete(name)
        elif kind == 1:
            c.change(name, active=not c.declared[name].active)
        else:
            c.change(name, restarts=c.declared[name].restarts + 1)
    elif what == 4:
        c.set_node(rng.choice(["n0", "n1", "n2", "n3"]), ready=rng.random() < 0.6)
    elif what == 5:
        c.set_node(rng.choice(["n0", "n1", "n2", "n3"]), labels=rng.choice([{}, {"z": "1"}]))
    elif what == 6:
        c.status(name, rng.randrange(3), ready=False, phase=rng.choice(list(Phase)))
    elif what == 7:
        c.blocked = rng.choice([{}, {name: "a secret is missing"}])
    elif len(c.nodes) > 2 and rng.random() < 0.3:
        c.nodes.pop(rng.randrange(len(c.nodes)))
    else:
        c.nodes.append(node(f"m{rng.randrange(10**9)}", z="1"))


def _fresh(rng: random.Random) -> Cluster:
    c = cluster("n0", "n1", "n2", "n3")
    for n in list(c.nodes):
        memory = rng.choice([0, 500, 1000])
        c.set_node(n.name, resources=Resources(cpu_cores=rng.choice([0, 2]), memory_mb=memory))
    return c


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens(seed: int) -> None:
    """`act` checks after each that planning again gives nothing; here is what else must hold."""
    rng = random.Random(seed)
    c = _fresh(rng)
    for _ in range(25):
        _disturb(rng, c)
        found = c.act()
        for step in (s for s in found.steps if s.verb is Verb.START):
            _may_start(c, step)
            _fits(c, step)
        for name, declared in c.declared.items():
            w = declared.workload
            mine = [a for a in c.assignments if a.workload == name]
            if not w.one_per_node:
                assert len({a.index for a in mine}) == len(mine)
                assert len(mine) <= w.replicas or declared.deleting_since
            if w.update.strategy is UpdateStrategy.ROLLING:
                taken_down = [s for s in found.steps if s.workload == name and _was_well(c, s)]
                assert len(taken_down) <= w.update.max_unavailable
        c.obey(*{rng.choice(c.nodes).name for _ in range(2)})
        c.ready_for = {place: rng.choice([0.0, 10.0]) for place in c.seen}
    _calm(c)


def _may_start(c: Cluster, step: Step) -> None:
    assert step.workload not in c.blocked
    workload = c.declared[step.workload].workload
    ready = {n.node_id for n in c.nodes if n.ready}
    patient = workload.one_per_node or len(workload.placement.nodes) == 1
    assert step.node_id in ready or patient
    if not workload.one_per_node:
        there = {node for node, key in c.seen if key == step.assignment.key} & ready
        assert there <= {step.node_id}, "it would run twice"


def _was_well(c: Cluster, step: Step) -> bool:
    """Whether the step makes a copy anew that was well."""
    status = c.seen.get((step.node_id, step.assignment.key))
    ready = any(n.node_id == step.node_id and n.ready for n in c.nodes)
    if not ready or status is None or not status.ready or step.verb is not Verb.REPLACE:
        return False
    return status.hash != c.hash(step.assignment)


def _fits(c: Cluster, step: Step) -> None:
    """What was started has its port, and its memory."""
    workload = c.declared[step.workload].workload
    (node,) = (n for n in c.nodes if n.node_id == step.node_id)
    here = [a for a in c.assignments if a.node_id == step.node_id]
    others = [c.declared[a.workload].workload for a in here if a != step.assignment]
    others += [past.workload for past in _still_there(c, step)]
    assert not _ports(workload) & {port for other in others for port in _ports(other)}
    if _memory(workload) and node.resources.memory_mb:
        assert sum(map(_memory, (workload, *others))) <= node.resources.memory_mb << 20


def _still_there(c: Cluster, step: Step) -> list[Past]:
    """What containers on its node were made from, if it is not what is declared."""
    found = []
    for (node_id, key), status in c.seen.items():
        if node_id == step.node_id and key != step.assignment.key:
            history = c.history.get(status.workload, ())
            found += [p for p in history if status.hash.startswith(c.hashes[_of(p)])]
    return found


def _of(past: Past) -> tuple[str, int]:
    return past.workload.name, past.generation


def _ports(workload: Workload) -> set[int]:
    return {p.host_port for p in workload.containers[0].ports}


def _memory(workload: Workload) -> int:
    return workload.containers[0].resources.reserved_memory


def _calm(c: Cluster) -> None:
    """All nodes come back, all is well, and everything gets where it is to be."""
    for n in list(c.nodes):
        c.set_node(n.name, ready=True)
    c.blocked = {}
    for _ in range(200):
        c.obey()
        c.ready_for = dict.fromkeys(c.seen, 100.0)
        if not c.act().steps:
            break
    else:
        raise AssertionError("it never ends")
    found = c.ask()
    for name, declared in c.declared.items():
        assert not declared.deleting_since
        mine = [a for a in c.assignments if a.workload == name]
        for a in mine:
            current = (a.generation, a.restarts) == (declared.generation, declared.restarts)
            assert current or name in found.unplaced
        if not declared.active:
            assert not mine
        elif not declared.workload.one_per_node:
            assert len(mine) == declared.workload.replicas or name in found.unplaced


def test_the_order_of_what_it_is_given_does_not_matter() -> None:
    rng = random.Random(7)
    for _ in range(20):
        c = _fresh(rng)
        for _ in range(6):
            _disturb(rng, c)
            c.assignments = applied(c.assignments, c.ask().steps)
            c.obey(rng.choice(c.nodes).name)
        _disturb(rng, c)
        first = c.ask()
        for things in (c.declared, c.seen):
            items = list(things.items())
            rng.shuffle(items)
            things.clear()
            things.update(items)  # type: ignore[arg-type]
        rng.shuffle(c.nodes)
        c.assignments = tuple(rng.sample(c.assignments, len(c.assignments)))
        again = c.ask()
        assert sorted(map(str, again.steps)) == sorted(map(str, first.steps))
        assert (again.unplaced, again.gone) == (first.unplaced, first.gone)


def _seconds(c: Cluster) -> float:
    start = time.perf_counter()
    c.ask()
    return time.perf_counter() - start


def test_many_take_time_in_proportion() -> None:
    """A bound on blow-ups, ten times what it takes here."""
    c = Cluster([node(f"n{i}") for i in range(10)])
    c.declare(*[workload(f"w{i}", memory=1, port=1000 + i, replicas=5) for i in range(200)])
    assert _seconds(c) < 1.0
    c.act()
    c.obey()
    assert _seconds(c) < 0.3
    assert len(c.assignments) == 1000
