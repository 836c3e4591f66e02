"""The agent's way to its master and back to it: with a real master, in one process."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from grpclib import GRPCError, Status

from piccolo.agent import master_link
from piccolo.config.settings import Discovery
from piccolo.core.model import NodeState
from piccolo.core.nodes.pulse import ANSWER, PULSE, Pulse, decode, encode
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire
from piccolo.rpc.datagram import Datagrams, Source, bind
from tests.agent.world import SETTLE, Conversation, agent, master, scripted, settle, until
from tests.master import insiders
from tests.master.memory_store import Disk
from tests.master.virtual_time import now, virtual_time

READY, NOT_READY = NodeState.READY, NodeState.NOT_READY


def state_of(cluster: Cluster, name: str = "n1") -> tuple[NodeState, str]:
    status = cluster.state.status(f"id-{name}")
    return status.state, status.reason


def states(cluster: Cluster, name: str = "n1") -> dict[str, str]:
    return {c.name: c.state for c in cluster.state.containers(f"id-{name}")}


def connected(cluster: Cluster) -> bool:
    return state_of(cluster)[0] is READY and bool(cluster.sessions.all())


def seen(cluster: Cluster, container: str) -> bool:
    return container in states(cluster)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ---- with a real master ----


@virtual_time(settle=SETTLE)
async def test_a_node_joins_and_its_containers_are_seen() -> None:
    async with master() as cluster, agent(cluster.pulse_port) as a:
        a.runtime.run("web")
        async with asyncio.timeout(3):
            await until(lambda: state_of(cluster) == (READY, "Synced"))
            await until(lambda: states(cluster) == {"web": "running"})
        a.runtime.end("web", 1)
        a.runtime.run("db")
        await until(lambda: states(cluster) == {"web": "exited", "db": "running"}, 1)
        node = cluster.state.find_node("n1")
        assert node.labels == {"zone": "front"}
        assert a.identity.cluster_id == cluster.id
        await asyncio.sleep(20)
        live = cluster.state.live(node.id)
        assert (live.connected, live.datagrams, live.suspect) == (True, True, False)
        assert live.usage is not None
        assert cluster.state.usage(node.id)
        result = await cluster.sessions.call(
            node.id, lambda: wire.Call(health=wire.HealthCheck()), 5
        )
        assert result.health is not None
        assert result.health.containers == 2
        assert [e.reason for e in cluster.events.newest()][:4] == [
            "Registered",
            "Admitted",
            "NodeAdopted",  # it came with a certificate, and the store did not know it
            "Synced",
        ]


@virtual_time(settle=SETTLE)
async def test_a_node_that_waits_for_approval_goes_on_by_itself() -> None:
    async with master(discovery=Discovery.LISTED) as cluster, agent(cluster.pulse_port):
        await until(lambda: cluster.sessions.all())
        await asyncio.sleep(15)
        assert state_of(cluster) == (NodeState.PENDING, "NotListed")
        await cluster.nodes.approve("n1")
        assert state_of(cluster)[0] is READY


@virtual_time(settle=SETTLE)
async def test_a_node_that_is_removed_stays_out() -> None:
    async with master() as cluster, agent(cluster.pulse_port) as a:
        await until(lambda: state_of(cluster)[0] is READY)
        await cluster.remove("n1")
        async with asyncio.timeout(2):
            await a.run
        await asyncio.sleep(20)
        assert cluster.state.nodes() == []


@virtual_time(settle=SETTLE)
async def test_an_agent_that_stops_is_not_ready_at_once() -> None:
    async with master() as cluster:
        async with agent(cluster.pulse_port) as a:
            await until(lambda: state_of(cluster)[0] is READY)
            await a.link.say_goodbye()
        assert state_of(cluster) == (NOT_READY, "AgentStopped")
        async with agent(cluster.pulse_port):
            await until(lambda: state_of(cluster) == (READY, "Recovered"), 3)


@virtual_time(settle=SETTLE)
async def test_a_master_that_restarts_finds_all_as_it_was() -> None:
    disk, port = settle(Disk()), free_port()
    generations = []
    async with agent(port) as a:
        await asyncio.sleep(20)  # nobody is there yet
        for _ in range(3):
            async with master(disk, port) as cluster:
                await until(partial(connected, cluster), 8)
                generations.append(cluster.state.live("id-n1").generation)
                name = f"c{len(generations)}"
                a.runtime.run(name)
                await until(partial(seen, cluster, name), 2)
                await asyncio.sleep(10)
                told = [e.reason for e in cluster.events.newest()]
            a.runtime.end(name)
            await asyncio.sleep(3)
    assert sorted(set(generations)) == generations
    assert told.count("Registered") == 1
    assert not {"ConnectionClosed", "Silent", "Recovered"} & set(told), "nobody was blamed"


@virtual_time(settle=SETTLE)
async def test_others_are_told_how_the_link_fares() -> None:
    disk, port = settle(Disk()), free_port()
    told: list[tuple[str, str]] = []
    async with agent(port) as a:
        a.link.on_link = lambda master, trouble: told.append((master, trouble))
        await asyncio.sleep(60)
        [(nobody, refused)] = told  # of many attempts
        assert nobody == ""
        assert f"127.0.0.1:{port}" in refused
        async with master(disk, port) as cluster:
            await until(partial(connected, cluster), 8)
            assert told[1:] == [(f"127.0.0.1:{port}", "")]
        await asyncio.sleep(60)
        assert told[-1] == ("", refused)
        assert [master for master, _ in told[2:]] == [""] * len(told[2:])


@virtual_time(settle=SETTLE)
async def test_the_first_master_that_answers_is_taken_and_kept() -> None:
    nobody = free_port()
    async with master() as cluster, agent(nobody, cluster.pulse_port) as a:
        await until(lambda: state_of(cluster)[0] is READY)
        assert [m.port for m in a.link._masters] == [cluster.pulse_port, nobody]


@virtual_time(settle=SETTLE)
async def test_a_store_that_is_away_keeps_a_new_node_waiting_and_an_old_one_ready() -> None:
    disk = settle(Disk())
    async with master(disk) as cluster, agent(cluster.pulse_port):
        await until(lambda: state_of(cluster)[0] is READY)
        store = cluster.state._store._backing
        store.away = "no route to etcd"  # type: ignore[attr-defined]
        async with agent(cluster.pulse_port, name="n2") as second:
            await asyncio.sleep(20)
            assert [n.name for n in cluster.state.nodes()] == ["n1"]
            assert state_of(cluster)[0] is READY
            assert not second.run.done()
            store.away = ""  # type: ignore[attr-defined]
            await until(lambda: state_of(cluster, "n2")[0] is READY, 10)


# ---- back-off ----


@virtual_time(settle=SETTLE)
async def test_pauses_grow_and_begin_anew_after_a_good_session() -> None:
    lasting = 0.0

    async def breaks(c: Conversation) -> None:
        await c.welcome()
        try:
            async with asyncio.timeout(lasting):
                await c.serve()
        except TimeoutError:
            raise GRPCError(Status.UNAVAILABLE, "broken") from None

    async with scripted(breaks) as m, agent(m.port):
        await asyncio.sleep(60)
        pauses = [b.opened_at - a.opened_at for a, b in pairwise(m.conversations)]
        assert pauses[0] < 0.6
        assert all(2.4 < p < 5.6 for p in pauses[6:])
        lasting = 12.0
        await asyncio.sleep(40)
        since_end = m.conversations[-1].opened_at - m.conversations[-2].opened_at - lasting
        assert since_end < 0.6


@virtual_time(settle=SETTLE)
async def test_an_answered_probe_cuts_the_pause_short() -> None:
    way_is_free = False
    master_socket: Datagrams

    def received(datagram: bytes, source: Source) -> None:
        pulse = decode(datagram, b"k" * 32, PULSE)
        if pulse is not None and way_is_free:
            master_socket.send(encode(Pulse(ANSWER, 1, pulse.seq, 0), b"k" * 32), source)

    master_socket = await bind("127.0.0.1", 0, received)
    assert master_socket._transport is not None
    port = master_socket._transport.get_extra_info("sockname")[1]
    good = True

    async def script(c: Conversation) -> None:
        if not good:
            raise GRPCError(Status.UNAVAILABLE, "not yet")
        await c.welcome(pulse_port=port)
        await asyncio.sleep(1)

    async with scripted(script) as m, agent(m.port):
        await until(lambda: m.conversations)
        good = False
        await asyncio.sleep(60)
        pauses = [b.opened_at - a.opened_at for a, b in pairwise(m.conversations[-4:])]
        assert min(pauses) > 2.4, "it waits long by now"
        await asyncio.sleep(max(0.0, m.conversations[-1].opened_at + 0.3 - now()))
        count = len(m.conversations)
        way_is_free, good = True, True
        await until(lambda: len(m.conversations) > count, 1.0)
    master_socket.close()
    await asyncio.sleep(0.1)


@virtual_time(settle=SETTLE)
async def test_many_agents_do_not_come_back_in_step() -> None:
    async def refuses(c: Conversation) -> None:
        raise GRPCError(Status.UNAVAILABLE, "not yet")

    async with scripted(refuses) as m:
        agents = [agent(m.port, name=f"n{i}") for i in range(8)]
        async with asyncio.timeout(100):
            for a in agents:
                await a.__aenter__()
            await asyncio.sleep(20)
            last = {c.hello.node_id: c.opened_at for c in m.conversations}
            for a in agents:
                await a.__aexit__(None, None, None)
        assert len({round(t, 2) for t in last.values()}) >= 6


# ---- cancellation ----


def sockets() -> int:
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(file).startswith("socket:")
        except FileNotFoundError:  # the directory's own
            continue
    return found


@virtual_time(settle=SETTLE)
async def test_an_agent_cancelled_at_any_moment_leaves_nothing() -> None:
    """No task (see `virtual_time`), no socket on either side, no session."""
    async with master() as cluster:
        await asyncio.sleep(0.1)  # its own tasks have begun
        before, tasks = sockets(), len(asyncio.all_tasks())
        reached = set()
        for turns in [*range(0, 60, 2), *range(60, 160, 10), 400]:
            async with agent(cluster.pulse_port) as a:
                for _ in range(turns):
                    await asyncio.sleep(0)
                reached.add((bool(cluster.sessions.all()), a.pulser.pacer is not None))
            await until(lambda: sockets() == before and not cluster.sessions.all(), 5)
            await until(lambda: len(asyncio.all_tasks()) == tasks, 5)
        assert reached >= {(False, False), (True, True)}, "else these were not all the moments"


@pytest.mark.parametrize("tls", [False, True])
@virtual_time(settle=SETTLE)
async def test_an_agent_cancelled_while_its_master_hangs_leaves_nothing(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that accepts, and never says a word; or (`tls`) none behind the handshake."""
    monkeypatch.setattr(master_link, "CALL", 3.0)
    connections = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    context = insiders.serving_tls() if tls else None
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    before = sockets()
    for seconds in (0.0, 0.01, 1.0, 2.9, 3.5, 8.0):
        async with agent(server.sockets[0].getsockname()[1]) as a:
            await asyncio.sleep(seconds)
            assert not a.run.done()
        await until(lambda: sockets() == before, 5)
    assert len(connections) >= 6
    server.close()
    await server.wait_closed()
