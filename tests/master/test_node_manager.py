"""Who belongs to the cluster, and in which state each node is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from piccolo.config.settings import Discovery, ListedNode
from piccolo.core.errors import Conflict, InvalidSpec, NotFound, Unavailable
from piccolo.core.model import (
    Condition,
    Container,
    ContainerUsage,
    Facts,
    NodeRole,
    NodeState,
    NodeType,
    Resources,
    Severity,
)
from piccolo.core.nodes.states import Fault
from piccolo.master import keys
from tests.master.memory_store import Disk
from tests.master.virtual_time import freeze, now, utc, virtual_time
from tests.master.world import labels, master, request, until

# ---- who may join ----


@pytest.mark.parametrize(
    ("discovery", "node_type", "listed", "admitted"),
    [
        (Discovery.ANY, NodeType.EMBEDDED, False, True),
        (Discovery.CLOUD, NodeType.EMBEDDED, False, False),
        (Discovery.CLOUD, NodeType.CLOUD, False, True),
        (Discovery.CLOUD, NodeType.EMBEDDED, True, True),
        (Discovery.LISTED, NodeType.CLOUD, False, False),
        (Discovery.LISTED, NodeType.EMBEDDED, True, True),
    ],
)
@virtual_time
async def test_discovery(
    discovery: Discovery, node_type: NodeType, listed: bool, admitted: bool
) -> None:
    nodes = (ListedNode("n1"),) if listed else ()
    async with master(discovery=discovery, nodes=nodes) as world:
        node = await world.register("n1", type=node_type)
        assert node.admitted is admitted
        assert world.state_of() == (
            (NodeState.INITIALIZING, "Admitted") if admitted else (NodeState.PENDING, "NotListed")
        )


@virtual_time
async def test_a_node_that_waits_says_how_to_let_it_in_and_is_let_in() -> None:
    async with master(discovery=Discovery.LISTED) as world:
        session = await world.joined("n1")
        assert "piccolo approve n1" in world.cluster.state.status(session.node_id).message
        await world.lives(session, 20)
        assert world.state_of() == (NodeState.PENDING, "NotListed")

        assert (await world.cluster.nodes.approve("n1")).admitted
        assert world.state_of() == (NodeState.READY, "Synced")
        with pytest.raises(Conflict, match="needs no approval"):
            await world.cluster.nodes.approve("n1")
        with pytest.raises(NotFound, match='"n2"; nodes: n1'):
            await world.cluster.nodes.approve("n2")


@virtual_time
async def test_a_node_that_waits_is_let_in_by_a_new_configuration() -> None:
    async with master(discovery=Discovery.LISTED) as world:
        await world.register("n1")
        await world.register("n2", type=NodeType.CLOUD)
        await world.cluster.nodes.configure(Discovery.CLOUD, [ListedNode("n1")])
        assert world.state_of("n1")[0] is NodeState.INITIALIZING
        assert world.state_of("n2")[0] is NodeState.INITIALIZING

        await world.cluster.nodes.configure(Discovery.LISTED, [])
        assert world.state_of("n1")[0] is NodeState.INITIALIZING, "who is in stays in"


@virtual_time
async def test_what_node_yaml_says_wins() -> None:
    entry = ListedNode(
        "n1",
        role=NodeRole.MASTER,
        type=NodeType.CLOUD,
        link="cellular",
        labels={"zone": "front", "fixed": "yes"},
    )
    async with master(nodes=(entry,)) as world:
        own = {"zone": "rear", "own": "1"}
        node = await world.register("n1", labels=own, link="wireless")
        assert (node.role, node.type, node.link_profile) == (
            NodeRole.MASTER,
            NodeType.CLOUD,
            "cellular",
        )
        assert node.labels == {"zone": "front", "fixed": "yes", "own": "1"}
        assert world.cluster.monitoring.profile(node).name == "cellular"


# ---- registering ----


@virtual_time
async def test_the_address_in_node_yaml_is_the_one_that_is_shown() -> None:
    async with master() as world:
        listed = [ListedNode("n1", ip="10.0.0.1"), ListedNode("n2", ip="10.0.0.2")]
        await world.cluster.nodes.configure(Discovery.LISTED, listed)
        other = await world.register("n1", ip="10.9.9.9")
        same = await world.register("n2", ip="10.0.0.2")
        assert world.cluster.state.status(other.id).ip == "10.0.0.1"
        assert world.cluster.state.status(same.id).ip == "10.0.0.2"
        assert [e.subject for e in world.events("AddressDiffers")] == ["n1"]


@virtual_time
async def test_labels_changed_by_hand_outlive_a_restart_of_the_agent() -> None:
    async with master() as world:
        first = await world.register("n1", labels={"a": "1", "b": "1", "c": "1"})
        await world.cluster.nodes.label("n1", {"a": "2", "x": "y"}, ["b"], overwrite=True)
        again = await world.register(
            "n1", node_id=first.id, labels={"a": "1", "b": "1", "c": "2", "d": "1"}
        )
        assert again.labels == {"a": "2", "x": "y", "c": "2", "d": "1"}


@virtual_time
async def test_registering_again_changes_what_is_new_and_nothing_else() -> None:
    async with master() as world:
        first = await world.register("n1", labels={"a": "1"})
        await asyncio.sleep(1)
        commits, revision = len(world.store.commits), world.cluster.state.revision
        assert await world.register("n1", labels={"a": "1"}) == first
        assert world.cluster.state.revision == revision, "nobody is told of nothing"
        await asyncio.sleep(1)
        assert len(world.store.commits) == commits

        second = await world.register(
            "n1", node_id=first.id, labels={"b": "2"}, ip="10.0.0.8", facts=Facts(os="Debian 13")
        )
        assert second.labels == {"b": "2"}, "the agent tells of no label a any more"
        assert second.created_at == first.created_at
        status = world.cluster.state.status(first.id)
        assert (status.ip, status.facts.os) == ("10.0.0.8", "Debian 13")
        assert [n.name for n in world.cluster.state.nodes()] == ["n1"]
        assert len(world.events("Registered")) == 1


@virtual_time
async def test_a_registration_whose_reply_was_lost_is_repeated_without_harm() -> None:
    """The store took it, but did not say so."""
    async with master() as world:
        world.store.answers_lost = True
        with pytest.raises(Unavailable):
            await world.register("n1")
        world.store.answers_lost = False
        for _ in range(100):  # an agent tries on
            try:
                node = await world.register("n1")
                break
            except Unavailable:
                await asyncio.sleep(0.1)
        assert world.cluster.state.nodes() == [node]
        assert world.state_of() == (NodeState.INITIALIZING, "Admitted")
        assert world.reasons() == ["Registered", "Admitted"]
        assert world.cluster.state.status(node.id).since is not None


@virtual_time
async def test_what_the_store_could_not_take_is_not_visible() -> None:
    async with master() as world:
        await world.register("n1", labels={"a": "1"})
        world.store.away = "the disk is full"
        nodes = world.cluster.nodes
        with pytest.raises(Unavailable, match="the disk is full"):
            await world.register("n2")
        with pytest.raises(Unavailable, match="the disk is full"):
            await nodes.label("n1", {"a": "2"}, [], overwrite=True)
        with pytest.raises(Unavailable, match="the disk is full"):
            await nodes.remove("n1")
        assert [n.name for n in world.cluster.state.nodes()] == ["n1"]
        assert labels(world) == {"a": "1"}
        assert "n2" not in " ".join(e.subject for e in world.events())
        assert world.cluster.view().degraded
        assert "the disk is full" in world.cluster.view().message

        world.store.away = ""
        await nodes.label("n1", {"a": "2"}, [], overwrite=True)
        assert labels(world) == {"a": "2"}
        await until(lambda: not world.cluster.view().degraded)


@virtual_time
async def test_a_name_is_one_nodes() -> None:
    async with master() as world:
        session = await world.joined("n1")
        with pytest.raises(Conflict, match=r"connected now.*--name.*piccolo remove node n1"):
            await world.register("n1", node_id="other")
        world.disconnect(session, said_goodbye=True)
        await asyncio.sleep(1)
        with pytest.raises(Conflict, match="not connected now"):
            await world.register("n1", node_id="other")
        renamed = await world.register("n9", node_id="id-n1")
        assert (renamed.id, renamed.name) == ("id-n1", "n9")
        assert (await world.register("n1", node_id="other")).id == "other"


@virtual_time
async def test_of_two_that_want_a_name_at_once_one_gets_it() -> None:
    async with master() as world:
        results = await asyncio.gather(
            *(world.register("n1", node_id=f"id{i}") for i in range(3)), return_exceptions=True
        )
        assert [isinstance(r, Conflict) for r in results] == [False, True, True]
        assert [n.id for n in world.cluster.state.nodes()] == ["id0"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"node_id": ""}, "not a node id"),
        ({"node_id": "a/b"}, "not a node id"),
        ({"node_id": "x" * 65}, "not a node id"),
        ({"name": "N1"}, "choose one with --name"),
        ({"name": "-n"}, "choose one with --name"),
        ({"name": "n\n"}, "choose one with --name"),
        ({"ip": "10.0.0"}, "not an IP address"),
        ({"link": "pigeon"}, "there are wired, wireless, cellular"),
        ({"labels": {"a b": "1"}}, "label key"),
        ({"labels": {str(n): "" for n in range(65)}}, "at most 64"),
    ],
)
@virtual_time
async def test_what_is_wrong_is_refused(fields: dict[str, Any], message: str) -> None:
    async with master() as world:
        with pytest.raises(InvalidSpec, match=message):
            await world.cluster.nodes.register(replace(request(), **fields))
        assert world.cluster.state.nodes() == []
        assert world.events() == []


# ---- labels ----


@virtual_time
async def test_a_label_is_replaced_on_demand_only() -> None:
    async with master() as world:
        await world.register("n1", labels={"a": "1", "b": "2"})
        nodes = world.cluster.nodes
        with pytest.raises(Conflict, match=r"a=1.*--overwrite"):
            await nodes.label("n1", {"a": "9", "c": "3"}, ["b"], overwrite=False)
        assert labels(world) == {"a": "1", "b": "2"}
        await nodes.label("n1", {"a": "1", "c": "3"}, ["b", "none"], overwrite=False)
        assert labels(world) == {"a": "1", "c": "3"}
        await nodes.label("id-n1", {"a": "9"}, [], overwrite=True)
        assert labels(world) == {"a": "9", "c": "3"}
        with pytest.raises(InvalidSpec, match="label key"):
            await nodes.label("n1", {"_": ""}, [], overwrite=True)
        with pytest.raises(InvalidSpec, match="at most 64"):
            await nodes.label("n1", {str(n): "" for n in range(64)}, [], overwrite=True)


@virtual_time
async def test_labels_set_at_the_same_time_are_all_kept() -> None:
    async with master() as world:
        await world.register("n1")
        await asyncio.gather(
            *(world.cluster.nodes.label("n1", {f"l{i}": ""}, [], False) for i in range(9))
        )
        assert labels(world).keys() == {f"l{i}" for i in range(9)}


@virtual_time
async def test_a_write_given_up_does_not_undo_a_newer_one_when_it_comes_through_late() -> None:
    async with master() as world:
        await world.register("n1")
        world.store.hold_up()
        with pytest.raises(Unavailable):
            await world.cluster.nodes.label("n1", {"a": "old"}, [], overwrite=True)
        world.store.answer()
        await world.cluster.nodes.label("n1", {"a": "new"}, [], overwrite=True)
        await world.store.let_through()
        await asyncio.sleep(1)
        assert labels(world) == {"a": "new"}

        world.store.hold_up()
        with pytest.raises(Unavailable):
            await world.cluster.nodes.label("n1", {"a": "old"}, [], overwrite=True)
        world.store.answer()
        await world.cluster.remove("n1")
        await world.store.let_through()
        await asyncio.sleep(1)
        assert world.cluster.state.nodes() == []


@virtual_time
async def test_a_removed_node_is_not_brought_back_by_what_was_asked_before() -> None:
    async with master() as world:
        await world.register("n1")
        results = await asyncio.gather(
            world.cluster.nodes.remove("n1"),
            world.cluster.nodes.label("n1", {"a": ""}, [], False),
            return_exceptions=True,
        )
        assert isinstance(results[1], NotFound)
        assert world.cluster.state.nodes() == []


# ---- leaving ----


@virtual_time
async def test_removing_leaves_nothing() -> None:
    disk = Disk()
    async with master(disk) as world:
        session = await world.joined("n1")
        await world.joined("n2")
        world.beat(session)
        reports = world.cluster.reports
        reports.snapshot(session.node_id, (Container("c1", "web"), Container("c2", "db")))
        reports.usage(session.node_id, (ContainerUsage("c1"),))
        await asyncio.sleep(1)
        assert any("id-n1" in key for key in disk.entries)

        node, last = await world.cluster.remove("n1")
        assert (node.name, last.state, last.reason) == ("n1", NodeState.TERMINATING, "Removed")
        assert session.ended.is_set()
        assert [m.goodbye.final for m in session.drain() if m.goodbye] == [True]
        # What was on its way does not bring it back.
        world.pulse(session)
        world.disconnect(session)
        await asyncio.sleep(30)
        state = world.cluster.state
        held = [
            state.group(g)
            for g in (keys.NODE, keys.STATUS, keys.LIVE, keys.USAGE, keys.containers(node.id))
        ]
        assert [key for group in held for key in group if "id-n1" in key] == []
        assert world.events("Removed")[0].severity is Severity.WARNING
        assert world.cluster.monitoring.history(node.id) == []
        with pytest.raises(NotFound):
            await world.cluster.nodes.remove("n1")
    assert not [key for key in disk.entries if "id-n1" in key]
    assert b"id-n1" not in disk.entries[keys.HEARTBEATS].value
    async with master(disk) as world:
        assert [n.name for n in world.cluster.state.nodes()] == ["n2"]


@virtual_time
async def test_a_removed_node_may_join_anew() -> None:
    async with master() as world:
        session = await world.joined("n1", labels={"a": "1"})
        world.cluster.nodes.fault(session.node_id, Fault.DISK_SHORTAGE, "full")
        await world.cluster.remove("n1")
        await world.joined("n1")
        assert world.state_of() == (NodeState.READY, "Synced")
        assert labels(world) == {}


# ---- spec and status are apart ----


@virtual_time
async def test_what_is_seen_while_a_commit_is_under_way_is_not_lost() -> None:
    async with master() as world:
        session = await world.joined("n1")
        world.store.gate.clear()
        label = asyncio.create_task(world.cluster.nodes.label("n1", {"a": "1"}, [], False))
        await asyncio.sleep(0.1)
        world.cluster.nodes.describe(session.node_id, Facts(os="new"), Resources(8))
        world.cluster.nodes.fault(session.node_id, Fault.MEMORY_SHORTAGE, "none left")
        assert labels(world) == {}, "not promised yet"
        world.store.gate.set()
        await label
        status = world.cluster.state.status(session.node_id)
        assert (status.facts.os, status.state) == ("new", NodeState.NOT_READY)
        assert labels(world) == {"a": "1"}
        await asyncio.sleep(1)
        assert world.cluster.state.status(session.node_id) == status
    async with master(world.disk) as later:
        assert later.cluster.state.status(session.node_id) == status
        assert labels(later) == {"a": "1"}


# ---- health ----


@virtual_time
async def test_a_node_is_ready_again_when_the_last_fault_is_over() -> None:
    async with master() as world:
        session = await world.joined("n1")
        nodes, node_id = world.cluster.nodes, session.node_id
        nodes.fault(node_id, Fault.DISK_SHORTAGE, "full")
        nodes.fault(node_id, Fault.SILENT, "quiet")
        nodes.fault(node_id, Fault.DEAF, "the second link fault is not told")
        assert world.state_of() == (NodeState.NOT_READY, "DiskShortage")
        since = world.cluster.state.status(node_id).since
        freeze(1)
        nodes.fault_over(node_id, Fault.DISK_SHORTAGE)
        assert world.state_of() == (NodeState.NOT_READY, "Silent")
        assert world.cluster.state.status(node_id).since == since
        nodes.link_restored(node_id)
        assert world.state_of() == (NodeState.READY, "Recovered")
        assert world.reasons()[-3:] == ["DiskShortage", "Silent", "Recovered"]
        assert "still NotReady" in world.events("Silent")[0].message


@virtual_time
async def test_a_node_is_not_ready_before_all_is_known_of_it() -> None:
    async with master() as world:
        session = world.connect(await world.register("n1"), synced=False)
        await world.lives(session, 5)
        assert world.state_of()[0] is NodeState.INITIALIZING
        world.cluster.nodes.synced(session.node_id, True)
        assert world.state_of() == (NodeState.READY, "Synced")


# ---- conditions ----


@virtual_time
async def test_a_condition_keeps_its_time_and_is_told_once() -> None:
    async with master() as world:
        await world.register("n1")
        nodes = world.cluster.nodes

        def runtime(ready: bool, message: str) -> Condition:
            nodes.condition("id-n1", Condition("RuntimeReady", ready, "R", message))
            (found,) = world.cluster.state.status("id-n1").conditions
            return found

        began = utc()
        assert runtime(True, "4.3").since == began
        assert world.events("R") == [], "good news of a new node is no news"
        await asyncio.sleep(60)
        assert runtime(True, "4.4").since == began
        assert runtime(True, "4.4").message == "4.4"
        assert runtime(False, "away").since == utc()
        broke = utc()
        await asyncio.sleep(60)
        assert runtime(False, "still away").since == broke
        assert runtime(True, "back").since == utc()
        assert [(e.severity, e.message) for e in world.events("R")] == [
            (Severity.WARNING, "away"),
            (Severity.INFO, "back"),
        ]
        nodes.condition("gone", Condition("RuntimeReady", False))
        assert now() == 120


@virtual_time
async def test_a_bad_condition_of_a_new_node_is_told() -> None:
    async with master() as world:
        await world.register("n1")
        world.cluster.nodes.condition(
            "id-n1", Condition("RuntimeReady", False, "NoRuntime"), Condition("A", True, "Bad")
        )
        assert world.reasons()[-2:] == ["NoRuntime", "Bad"]
        found = world.cluster.state.status("id-n1").conditions
        assert [c.type for c in found] == ["A", "RuntimeReady"]
