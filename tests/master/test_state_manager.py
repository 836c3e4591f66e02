"""The state as everyone sees it, whoever changed it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from piccolo.core.errors import Conflict, InvalidSpec, NotFound
from piccolo.core.model import Container, Node, NodeLive, NodeStatus, Topology
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.master import keys
from piccolo.master.state_manager import StateManager
from piccolo.store import codec
from piccolo.store.mirror import MirroredStore
from piccolo.store.mirror.memory import LOG_CHANGES
from tests.master.memory_store import Disk
from tests.master.virtual_time import virtual_time
from tests.master.world import labels, master


@virtual_time
async def test_what_others_change_in_the_store_is_followed() -> None:
    async with master() as world:
        node = await world.register("n1")
        changed = Node(node.id, "n1", labels={"by": "hand"}, admitted=True)
        world.store.forced(keys.node(node.id), codec.encode(changed))
        await asyncio.sleep(0.1)
        assert labels(world) == {"by": "hand"}
        world.store.forced(keys.node("x"), codec.encode(Node("x", "n2")))
        await asyncio.sleep(0.1)
        assert [n.name for n in world.cluster.state.nodes()] == ["n1", "n2"]
        world.store.forced(keys.node("x"), None)
        world.store.forced("no-key-of-ours/1", b"\0")
        await asyncio.sleep(0.1)
        assert [n.name for n in world.cluster.state.nodes()] == ["n1"]

        # A change of ours is made on top of theirs.
        await world.cluster.nodes.label("n1", {"a": "1"}, [], overwrite=False)
        assert labels(world) == {"by": "hand", "a": "1"}


@virtual_time
async def test_more_changes_at_once_than_are_remembered() -> None:
    """As when hundreds of nodes go away in the same moment: nobody may stumble over it."""
    async with master() as world:
        node = await world.register("n1")
        state = world.cluster.state
        changed = Node(node.id, "n1", labels={"by": "hand"}, admitted=True)
        world.store.forced(keys.node(node.id), codec.encode(changed))
        world.store.forced(keys.node("x"), codec.encode(Node("x", "n2")))
        await asyncio.sleep(0.1)
        world.store.forced(keys.node("x"), None)
        for number in range(LOG_CHANGES + 1):
            state.observe(keys.live(node.id), NodeLive(generation=number), durable=False)
        await asyncio.sleep(0.1)
        assert [n.name for n in state.nodes()] == ["n1"]
        assert labels(world) == {"by": "hand"}
        world.store.forced(keys.node("y"), codec.encode(Node("y", "n3")))
        await asyncio.sleep(0.1)
        assert [n.name for n in state.nodes()] == ["n1", "n3"]  # it goes on


@virtual_time
async def test_what_cannot_be_read_changes_nothing_now_and_is_refused_by_name_later() -> None:
    disk = Disk()
    async with master(disk) as world:
        node = await world.register("n1")
        world.store.forced(keys.node(node.id), b"\xff{")
        await asyncio.sleep(1)
        assert world.cluster.state.nodes() == [node]
        await world.register("n2")
    with pytest.raises(InvalidSpec, match="node/id-n1"):
        async with master(disk):
            pass


@virtual_time
async def test_what_is_observed_is_seen_at_once_and_kept_soon() -> None:
    async with master() as world:
        state, store = world.cluster.state, world.store
        state.observe(keys.container("n", "c"), Container("c", "web"))
        state.observe(keys.usage("n"), (), durable=False)
        assert state.containers("n") == [Container("c", "web")]
        assert store.written(keys.CONTAINER) == 0
        await asyncio.sleep(1)
        assert (store.written(keys.CONTAINER), store.written(keys.USAGE)) == (1, 0)
        state.observe(keys.container("n", "c"), None)
        assert state.containers("n") == []


@virtual_time
async def test_a_store_that_is_away_delays_and_loses_nothing() -> None:
    async with master() as world:
        world.store.away = "no route"
        for number in range(100):
            world.cluster.state.observe(keys.status("n"), NodeStatus(ip=str(number)))
            await asyncio.sleep(0.1)
        assert world.cluster.state.status("n").ip == "99"
        assert world.cluster.state.degraded == "no route"
        world.store.away = ""
        await asyncio.sleep(10)
        assert world.store.written(keys.STATUS) == 1, "the latest value only"
    async with master(world.disk) as later:
        assert later.cluster.state.status("n").ip == "99"


@virtual_time
async def test_commits_are_conditional_and_all_or_nothing() -> None:
    async with master() as world:
        state = world.cluster.state
        first = await state.commit({keys.TOPOLOGY: Topology("t", "a")}, {keys.TOPOLOGY: 0})
        assert state.revision_of(keys.TOPOLOGY) == first
        both = {keys.TOPOLOGY: Topology("t", "b"), keys.node("x"): Node("x", "n1")}
        for condition in ({keys.TOPOLOGY: 0}, {keys.node("x"): first}):
            with pytest.raises(Conflict):
                await state.commit(both, condition)
        assert state.nodes() == []
        assert await state.commit(both, {keys.TOPOLOGY: first}) > first
        found = state.get(keys.TOPOLOGY, Topology)
        assert found is not None
        assert found.name == "b"
        assert state.get(keys.TOPOLOGY, Node) is None
        await state.commit({keys.TOPOLOGY: None})
        assert state.revision_of(keys.TOPOLOGY) == 0


@virtual_time
async def test_who_watches_is_told_of_every_change() -> None:
    async with master() as world:
        state = world.cluster.state
        start = state.revision
        await world.register("n1")
        state.observe(keys.live("id-n1"), None)
        async with aclosing(state.changes(keys.NODE, start)) as changes:
            change = await anext(changes)
            assert change.key == keys.node("id-n1")
            pending = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(1)
            assert not pending.done()
            await state.commit({keys.node("id-n1"): None})
            assert (await pending).value is None


@virtual_time
async def test_a_node_is_found_by_name_and_by_id() -> None:
    async with master() as world:
        with pytest.raises(NotFound, match="none yet"):
            world.cluster.state.find_node("n1")
        node = await world.register("n1")
        assert world.cluster.state.find_node("n1") == node
        assert world.cluster.state.find_node("id-n1") == node


@virtual_time
async def test_a_slow_watcher_does_not_bring_back_what_is_gone() -> None:
    async with master() as world:
        state = world.cluster.state
        start = state.revision
        await world.register("n1")
        async with aclosing(state.changes(keys.NODE, start)) as slow:
            await world.cluster.remove("n1")
            for _ in range(2):
                await asyncio.sleep(1)
                await anext(slow)
                assert state.nodes() == []
                assert state.revision_of(keys.node("id-n1")) == 0
        await asyncio.sleep(1)
        await world.register("n2")
        await asyncio.sleep(1)
        async with aclosing(state.changes(keys.NODE, start)) as late:
            assert (await anext(late)).value is not None
        assert [n.name for n in state.nodes()] == ["n2"]


@virtual_time
async def test_nor_does_a_quick_one() -> None:
    """It reads of what is gone already before the state's own follower does."""
    async with master() as world:
        state = world.cluster.state
        await asyncio.sleep(1)
        start = state.revision
        state.observe(keys.container("n", "1"), Container("1", "web"))
        state.observe(keys.container("n", "1"), None)
        async with aclosing(state.changes(keys.CONTAINER, start)) as quick:
            for _ in range(2):
                await anext(quick)
                assert state.containers("n") == []


@virtual_time
async def test_what_is_gone_is_not_remembered_for_ever() -> None:
    async with master() as world:
        state = world.cluster.state
        before = len(state._revisions)
        for number in range(1000):
            state.observe(keys.container("n", str(number)), Container(str(number), "c"))
            state.observe(keys.container("n", str(number)), None)
            if number % 100 == 0:
                await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert len(state._revisions) <= before + 2


@virtual_time
async def test_the_copies_of_a_workload() -> None:
    """Found by an index, which follows whoever writes."""
    first, second = Assignment("web", 0, "n1", 1), Assignment("web", 10, "n2", 1)
    seen = InstanceStatus("web", 0, 1)
    disk = Disk()
    for _ in range(2):  # and again after a restart
        mirror = await MirroredStore.load(await disk.open())
        state = StateManager(mirror)
        await state.load()
        for a in (first, second, Assignment("webs", 0, "n1", 1)):
            await state.commit({keys.assignment(a.node_id, a.key): a})
        assert state.copies("web")[0] == [first, second]
        assert state.copies("nothing") == ([], {})
        state.observe(keys.instance("n1", "web.0"), seen)
        assert state.copies("web")[1] == {("n1", "web.0"): seen}
        state.observe(keys.instance("n1", "web.0"), None)
        await state.commit({keys.assignment("n1", "web.0"): None})
        assert state.copies("web") == ([second], {})
        await mirror.close()


def test_every_key_has_its_type() -> None:
    found = {
        keys.workload("web"): Declared,
        keys.past("web", 3): Past,
        keys.assignment("n1", "web.0"): Assignment,
        keys.instance("n1", "web.0"): InstanceStatus,
        keys.agent_events("n1"): keys.AgentStream,
        keys.unplaced("web"): keys.Unplaced,
        keys.CHANGESET: keys.Marker,
        keys.changeset_part("a1", 0): None,
        "workload-histories/web": None,
    }
    assert {key: keys.type_of(key) for key in found} == found
    assert sorted([keys.past("web", 10), keys.past("web", 9)]) == [
        keys.past("web", 9),
        keys.past("web", 10),
    ]
    named = [keys.workload_of(key) for key in found]
    assert named == ["", "", "web", "web", "", "", "", "", ""]
