"""What clients ask about workloads, and what they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from piccolo.core.errors import Conflict, InvalidSpec, NotFound
from piccolo.core.model import Container
from piccolo.core.report import Delta
from piccolo.core.security.access import Principal, Role
from piccolo.core.workloads.instances import LABEL_WORKLOAD, Phase
from piccolo.master.api_server import workload_views
from piccolo.master.api_server.client_service import ClientService
from piccolo.master.api_server.documents import MAX_TOTAL
from piccolo.rpc import wire
from piccolo.rpc.server import caller
from tests.master.insiders import calling
from tests.master.virtual_time import virtual_time
from tests.master.workload_world import agent, put_secret, settled
from tests.master.world import World, master


@pytest.fixture(autouse=True)
def _admin() -> Iterator[None]:
    with calling(Principal(Role.ADMIN, "anna")):
        yield


def document(name: str = "web", image: str = "v1", **spec: Any) -> str:
    kind = {"apiVersion": "piccolo.io/v1", "kind": "Workload"}
    return json.dumps({**kind, "metadata": {"name": name}, "spec": {"image": image, **spec}})


LAUNCH = """
apiVersion: v1
kind: Scenario
metadata: {name: s}
spec: {condition: null, action: launch, target: car}
"""


def source(*documents: str, name: str = "f.yaml") -> wire.Source:
    return wire.Source(name=name, text="\n---\n".join(documents).encode())


async def apply(world: World, *documents: str, dry_run: bool = False) -> wire.ApplyResponse:
    request = wire.ApplyRequest(sources=[source(*documents)], dry_run=dry_run)
    return await ClientService(world.cluster).apply(request)


async def one(world: World, name: str = "web") -> wire.Workload:
    reply = await ClientService(world.cluster).get_workload(wire.GetWorkloadRequest(name=name))
    assert reply.workload is not None
    return reply.workload


def said(reply: wire.ApplyResponse) -> list[str]:
    return [f"{c.what} {c.kind} {c.name} {c.generation}" for c in reply.changes]


def notices(reply: wire.ApplyResponse) -> list[str]:
    assert not reply.problems
    return [n.message for n in reply.notices]


@virtual_time
async def test_documents_become_workloads() -> None:
    async with master() as world:
        await agent(world)
        world.cluster.nodes.synced("id-n1", True)
        reply = await apply(world, document(), document("db"))
        assert said(reply) == ["created Workload web 1", "created Workload db 1"]
        assert caller().subject == "workloads web, db"
        assert [f"{s.verb} {s.workload}.{s.index} {s.node_name}" for s in reply.plan] == [
            "start db.0 n1",
            "start web.0 n1",
        ]
        assert reply.revision == world.cluster.state.revision_of("workload/web")
        again = await apply(world, document(), document("db"))
        assert said(again) == ["unchanged Workload web 1", "unchanged Workload db 1"]
        assert again.plan == []
        changed = await apply(world, document(image="v2"), dry_run=True)
        assert [f"{f.path} {f.before} {f.after}" for f in changed.changes[0].fields] == [
            'containers[web].image "v1" "v2"'
        ]
        assert caller().subject == "workload web (dry run)"
        assert (await one(world)).generation == 1
        reasons = [(e.subject, e.reason, e.message) for e in world.events("Declared")]
        assert reasons == [
            ("web", "Declared", "generation 1, by admin:anna"),
            ("db", "Declared", "generation 1, by admin:anna"),
        ]


@virtual_time
async def test_problems_come_with_their_places_and_nothing_is_changed() -> None:
    async with master() as world:
        reply = await apply(world, document(), "apiVersion: piccolo.io/v1\nkind: Workloadd")
        [problem] = reply.problems
        assert (problem.source, problem.line, problem.column) == ("f.yaml", 4, 1)
        assert 'did you mean "Workload"?' in problem.message
        assert caller().subject == "workload web"
        sources = [
            wire.Source(name="latin.yaml", text=b"a: \xe4"),
            wire.Source(name="big.yaml", text=b" " * (1 << 20) + b"a"),
            wire.Source(name="", text=b"\tkind: x"),
        ]
        reply = await ClientService(world.cluster).apply(wire.ApplyRequest(sources=sources))
        assert [f"{p.source}: {p.message[:30]}" for p in reply.problems] == [
            "latin.yaml: byte 0xe4 is not UTF-8: save t",
            "big.yaml: 1.0 MB; at most 1 MiB are read",
            "document: a tab is used for indentation:",
        ]
        assert world.cluster.state.declared() == {}
        large = [wire.Source(name=str(n), text=b" " * (1 << 20)) for n in range(4)]
        with pytest.raises(InvalidSpec, match="name fewer files"):
            await ClientService(world.cluster).apply(wire.ApplyRequest(sources=large))
        assert MAX_TOTAL < 4 << 20
        reply = await ClientService(world.cluster).apply(wire.ApplyRequest())
        assert [p.message for p in reply.problems] == ["there is no document at all"]


@virtual_time
async def test_documents_are_checked_beside_what_there_is() -> None:
    async with master() as world:
        await apply(world, document("a", dependsOn=[{"workload": "b"}]), document("plain"))
        circle = await apply(world, document("b", dependsOn=[{"workload": "a"}]))
        [problem] = circle.problems
        assert problem.message.endswith("none of these could ever start: b → a → b")
        assert problem.line == 1
        needs = [{"workload": "plain", "condition": "healthy"}]
        reply = await apply(world, document("c", dependsOn=needs))
        assert "no probes that could say that it is healthy" in reply.problems[0].message
        reply = await apply(world, LAUNCH)
        assert 'there is no Package "car", here or in the cluster' in reply.problems[0].message


@virtual_time
async def test_what_is_worth_knowing() -> None:
    async with master() as world:
        env = {"P": {"secret": "db", "key": "password"}}
        update = {"deadline": "5m", "rollback": True, "minReady": "1s"}
        asked = document(env=env, dependsOn=[{"workload": "db"}], update=update)
        found = notices(await apply(world, asked))
        assert len(found) == 4
        assert any('"db" is not here or in the cluster: it waits for it' in n for n in found)
        assert any('there is no secret "db" yet' in n for n in found)
        assert sum("is kept, but not carried out yet" in n for n in found) == 2
        await put_secret(world, "db", user="x")
        found = notices(await apply(world, document("db"), asked))
        assert any('the secret "db" has no key "password" yet' in n for n in found)
        assert not any("in the cluster" in n for n in found)
        await put_secret(world, "db", password="x")
        relocate = document(
            onNodeLoss={"action": "Relocate"}, onIsolation={"action": "Stop"}, env=env
        )
        [found_one] = notices(await apply(world, relocate))
        assert "onNodeLoss" in found_one
        assert "not carried out yet" in found_one
        assert notices(await apply(world, document(onNodeLoss={"action": "Stay"}))) == []


@virtual_time
async def test_a_pullpiri_package_is_launched() -> None:
    async with master() as world:
        text = """
apiVersion: v1
kind: Model
metadata: {name: hello}
spec: {containers: [{name: hello, image: "localhost/hello:latest"}]}
---
apiVersion: v1
kind: Package
metadata: {name: car}
spec: {models: [{name: hello, node: n1}]}
"""
        reply = await apply(world, text)
        assert said(reply) == ["created Workload hello 1"]
        held = await one(world, "hello")
        assert (held.held, held.state, held.package) == (True, "Held", "car")
        reply = await apply(world, LAUNCH)
        assert said(reply) == ["launched Workload hello 1", "launched Scenario s 0"]
        assert caller().subject == "scenario s"
        assert not (await one(world, "hello")).held


@virtual_time
async def test_a_workload_is_shown_with_what_became_of_it() -> None:
    async with master() as world:
        first, second = await agent(world, "n1"), await agent(world, "n2")
        await apply(world, document(replicas=2, env={"A": "1"}), document("db", "v3"))
        assert (await one(world)).settled is False
        await settled([first, second])
        for one_agent in (first, second):
            one_agent.report()
        shown = await one(world)
        assert (shown.state, shown.settled, shown.failed) == ("Running", True, False)
        assert (shown.wanted, shown.placed, shown.updated, shown.ready) == (2, 2, 2, 2)
        assert shown.images == ["v1"]
        assert [(i.index, i.node_name, i.stale, i.generation) for i in shown.instances] == [
            (0, shown.instances[0].node_name, False, 1),
            (1, shown.instances[1].node_name, False, 1),
        ]
        assert {i.node_name for i in shown.instances} == {"n1", "n2"}
        mine = Container("c1", "web.0.web", "v1", "running", labels={LABEL_WORKLOAD: "web"})
        other = Container("c2", "db.0.db", "v3", "running", labels={LABEL_WORKLOAD: "db"})
        world.cluster.reports.delta("id-n1", Delta((mine, other)))
        reply = await ClientService(world.cluster).get_workload(wire.GetWorkloadRequest(name="web"))
        assert [c.status.name for c in reply.containers if c.status] == ["web.0.web"]
        assert json.loads(reply.spec)["containers"][0]["env"] == {"A": "1"}
        assert {e.subject for e in reply.events} == {"web"}
        first.disconnect()
        await second.settle(20)
        shown = await one(world)
        assert sorted(i.stale for i in shown.instances) == [False, True]


@virtual_time
async def test_workloads_are_selected() -> None:
    async with master() as world:
        n1 = await agent(world, "n1")
        labelled = json.loads(document("tagged"))
        labelled["metadata"]["labels"] = {"zone": "front"}
        labelled["spec"]["placement"] = {"nodes": ["nowhere"]}
        await apply(world, document(), document("db"), json.dumps(labelled))
        await settled([n1])
        n1.report()
        service = ClientService(world.cluster)

        async def names(**fields: str) -> list[str]:
            reply = await service.get_workloads(wire.GetWorkloadsRequest(**fields))
            return [w.name for w in reply.workloads]

        assert await names() == ["db", "tagged", "web"]
        assert await names(filter="zone=front") == ["tagged"]
        assert await names(filter=".state=Running") == ["db", "web"]
        assert await names(filter=".settled=true,.failed=true") == ["tagged"]
        assert await names(node="n1", filter=".name!=db") == ["web"]
        with pytest.raises(InvalidSpec, match="there are"):
            await names(filter=".colour=red")
        with pytest.raises(NotFound):
            await names(node="n9")
        with pytest.raises(NotFound, match='did you mean "web"'):
            await one(world, "wep")


@virtual_time
async def test_history_and_going_back() -> None:
    async with master() as world:
        service = ClientService(world.cluster)
        for image in ("v1", "v2"):
            await apply(world, document(image=image))
        reply = await service.roll_back_workload(wire.RollBackWorkloadRequest(name="web"))
        assert reply.change is not None
        assert (reply.change.what, reply.change.generation) == ("rolled back", 3)
        assert [f.after for f in reply.change.fields] == ['"v1"']
        assert caller().subject == "workload web"
        history = await service.get_history(wire.GetHistoryRequest(name="web"))
        shown = [
            (g.number, g.by, g.cause, [f.after for f in g.fields]) for g in history.generations
        ]
        assert shown == [
            (1, "admin:anna", "apply", []),
            (2, "admin:anna", "apply", ['"v2"']),
            (3, "admin:anna", "rollback to 1", ['"v1"']),
        ]
        specs = [json.loads(g.spec)["containers"][0]["image"] for g in history.generations]
        assert specs == ["v1", "v2", "v1"]
        with pytest.raises(NotFound):
            await service.get_history(wire.GetHistoryRequest(name="nothing"))


@virtual_time
async def test_a_long_history_fits_into_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_views, "_SPECS_BYTES", 5500)
    async with master() as world:
        for number in range(12):
            await apply(world, document(env={"A": "x" * 1000, "N": str(number)}))
        service = ClientService(world.cluster)
        reply = await service.get_history(wire.GetHistoryRequest(name="web"))
        assert [bool(g.spec) for g in reply.generations] == [False] * 6 + [True] * 5


@virtual_time
async def test_deleting_by_name_and_by_document() -> None:
    async with master() as world:
        n1 = await agent(world)
        await apply(world, document("db"), document(dependsOn=[{"workload": "db"}]))
        await settled([n1])
        n1.report()
        service = ClientService(world.cluster)
        delete = wire.DeleteWorkloadsRequest(names=["db"])
        with pytest.raises(Conflict, match="--cascade"):
            await service.delete_workloads(delete)
        broken = wire.DeleteWorkloadsRequest(sources=[source("a: [")])
        assert (await service.delete_workloads(broken)).problems
        with pytest.raises(InvalidSpec, match="name the workloads"):
            await service.delete_workloads(wire.DeleteWorkloadsRequest())
        both = wire.DeleteWorkloadsRequest(sources=[source(document("db"), document())])
        reply = await service.delete_workloads(both)
        assert [f"{c.what} {c.name}" for c in reply.changes] == ["deleted db", "deleted web"]
        assert [f"{s.verb} {s.workload}" for s in reply.plan] == ["stop web"]  # dependents first
        assert caller().subject == "workloads db, web"
        shown = await one(world)
        assert (shown.deleting, shown.state) == (True, "Stopping")
        for _ in range(4):
            await n1.settle()
            n1.report()
        assert world.cluster.state.declared() == {}


@virtual_time
async def test_a_restart_is_told_and_carried_out() -> None:
    async with master() as world:
        n1 = await agent(world)
        await apply(world, document())
        await settled([n1])
        n1.report()
        before = n1.instances()["web.0"].hash
        service = ClientService(world.cluster)
        reply = await service.restart_workloads(wire.RestartWorkloadsRequest(names=["web"]))
        assert [f"{c.what} {c.name} {c.generation}" for c in reply.changes] == ["restarted web 1"]
        assert not (await one(world)).settled
        await settled([n1])
        n1.report()
        assert n1.instances()["web.0"].hash != before
        assert (await one(world)).settled


# ---- watching ----


class Client:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.news = asyncio.Event()

    async def follow(self, responses: AsyncIterator[wire.WatchResponse]) -> None:
        async for r in responses:
            name = f" {r.workload.name} {r.workload.state}" if r.workload else ""
            self.log.append(f"{wire.ChangeType(r.type).name}{name}")
            self.news.set()


@asynccontextmanager
async def watching(world: World, **fields: Any) -> AsyncIterator[Client]:
    client = Client()
    request = wire.WatchRequest(kind=wire.WatchKind.WORKLOAD, **fields)
    responses = ClientService(world.cluster).watch(request)
    task = asyncio.create_task(client.follow(responses))
    await asyncio.sleep(0.01)
    yield client
    task.cancel()
    await asyncio.wait([task])


@virtual_time
async def test_a_watch_hears_of_each_change_at_once_and_of_nothing_else() -> None:
    async with master() as world:
        n1 = await agent(world)
        await apply(world, document("db"))
        async with watching(world, names=["web"]) as client, watching(world) as everything:
            assert client.log == ["SYNCED"]
            await apply(world, document(), document("other"))
            await settled([n1])
            assert client.log[1] == "ADDED web Pending"
            assert client.log[-1] == "MODIFIED web Starting"
            client.news.clear()
            n1.report(phase=Phase.STARTING, ready=False)
            n1.report()
            async with asyncio.timeout(0.001):
                await client.news.wait()
            await asyncio.sleep(0)
            assert client.log[-1] == "MODIFIED web Running"
            known = list(client.log)
            for _ in range(30):
                await n1.settle(1)  # pulses, heartbeats and whatever else comes by itself
            await apply(world, document("db", "v2"))
            assert client.log == known
            n1.disconnect()
            await asyncio.sleep(60)
            assert client.log[-1] == "MODIFIED web Pending"
            assert len(client.log) <= len(known) + 2  # it is suspect, then not ready
            n1.connect()
            await settled([n1], 2)
            delete = wire.DeleteWorkloadsRequest(names=["web"])
            await ClientService(world.cluster).delete_workloads(delete)
            await asyncio.sleep(0.1)
            assert client.log[-1] == "MODIFIED web Stopping"
            await n1.settle()
            n1.report()
            await asyncio.sleep(0.1)
            assert client.log[-1] == "DELETED web Stopping"
            assert not any("db" in line or "other" in line for line in client.log)
            assert any("other" in line for line in everything.log)


@virtual_time
async def test_what_cannot_be_placed_is_told_at_once_and_taken_back_as_soon() -> None:
    """And what was said of an older generation never counts."""
    async with master() as world:
        n1 = await agent(world)
        await apply(world, document(placement={"nodes": ["n9"]}))
        await asyncio.sleep(0.1)
        shown = await one(world)
        assert (shown.state, shown.reason, shown.failed) == ("Pending", "Unplaced", True)
        async with watching(world, names=["web"]) as client:
            world.store.gate.clear()
            change = asyncio.create_task(apply(world, document(placement={"nodes": ["n8"]})))
            await asyncio.sleep(0.1)
            world.store.gate.set()
            await change
            shown = await one(world)
            assert (shown.generation, shown.settled) == (2, False)  # nobody has planned yet
            await asyncio.sleep(0.1)
            shown = await one(world)
            assert (shown.settled, shown.failed) == (True, True)
            assert client.log[-1] == "MODIFIED web Pending"
            before = len(client.log)
            await apply(world, document())
            await settled([n1])
            n1.report()
            await asyncio.sleep(0.1)
            assert client.log[-1] == "MODIFIED web Running"
            assert len(client.log) > before


@virtual_time
async def test_a_watch_of_a_selection() -> None:
    async with master() as world:
        n1, n2 = await agent(world, "n1"), await agent(world, "n2")
        await apply(world, document(placement={"nodes": ["n1"]}), document("db"))
        await settled([n1, n2])
        async with watching(world, filter=".state=Running") as client:
            assert client.log == ["SYNCED"]
            n1.report("web.0")
            await asyncio.sleep(0.05)
            assert client.log[1:] == ["ADDED web Running"]
            n1.report("web.0", phase=Phase.CRASH_LOOP, ready=False)
            await asyncio.sleep(0.05)
            assert client.log[2:] == ["DELETED web Running"]
        async with watching(world, node="n1", names=["web", "db"]) as client:
            assert "ADDED web CrashLoop" in client.log
        async with watching(world, node="n2") as client:
            assert not any("web" in line for line in client.log)
        with pytest.raises(InvalidSpec):
            ClientService(world.cluster).watch(
                wire.WatchRequest(kind=wire.WatchKind.WORKLOAD, filter=".x=y")
            )
