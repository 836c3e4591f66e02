"""What nodes are to run, told to their agents: exactly what they do not hold, and no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from piccolo.core.model import NodeState
from piccolo.core.workloads.containers import Container, File
from piccolo.core.workloads.instances import DependencyState
from piccolo.core.workloads.workload import Placement, Workload
from piccolo.master import keys
from piccolo.master.sessions import Sessions
from piccolo.master.workloads import desired_feed
from piccolo.master.workloads.desired_feed import CHUNK, Feed, messages
from piccolo.master.workloads.instance_specs import Spec, references
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, virtual_time
from tests.master.workload_world import (
    Agent,
    agent,
    declare,
    delete,
    needing,
    put_secret,
    secret,
    settled,
    with_secret,
    workload,
)
from tests.master.world import master


def on(*nodes: str) -> Placement:
    return Placement(nodes=nodes)


async def desired(a: Agent) -> None:
    """Until the next message that tells what to run."""
    while (await a.session.next_outgoing()).desired is None:
        pass


@virtual_time
async def test_from_the_commit_to_the_message_nothing_waits() -> None:
    async with master() as world:
        a = await agent(world)
        await a.settle()
        began = now()
        await declare(world, workload())
        await desired(a)
        assert now() == began, "not a timer in between"


@virtual_time
async def test_who_is_in_step_hears_so_once() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload())
        await a.settle()
        assert a.runs() == {"web.0": "v1"}
        a.told.clear()
        a.disconnect()
        a.connect()
        await a.settle()
        (only,) = a.told
        assert (only.reset, only.set, only.removed, only.last) == (False, [], [], True)
        assert only.digest == a.digest
        a.told.clear()
        for _ in range(5):
            a.beat()
            a.report()
            await a.settle()
        assert a.told == []


@virtual_time
async def test_an_agent_that_was_away_gets_exactly_the_difference() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload("kept"), workload("changed"), workload("gone"))
        await a.settle()
        a.report()
        a.disconnect()
        await delete(world, "gone")
        await declare(world, workload("new"), workload("changed", image="v2"))
        await asyncio.sleep(60)  # until the master does not count on it any more
        assert world.cluster.state.workload("gone") is None
        a.told.clear()
        a.connect()
        await a.settle()
        first, *_ = a.told
        assert sorted(i.key for i in first.set) == ["changed.0", "new.0"]
        assert first.removed == ["gone.0"]
        assert a.runs() == {"kept.0": "v1", "changed.0": "v2", "new.0": "v1"}


@virtual_time
async def test_a_digest_that_differs_is_repaired_from_scratch() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, needing("web", "db"), workload("db"))
        await a.settle()
        a.told.clear()
        a.disk["ghost.0"] = a.disk.pop("web.0")
        a.beat()
        await a.settle()
        assert a.told[0].reset
        assert [d.workload for d in a.told[0].dependencies] == ["db"]
        assert sorted(a.disk) == ["db.0", "web.0"]
        a.told.clear()
        a.beat()
        await a.settle()
        assert a.told == []


@virtual_time
async def test_two_hundred_workloads_come_in_pieces() -> None:
    async with master() as world:
        a = await agent(world)
        file = File("/etc/web.conf", "x" * 5000)
        many = [Workload(f"w{n}", (Container("main", "v1", files=(file,)),)) for n in range(200)]
        await declare(world, *many)
        await a.settle(3)
        assert len(a.disk) == 200
        assert max(a.sizes()) <= CHUNK * 1.05
        assert 4 <= len(a.told) <= 10
        assert [m.last for m in a.told].count(True) <= 5


def test_a_large_change_fits_the_queue_of_a_session() -> None:
    specs = [Spec(f"w{n}.0", workload(), b"x" * 600_000, {}, n) for n in range(300)]
    found = list(messages(True, specs, [], [], 7))
    assert len(found) < 2 * desired_feed.MOST_MESSAGES
    assert [m.last for m in found] == [False] * (len(found) - 1) + [True]
    assert all(m.reset for m in found)
    assert [i.key for m in found for i in m.set] == [s.key for s in specs]
    one = list(messages(False, specs[:1], ["a.0"], [], 7))
    assert len(one) == 1, "one that is too large for a piece travels all the same"


# ---- who gets what ----


@virtual_time
async def test_a_node_gets_the_secrets_of_its_own_instances_only() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await put_secret(world, "mine", password="hunter1", other="hunter2")
        await put_secret(world, "theirs", password="hunter3")
        for name, of, node in (("web", "mine", "n1"), ("db", "theirs", "n2")):
            await declare(world, replace(with_secret(name, of), placement=on(node)))
        await settled([a, b])
        assert a.disk["web.0"][1] == {"mine/password": secret("hunter1")}
        assert b.disk["db.0"][1] == {"theirs/password": secret("hunter3")}
        sent = b"".join(bytes(message) for message in a.told)
        for value in ("hunter2", "hunter3"):
            assert secret(value).encode() not in sent
            assert value.encode() not in sent
        assert secret("hunter1").encode() not in a.disk["web.0"][0], "never in the spec"


def test_references_are_found_wherever_they_may_stand() -> None:
    one, two = with_secret("a", "one").containers[0], with_secret("a", "two", "key").containers[0]
    ref = next(iter(two.secret_env.values()))
    files = Container("b", "v1", files=(File("/a", "text"), File("/b", secret=ref)))
    found = references(Workload("w", (one, files), init_containers=(two, one)))
    assert sorted((r.secret, r.key) for r in found) == [("one", "password"), ("two", "key")]


@virtual_time
async def test_a_changed_secret_makes_another_instance_of_it() -> None:
    async with master() as world:
        a = await agent(world)
        await put_secret(world, "db", password="old")
        await declare(world, with_secret("web", "db"), workload("other"))
        await a.settle()
        before = a.instances()
        a.told.clear()
        await put_secret(world, "db", password="new")
        await a.settle()
        after = a.instances()
        assert a.disk["web.0"][1] == {"db/password": secret("new")}
        assert before["web.0"].hash != after["web.0"].hash
        assert before["web.0"].generation == after["web.0"].generation
        assert [i.key for message in a.told for i in message.set] == ["web.0"]


@virtual_time
async def test_a_workload_waits_for_its_secret() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, with_secret("web", "db"), workload("other"))
        await a.settle()
        assert list(a.disk) == ["other.0"]
        assert '"db" is missing: piccolo secret set db' in world.cluster.actions.unplaced["web"]
        await put_secret(world, "db", user="root")
        await a.settle()
        assert 'no key "password"' in world.cluster.actions.unplaced["web"]
        await put_secret(world, "db", password="x")
        await a.settle()
        assert sorted(a.disk) == ["other.0", "web.0"]
        assert world.cluster.actions.unplaced == {}
        assert len(world.events("Unplaceable")) == 2


@virtual_time
async def test_a_version_without_the_secret_comes_though_the_one_before_was_never_told() -> None:
    async with master() as world:
        a = await agent(world)
        a.full = "no space left"
        await put_secret(world, "db", password="x")
        await declare(world, replace(with_secret("web", "db"), replicas=3))
        await a.settle()
        await world.cluster.state.commit({keys.secret("db"): None})
        a.full = ""
        a.beat()
        await a.settle()
        assert a.disk == {}
        await declare(world, workload(replicas=3))
        await a.settle()
        assert sorted(a.disk) == ["web.0", "web.1", "web.2"]


def test_who_could_not_take_over_the_first_word_is_told_again_though_there_is_no_more() -> None:
    """Its file was damaged, and its disk full. What it lost went elsewhere meanwhile: before it is
    told that this is all, it removes nothing."""
    session = Sessions(1).open("n1", "run-1", "here")
    feed = Feed(session, {})
    feed.tell({"web.0": Spec("web.0", workload(), b"", {}, 5)}, {}, 1.0)
    feed.answered(5, "no space left")
    feed.tell({}, {}, 2.0)
    assert len(session.drain()) == 1, "not before its next heartbeat"
    assert feed.beat(0, 3.0)
    feed.tell({}, {}, 3.0)
    (message,) = session.drain()
    assert message.desired is not None
    assert (message.desired.last, message.desired.digest) == (True, 0)
    feed.answered(0, "")
    feed.beat(0, 4.0)
    feed.tell({}, {}, 4.0)
    assert session.drain() == []


@virtual_time
async def test_what_runs_stays_when_its_secret_is_gone() -> None:
    disk = Disk()
    async with master(disk) as world:
        a = await agent(world)
        await put_secret(world, "db", password="x")
        await declare(world, with_secret("web", "db"), workload("other"))
        await a.settle()
        await world.cluster.state.commit({keys.secret("db"): None})
        await declare(world, workload("more"))
        await a.settle()
        assert sorted(a.disk) == ["more.0", "other.0", "web.0"]
        await asyncio.sleep(1)
    async with master(disk) as world:  # a new master has never known what is in it
        a.world = world
        a.connect()
        await delete(world, "other")
        await a.settle()
        assert sorted(a.disk) == ["more.0", "web.0"]
        a.beat()
        await a.settle()
        assert not a.session.ended.is_set()
        del a.disk["more.0"]
        a.beat()
        await a.settle()
        assert a.session.ended.is_set(), "its next Hello says what it holds"
        a.disconnect()
        a.connect()
        await a.settle()
        assert sorted(a.disk) == ["more.0", "web.0"]


@virtual_time
async def test_who_is_not_admitted_gets_nothing_until_it_is() -> None:
    async with master(discovery="listed") as world:
        a = await agent(world)
        await declare(world, workload())
        a.disk["old.0"] = (b"{}", {})
        a.disconnect()
        a.connect()
        a.beat()
        await a.settle()
        assert a.told == []
        assert world.state_of()[0] is NodeState.PENDING
        await world.cluster.nodes.approve("n1")
        world.cluster.nodes.synced(a.node.id, True)
        await a.settle()
        assert a.runs() == {"web.0": "v1"}


# ---- agents that are slow, full, or odd ----


@virtual_time
async def test_a_full_disk_is_told_once_and_tried_again() -> None:
    async with master() as world:
        a = await agent(world)
        a.full = "no space left on device"
        await declare(world, workload())
        await a.settle()
        await declare(world, workload("other"))
        for _ in range(5):
            await a.settle(2)
            a.beat()
        assert a.disk == {}
        (event,) = world.events("WorkloadsNotTaken")
        assert "no space left" in event.message
        assert 5 <= len([m for m in a.told if m.set]) <= 7, "with each heartbeat, and not before"
        a.full = ""
        a.beat()
        await a.settle()
        assert sorted(a.disk) == ["other.0", "web.0"]
        assert not any(m.reset for m in a.told), "nothing had changed there"


@virtual_time
async def test_one_change_is_under_way_at_a_time() -> None:
    async with master() as world:
        a = await agent(world)
        await a.settle()
        a.told.clear()
        a.silent = True
        for n in range(100):
            await declare(world, workload(image=f"v{n}"))
        await asyncio.sleep(1)
        assert a.session.backlog < 5
        assert not a.session.ended.is_set()
        await a.settle()
        assert len(a.told) == 1
        a.silent = False
        world.cluster.desired.answered(a.session, a.digest, "")
        await a.settle()
        assert a.runs() == {"web.0": "v99"}


@virtual_time
async def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    async with master() as world:
        a = await agent(world)
        await a.settle()
        a.silent = True
        await declare(world, workload())
        await a.settle()
        a.beat()  # the digest says it as well
        await declare(world, workload("other"))
        await a.settle()
        assert sorted(a.disk) == ["other.0", "web.0"]
        a.disk.clear()
        a.told.clear()
        a.beat()
        await a.settle()
        assert a.told == [], "it may still be at it"
        await asyncio.sleep(desired_feed.PATIENCE)
        a.beat()
        await a.settle()
        assert sorted(a.disk) == ["other.0", "web.0"]


def test_a_change_that_an_agent_ignores_is_sent_again() -> None:
    feed = Feed(Sessions(1).open("n1", "run-1", "here"), {"old.0": 5})
    wanted = {"old.0": Spec("old.0", workload("old"), b"", {}, 5)}
    feed.tell(wanted, {}, 0.0)
    feed.answered(5, "")
    wanted["web.0"] = Spec("web.0", workload(), b"", {}, 6)
    feed.tell(wanted, {}, 1.0)
    assert len(feed.session.drain()) == 2
    assert not feed.beat(5, 2.0)
    assert feed.beat(5, 70.0), "it goes on as if it had never heard of it"
    feed.tell(wanted, {}, 70.0)
    (message,) = feed.session.drain()
    assert message.desired is not None
    assert not message.desired.reset
    assert [i.key for i in message.desired.set] == ["web.0"]


def test_what_only_brought_news_of_dependencies_cannot_fail() -> None:
    feed = Feed(Sessions(1).open("n1", "run-1", "here"), {})
    feed.tell({}, {}, 0.0)
    feed.answered(0, "")
    feed.tell({}, {"db": DependencyState("db")}, 0.0)
    feed.answered(77, "this does not fit to what is here")
    assert feed.error == ""
    assert feed.beat(77, 1.0), "the heartbeat shows it"


@virtual_time
async def test_an_older_session_is_not_listened_to() -> None:
    async with master() as world:
        a = await agent(world)
        await declare(world, workload())
        await a.settle()
        old = a.session
        a.connect()
        await a.settle()
        a.told.clear()
        world.cluster.desired.beat(old, 77)
        world.cluster.desired.answered(old, 77, "what?")
        world.cluster.desired.close(old)
        await declare(world, workload(image="v2"))
        await a.settle()
        assert a.runs() == {"web.0": "v2"}
        assert world.events("WorkloadsNotTaken") == []


# ---- dependencies ----


def state(world_agent: Agent, name: str = "db") -> tuple[bool, bool]:
    found = world_agent.dependencies[name]
    return found.running, found.healthy


@virtual_time
async def test_what_others_depend_on_is_told() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        await declare(world, needing("web", "db"), workload("idle"))
        await settled([a, b])
        holder = a if "web.0" in a.disk else b
        other = b if holder is a else a
        assert holder.dependencies == {"db": DependencyState("db")}
        assert other.dependencies == {}
        await declare(world, workload("db", replicas=2))
        await settled([a, b])
        keeper = {key: x for x in (a, b) for key in x.disk if key.startswith("db.")}
        assert sorted(keeper) == ["db.0", "db.1"]
        for key, ready in (("db.0", True), ("db.1", False)):
            keeper[key].report(key, ready=ready)
        await settled([a, b])
        assert state(holder) == (True, False)
        holder.told.clear()
        keeper["db.1"].report("db.1")
        await settled([a, b])
        assert state(holder) == (True, True)
        assert len(holder.told) == 1
        holder.dependencies.clear()
        holder.disconnect()
        holder.connect()
        await settled([a, b])
        assert state(holder) == (True, True), "all of them when it comes back"


@virtual_time
async def test_news_of_dependencies_go_past_a_change_under_way() -> None:
    async with master() as world:
        a, b = await agent(world, "n1"), await agent(world, "n2")
        web = replace(needing("web", "db"), placement=on("n1"))
        await declare(world, web, workload("db", placement=on("n2")))
        await settled([a, b])
        a.silent = True
        await declare(world, workload("more", placement=on("n1")))
        await settled([a, b])
        b.report("db.0")
        await settled([a, b])
        assert state(a) == (True, True)
        before = len(a.told)
        for n in range(200):
            b.report("db.0", ready=bool(n % 2))
            await asyncio.sleep(0.1)
        assert a.session.backlog <= 20, "a slow agent is told the last word only"
        assert not a.session.ended.is_set()
        await settled([a, b], 2)
        assert state(a) == (True, True)
        assert len(a.told) - before <= 22
