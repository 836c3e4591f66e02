"""Wire ↔ core: what goes over the wire comes back as it was, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piccolo.cli.show.rows import state_word
from piccolo.core import model as m
from piccolo.core.errors import InvalidSpec
from piccolo.rpc import convert, wire

quick = settings(derandomize=True, deadline=None, max_examples=60)

# ---- round trips ----

words = st.text(max_size=12)
times = st.none() | st.datetimes(timezones=st.just(UTC))
numbers = st.floats(allow_nan=False)
uint64 = st.integers(0, 2**64 - 1)
uint32 = st.integers(0, 2**32 - 1)

resources = st.builds(m.Resources, uint32, uint64, uint64)
facts = st.builds(m.Facts, *[words] * 7)
usages = st.builds(m.Usage, numbers, uint64, numbers, numbers, numbers, uint64, uint64)
conditions = st.builds(m.Condition, words, st.booleans(), words, words, times)
container_usages = st.builds(m.ContainerUsage, words, numbers, uint64, uint64, uint64)
containers = st.builds(
    m.Container,
    id=st.text(min_size=1, max_size=12).filter(lambda text: "/" not in text),
    name=words,
    image=words,
    state=words,
    health=words,
    exit_code=st.integers(-(2**31), 2**31 - 1),
    created_at=times,
    started_at=times,
    finished_at=times,
    restarts=uint32,
    labels=st.dictionaries(words, words, max_size=4),
    pod=words,
)


def over_the_wire(message: Any) -> Any:
    """The message as the other side reads it."""
    return type(message).parse(bytes(message))


@pytest.mark.parametrize(
    ("values", "to_wire", "from_wire"),
    [
        (resources, convert.resources_to_wire, convert.resources_from_wire),
        (facts, convert.facts_to_wire, convert.facts_from_wire),
        (usages, convert.usage_to_wire, convert.usage_from_wire),
        (conditions, convert.condition_to_wire, convert.condition_from_wire),
        (containers, convert.container_to_wire, convert.container_from_wire),
        (container_usages, convert.container_usage_to_wire, convert.container_usage_from_wire),
    ],
    ids=["resources", "facts", "usage", "condition", "container", "container usage"],
)
def test_round_trip(
    values: st.SearchStrategy[Any],
    to_wire: Callable[[Any], Any],
    from_wire: Callable[[Any], Any],
) -> None:
    @quick
    @given(values)
    def check(value: Any) -> None:
        assert from_wire(over_the_wire(to_wire(value))) == value

    check()


@quick
@given(st.lists(containers, max_size=4))
def test_containers_keep_their_order(several: list[m.Container]) -> None:
    snapshot = wire.StatusSnapshot(containers=[convert.container_to_wire(c) for c in several])
    assert convert.containers_from_wire(over_the_wire(snapshot).containers) == tuple(several)


# ---- completeness ----

NOW = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
USAGE = m.Usage(1.5, 2, 3.5, 4.5, 5.5, 6, 7)
FACTS = m.Facts("Debian 12", "aarch64", "6.1", "0.1", "4.3.1", "machine", "boot")
CONDITION = m.Condition("RuntimeReady", True, "Answers", "podman answers", NOW)
NODE = m.Node(
    id="n1",
    name="front",
    role=m.NodeRole.MASTER,
    type=m.NodeType.CLOUD,
    labels={"zone": "front"},
    link_profile="wireless",
    created_at=NOW,
    admitted=True,
)
STATUS = m.NodeStatus(
    state=m.NodeState.NOT_READY,
    reason="Silent",
    message="nothing was heard for 2.8 s",
    since=NOW,
    ip="10.0.0.7",
    resources=m.Resources(4, 2048, 32),
    facts=FACTS,
    conditions=(CONDITION,),
)
LIVE = m.NodeLive(True, True, True, 1.5, "10.0.0.7:40000", 7, USAGE, NOW)
EVENT = m.Event("e1", NOW, m.Severity.ERROR, "node", "front", "Silent", "lost", "front")
TOPOLOGY = m.Topology("t1", "line", m.TopologyType.GEO_DISTRIBUTED, "parent", {"a": "b"})
CONTAINER = m.Container(
    "c1", "web", "img", "exited", "healthy", 3, NOW, NOW, NOW, 4, {"k": "v"}, "pod"
)


def unset(message: Any, path: str = "") -> list[str]:
    """The fields, also of messages within, that carry nothing."""
    found = []
    for field in fields(message):
        value = getattr(message, field.name)
        if is_dataclass(value):
            found += unset(value, f"{path}{field.name}.")
        elif isinstance(value, list) and value:
            found += [u for v in value for u in unset(v, f"{path}{field.name}[].")]
        elif not value:
            found.append(f"{path}{field.name}")
    return found


WIRE_NODE = convert.node_to_wire(NODE, STATUS, LIVE, revision=12, certificate_expires=NOW)


@pytest.mark.parametrize(
    "message",
    [
        WIRE_NODE,
        convert.event_to_wire(EVENT),
        convert.container_to_wire(CONTAINER),
        convert.container_usage_to_wire(m.ContainerUsage("c1", 1.5, 2, 3, 4)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_field_of_the_message_is_filled(message: Any) -> None:
    assert unset(message) == []
    assert over_the_wire(message) == message


def test_a_node_says_the_right_thing_in_the_right_field() -> None:
    n = over_the_wire(WIRE_NODE)
    assert (n.id, n.name, n.ip, n.link_profile) == ("n1", "front", "10.0.0.7", "wireless")
    assert (n.role, n.type) == (wire.NodeRole.MASTER, wire.NodeType.CLOUD)
    assert (n.status, n.reason) == (wire.NodeStatus.NOT_READY, "Silent")
    assert n.message == "nothing was heard for 2.8 s"
    assert (n.generation, n.revision) == (7, 12)
    assert n.labels == {"zone": "front"}
    assert (n.created_at, n.since, n.last_heartbeat) == (NOW, NOW, NOW)
    assert convert.resources_from_wire(n.resources) == STATUS.resources
    assert convert.facts_from_wire(n.facts) == FACTS
    assert convert.usage_from_wire(n.usage) == USAGE
    assert [convert.condition_from_wire(c) for c in n.conditions] == [CONDITION]
    assert (n.link.connected, n.link.suspect, n.link.datagrams) == (True, True, True)
    assert (n.link.round_trip_ms, n.link.peer) == (1.5, "10.0.0.7:40000")


def test_a_node_of_which_nothing_is_known_yet() -> None:
    node = convert.node_to_wire(m.Node("n1", "front"), m.NodeStatus(), m.NodeLive(), 0)
    n = over_the_wire(node)
    assert n.usage is None, "no sample is not a sample of zeros"
    assert n.last_heartbeat is None
    assert n.status == wire.NodeStatus.PENDING
    assert not n.link.connected


def test_an_event_says_the_right_thing_in_the_right_field() -> None:
    e = over_the_wire(convert.event_to_wire(EVENT))
    assert (e.id, e.time, e.severity) == ("e1", NOW, wire.Severity.ERROR)
    assert (e.kind, e.subject, e.reason) == ("node", "front", "Silent")
    assert (e.message, e.node_name) == ("lost", "front")


def test_a_topology_sorts_its_nodes_by_role() -> None:
    sub = convert.node_to_wire(m.Node("n2", "rear"), m.NodeStatus(), m.NodeLive(), 1)
    nodes = iter([sub, WIRE_NODE])
    t = over_the_wire(convert.topology_to_wire(TOPOLOGY, nodes, revision=9))
    assert [n.id for n in t.master_nodes] == ["n1"]
    assert [n.id for n in t.sub_nodes] == ["n2"]
    assert (t.id, t.name, t.parent_cluster, t.config) == ("t1", "line", "parent", {"a": "b"})
    assert (t.type, t.revision) == (wire.TopologyType.GEO_DISTRIBUTED, 9)


# ---- words that have a number on the wire ----


@pytest.mark.parametrize(
    ("ours", "theirs", "back"),
    [
        (m.NodeRole, convert.role_to_wire, convert.role_from_wire),
        (m.NodeType, convert.type_to_wire, convert.type_from_wire),
        (m.NodeState, lambda s: _node(s).status, state_word),
        (m.Severity, lambda s: _event(s).severity, convert.severity_from_wire),
        (m.TopologyType, lambda t: _topology(t).type, convert.topology_type_from_wire),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_word_has_a_number_of_its_own(
    ours: type[Enum], theirs: Callable[[Any], Any], back: Callable[[Any], Any]
) -> None:
    numbers = [int(theirs(word)) for word in ours]
    assert 0 not in numbers, "0 means that nothing was said"
    assert len(set(numbers)) == len(numbers)
    assert [back(theirs(word)) for word in ours] == list(ours)


def _node(state: m.NodeState) -> wire.Node:
    node = convert.node_to_wire(NODE, m.NodeStatus(state=state), LIVE, 1)
    return over_the_wire(node)  # type: ignore[no-any-return]


def _event(severity: m.Severity) -> wire.Event:
    return convert.event_to_wire(m.Event("1", NOW, severity, "node", "n", "R", "m"))


def _topology(kind: m.TopologyType) -> wire.ClusterTopology:
    return convert.topology_to_wire(m.Topology("1", "line", kind), [], 1)


UNKNOWN = 99  # said by a newer version


def test_unknown_numbers_are_taken_for_the_lesser_right() -> None:
    for number in (0, UNKNOWN):
        assert convert.role_from_wire(wire.NodeRole(number)) is m.NodeRole.SUB
        assert convert.type_from_wire(wire.NodeType(number)) is m.NodeType.EMBEDDED
        assert convert.severity_from_wire(wire.Severity(number)) is m.Severity.INFO


def test_an_unknown_state_is_shown_as_such() -> None:
    node = wire.Node.parse(bytes([5 << 3, UNKNOWN]))  # field 5, a varint
    assert state_word(node.status) == "Unknown99"


@pytest.mark.parametrize("number", [0, UNKNOWN])
def test_an_unknown_topology_is_refused(number: int) -> None:
    with pytest.raises(InvalidSpec, match=f"topology type {number} is not known; there are basic-"):
        convert.topology_type_from_wire(wire.TopologyType(number))


# ---- what is missing, or must not be ----


def test_what_was_not_said_is_the_default() -> None:
    assert convert.resources_from_wire(None) == m.Resources()
    assert convert.facts_from_wire(None) == m.Facts()
    assert convert.container_from_wire(over_the_wire(wire.ContainerStatus(id="c"))) == (
        m.Container("c", "")
    )


@pytest.mark.parametrize("bad", ["", "/", "a/b", "../n2/c"])
def test_a_container_id_that_cannot_be_a_key_is_refused(bad: str) -> None:
    with pytest.raises(InvalidSpec, match="a container is reported with the id"):
        convert.containers_from_wire(
            [wire.ContainerStatus(id="good"), wire.ContainerStatus(id=bad)]
        )
