"""On which node a copy may run, and runs best."""

from __future__ import annotations

from dataclasses import replace

import pytest

from piccolo.core.model import NodeRole, NodeType
from piccolo.core.model import Resources as Machine
from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.needs import Needs, needs_of
from piccolo.core.planning.placement import Places, mismatch
from piccolo.core.workloads.containers import Container, Port, Protocol, Resources
from piccolo.core.workloads.workload import Network, NetworkMode, Placement, Workload

A = Candidate("id-a", "a", {"zone": "front"}, NodeRole.MASTER, NodeType.CLOUD)
B = Candidate("id-b", "b")
MIB = 2**20
TCP, UDP = Protocol.TCP, Protocol.UDP


def container(cpu: float = 0.0, memory: int = 0, *ports: Port) -> Container:
    resources = Resources(reserved_cpu=cpu, reserved_memory=memory)
    return Container("c", "i", resources=resources, ports=ports)


@pytest.mark.parametrize(
    ("placement", "why"),
    [
        (Placement(), ""),
        (Placement(nodes=("x", "a")), ""),
        (Placement(nodes=("id-a", "b")), "is not among placement.nodes"),
        (Placement(labels={"zone": "front"}), ""),
        (Placement(labels={"zone": "rear"}), "has the label zone=front, not rear"),
        (Placement(labels={"zone": "front", "gpu": ""}), "has no label gpu"),
        (Placement(type=NodeType.CLOUD), ""),
        (Placement(type=NodeType.EMBEDDED), "is of type cloud, not embedded"),
        (Placement(role=NodeRole.MASTER), ""),
        (Placement(role=NodeRole.SUB), "has the role master, not sub"),
        (Placement(("a",), {"zone": "front"}, NodeType.CLOUD, NodeRole.MASTER), ""),
    ],
)
def test_where_it_may_run(placement: Placement, why: str) -> None:
    assert mismatch(placement, A) == why


def test_needs_are_those_of_all_containers_or_of_the_largest_before_them() -> None:
    pair = (container(0.1, 10), container(0.2, 20))
    assert needs_of(Workload("w", pair)) == Needs(300, 30)
    before = (container(0.25, 100), container(0.15, 5))
    assert needs_of(Workload("w", pair, before)) == Needs(300, 100)


def test_ports_of_the_node() -> None:
    ports = (Port(80), Port(81, 8081), Port(53, 53, UDP, "10.0.0.1"))
    workload = Workload("w", (container(0, 0, *ports),))
    assert needs_of(workload).ports == ((TCP, 8081, ""), (UDP, 53, "10.0.0.1"))
    host = replace(workload, network=Network(NetworkMode.HOST))
    assert needs_of(host).ports == ((TCP, 80, ""), (TCP, 81, ""), (UDP, 53, "10.0.0.1"))
    none = replace(workload, network=Network(NetworkMode.NONE))
    assert needs_of(none).ports == ()


def port(number: int, protocol: Protocol = TCP, address: str = "") -> Needs:
    return Needs(ports=((protocol, number, address),))


@pytest.mark.parametrize(
    ("asked", "free"),
    [
        (port(80), False),
        (port(81), True),
        (port(80, UDP), True),
        (port(80, TCP, "10.0.0.1"), False),
        (port(80, TCP, "10.0.0.2"), True),
        (port(80, TCP, "0.0.0.0"), False),
        (port(80, TCP, "::"), False),
    ],
)
def test_a_port_is_there_once(asked: Needs, free: bool) -> None:
    places = Places([A])
    places.take("id-a", "web.0", "web", port(80, TCP, "10.0.0.1"))
    lack = places.lacks("id-a", "db.0", asked)
    assert lack == ("" if free else "has its port 80/tcp taken by web.0")
    assert places.lacks("id-a", "web.0", asked) == "", "its own is not in its way"


def test_everywhere_overlaps_with_one_address() -> None:
    places = Places([A])
    places.take("id-a", "web.0", "web", port(80))
    assert places.lacks("id-a", "db.0", port(80, TCP, "10.0.0.1"))


def test_what_is_set_aside_must_fit_exactly() -> None:
    node = replace(A, resources=Machine(cpu_cores=2, memory_mb=100))
    places = Places([node])
    tenth = Needs(cpu=100, memory=10 * MIB)
    for index in range(10):
        assert places.lacks("id-a", f"w.{index}", tenth) == ""
        places.take("id-a", f"w.{index}", "w", tenth)
    assert places.lacks("id-a", "w.10", tenth) == "has 0 MiB of memory left, 10 are needed"
    assert places.lacks("id-a", "w.10", Needs(cpu=1000)) == "", "rounding leaves no crumbs"
    assert places.lacks("id-a", "w.10", Needs(cpu=1001)) == "has 1 cores left, 1.001 are needed"
    assert places.lacks("id-a", "w.10", Needs()) == "", "what asks for nothing fits anywhere"


def test_a_node_that_says_nothing_of_itself_takes_all() -> None:
    places = Places([B])
    assert places.lacks("id-b", "w.0", Needs(cpu=10**9, memory=2**60)) == ""


def test_what_is_leaving_is_in_the_way_until_it_is_gone() -> None:
    node = replace(A, resources=Machine(cpu_cores=1, memory_mb=100))
    places = Places([node])
    needs = Needs(600, 60 * MIB, ((TCP, 80, ""),))
    places.take("id-a", "old.0", "old", needs)
    assert not places.soon("new.0", needs, [node])
    places.leave("id-a", "old.0")
    places.leave("id-a", "nobody.0")
    assert "60 are needed" in places.lacks("id-a", "new.0", needs)
    assert places.best("new.0", "new", needs, [node]) is None
    assert places.lacks("id-a", "new.0", needs, later=True) == ""
    assert places.soon("new.0", needs, [node])
    assert not places.soon("new.0", needs, [replace(node, ready=False)])


def test_what_is_taken_again_is_not_counted_twice() -> None:
    node = replace(A, resources=Machine(cpu_cores=1, memory_mb=100))
    places = Places([node])
    places.take("id-a", "w.0", "w", Needs(900, 90 * MIB, ((TCP, 80, ""),)), leaving=True)
    places.take("id-a", "w.0", "w", Needs(500, 50 * MIB))
    assert places.lacks("id-a", "x.0", Needs(500, 50 * MIB, ((TCP, 80, ""),))) == ""
    assert places.lacks("id-a", "x.0", Needs(501), later=True), "it is not leaving any more"


def test_the_best_is_apart_from_its_like_then_where_most_is_left_then_alone_then_by_name() -> None:
    nodes = [replace(A, node_id=n, name=n, resources=Machine(4, 1000)) for n in "cab"]
    places = Places(nodes)

    def best(workload: str) -> str:
        found = places.best(f"{workload}.9", workload, Needs(), nodes)
        assert found is not None
        return found.name

    assert best("web") == "a"
    places.take("a", "web.0", "web", Needs())
    assert best("web") == "b"
    assert best("db") == "b", "fewest instances"
    places.take("b", "x.0", "x", Needs(memory=500 * MIB))
    places.take("c", "y.0", "y", Needs(cpu=2400))
    assert best("web") == "b", "half of the memory is less than six tenths of the cores"
    assert best("db") == "a"


def test_only_ready_nodes_unless_it_waits_for_them() -> None:
    away = replace(A, ready=False)
    places = Places([away])
    assert places.best("w.0", "w", Needs(), [away]) is None
    assert places.best("w.0", "w", Needs(), [away], away=True) == away


def test_reasons_are_put_together_and_shortened() -> None:
    nodes = [Candidate(f"id-{i}", f"n{i}", ready=i != 5) for i in range(10)]
    places = Places(nodes)
    for i in range(5):
        places.take(f"id-{i}", "old.0", "old", port(80))
    for i in range(6, 10):
        places.take(f"id-{i}", f"o{i}.0", f"o{i}", port(80))
    assert places.refusals("w.0", port(80), Placement()) == (
        "n0, n1, n2 and 2 more: have their port 80/tcp taken by old.0; n5: is not ready;"
        " n6: has its port 80/tcp taken by o6.0; n7: has its port 80/tcp taken by o7.0; and 2 more"
    )
    some = Placement(nodes=("n1", "zz", "n5"))
    assert places.refusals("w.0", port(80), some) == (
        '"zz" is no node of the cluster; n1: has its port 80/tcp taken by old.0; n5: is not ready'
    )
    nowhere = Placement(nodes=("zz", "yy"))
    assert places.refusals("w.0", Needs(), nowhere) == '"zz", "yy" are no nodes of the cluster'
    labelled = Placement(labels={"zone": "front"}, nodes=("n0", "n1"))
    assert places.refusals("w.0", Needs(), labelled) == "n0, n1: have no label zone"
    two = [replace(nodes[5], name=name) for name in ("a", "b")]
    assert places.refusals("w.0", Needs(), Placement(), two) == "a, b: are not ready"
    assert places.refusals("w.0", port(81), Placement(nodes=("n1",))) == ""
    assert places.refusals("w.0", Needs(), Placement(), [nodes[5]]) == "n5: is not ready"
