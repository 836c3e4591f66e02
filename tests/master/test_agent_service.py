"""The agents' service over real gRPC, against agents that do as they like."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel, Stream
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.exceptions import StreamTerminatedError

from piccolo.config.settings import MasterSettings
from piccolo.core.model import Container, NodeState
from piccolo.core.report import Report
from piccolo.core.security.access import MASTER_NAME, Principal, Role
from piccolo.core.workloads import containers as core
from piccolo.core.workloads.declared import Declared
from piccolo.core.workloads.instances import InstanceStatus, Phase
from piccolo.core.workloads.workload import Workload
from piccolo.master import keys
from piccolo.master.api_server import agent_service
from piccolo.master.cluster import Cluster
from piccolo.roles.master import serving
from piccolo.rpc import convert, wire
from piccolo.rpc.codec import Codec
from tests.master.insiders import authority, client, insider, machine
from tests.master.security.audit_world import records
from tests.master.world import until

SESSION = "/piccolo.v1.NodeAgentService/Session"
WEB, DB = Container("1", "web"), Container("2", "db")


class HandAgent:
    """Says what the test says, and keeps what it is told."""

    def __init__(self, channel: Channel, name: str) -> None:
        self.channel = channel
        self.name = name
        self.stub = wire.NodeAgentServiceStub(channel)
        self.stream: Stream[wire.AgentMessage, wire.MasterMessage]
        self.welcome = wire.Welcome()
        self.seq = 0

    async def register(self, **fields: Any) -> wire.NodeRegistrationResponse:
        values: dict[str, Any] = {"node_id": f"id-{self.name}", "hostname": self.name, **fields}
        return await self.stub.register_node(wire.NodeRegistrationRequest(**values), timeout=5)

    async def hello(self, instance: str = "run-1", **fields: Any) -> wire.Welcome:
        """Registers, opens a session, waits for Welcome."""
        await self.register(instance_id=instance)
        await self.open()
        hello = wire.Hello(node_id=f"id-{self.name}", instance_id=instance, protocol=1, **fields)
        await self.say(hello=hello)
        message = await self.hear()
        assert message.welcome is not None
        self.welcome = message.welcome
        return self.welcome

    async def open(self) -> None:
        self.seq = 0
        self.stream = self.channel.request(
            SESSION, Cardinality.STREAM_STREAM, wire.AgentMessage, wire.MasterMessage
        )
        await self.stream.__aenter__()

    async def say(self, **body: Any) -> None:
        self.seq += 1
        await self.stream.send_message(wire.AgentMessage(seq=self.seq, **body))

    async def hear(self) -> wire.MasterMessage:
        async with asyncio.timeout(5):
            message = await self.stream.recv_message()
        assert message is not None, "the master ended the stream"
        return message

    async def hear_until(self, what: str) -> Any:
        while True:
            name, value = wire.which_one_of(await self.hear(), "body")
            if name == what:
                return value

    async def beat(self, *containers: Container, usage: wire.NodeUsage | None = None) -> None:
        digest, count = Report(containers).digest, len(containers)
        await self.say(heartbeat=wire.Beat(digest=digest, containers=count, usage=usage))

    async def fate(self) -> Status:
        """How the master ended the stream."""
        try:
            try:
                async with asyncio.timeout(5):
                    while await self.stream.recv_message() is not None:
                        pass
                raise StreamTerminatedError("ended")
            except StreamTerminatedError as error:  # then grpclib looks at the status
                await self.stream.__aexit__(type(error), error, None)
        except GRPCError as error:
            return error.status
        return Status.OK


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with serving(MasterSettings(data_dir=str(tmp_path), listen="127.0.0.1:0")) as cluster:
        yield cluster


@asynccontextmanager
async def agent(
    cluster: Cluster, config: Configuration | None = None, name: str = "n1"
) -> AsyncIterator[HandAgent]:
    """With a certificate of the node."""
    tls = await insider(cluster, Principal(Role.AGENT, f"id-{name}"))
    config = replace(config or Configuration(), ssl_target_name_override=MASTER_NAME)
    channel = Channel("127.0.0.1", cluster.pulse_port, codec=Codec(), config=config, ssl=tls)
    try:
        yield HandAgent(channel, name)
    finally:
        channel.close()
        await asyncio.sleep(0)


def state_of(cluster: Cluster, name: str = "n1") -> tuple[NodeState, str]:
    status = cluster.state.status(f"id-{name}")
    return status.state, status.reason


def told(*containers: Container) -> dict[str, Any]:
    return {"containers": [convert.container_to_wire(c) for c in containers]}


async def test_a_session_from_hello_to_goodbye(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        reply = await a.register()
        assert reply.status == wire.RegistrationStatus.REGISTERED
        assert reply.cluster_info is not None
        assert reply.cluster_info.id == cluster.id
        welcome = await a.hello()
        assert welcome.pulse_port == cluster.pulse_port
        assert len(welcome.session_key) == 32
        assert not welcome.need_snapshot, "both know nothing"
        assert state_of(cluster)[0] is NodeState.INITIALIZING
        await a.say(delta=wire.StatusDelta())
        await a.beat(usage=wire.NodeUsage(cpu_percent=7))
        assert (await a.hear_until("heartbeat_ack")).seq == 3
        assert state_of(cluster) == (NodeState.READY, "Synced")
        usage = cluster.state.live("id-n1").usage
        assert usage is not None
        assert usage.cpu_percent == 7
        await a.say(goodbye=wire.Goodbye(reason="AgentStopping"))
        await until(lambda: state_of(cluster) == (NodeState.NOT_READY, "AgentStopped"))
        assert await a.fate() is Status.OK


async def test_reports_are_kept_in_step(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        welcome = await a.hello(digest=Report([WEB, DB]).digest, containers=2)
        assert welcome.need_snapshot
        await a.say(snapshot=wire.StatusSnapshot(**told(WEB, DB)))
        await a.beat(WEB, DB)
        await a.hear_until("heartbeat_ack")
        assert len(cluster.state.containers("id-n1")) == 2

        await a.say(delta=wire.StatusDelta(removed=["2"]))
        await a.beat(WEB, DB)  # the agent knows better
        assert "digests differ" in (await a.hear_until("resync")).reason
        await a.say(snapshot=wire.StatusSnapshot(**told(WEB, DB)))
        await a.beat(WEB, DB)
        message = await a.hear()
        assert message.heartbeat_ack is not None

        a.seq += 1  # one is lost on the way
        await a.say(delta=wire.StatusDelta(removed=["1"]))
        assert "is missing" in (await a.hear_until("resync")).reason
    async with agent(cluster) as a:
        welcome = await a.hello(digest=Report([DB]).digest, containers=1)
        assert not welcome.need_snapshot, "the master still holds the same"


async def test_what_a_newer_agent_says_is_no_harm(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        await a.hello()
        await a.say()
        await a.say(config_ack=wire.ConfigAck(error="what is cellular?"))
        await a.say(result=wire.CallResult(call_id=77))
        await a.beat()
        await a.hear_until("heartbeat_ack")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"heartbeat": wire.Beat()}, Status.INVALID_ARGUMENT),
        ({}, Status.INVALID_ARGUMENT),
        ({"hello": wire.Hello(node_id="id-n1")}, Status.NOT_FOUND),
        ({"hello": wire.Hello(node_id="nobody")}, Status.PERMISSION_DENIED),
        ({"hello": wire.Hello()}, Status.PERMISSION_DENIED),
    ],
)
async def test_a_session_that_begins_wrongly(
    cluster: Cluster, body: dict[str, Any], status: Status
) -> None:
    async with agent(cluster) as a:
        await a.open()
        await a.say(**body)
        assert await a.fate() is status
        assert cluster.sessions.all() == []


async def test_a_session_without_hello(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_service, "_HELLO_WITHIN", 0.2)
    async with agent(cluster) as a:
        await a.open()
        await a.stream.send_request()
        assert await a.fate() is Status.INVALID_ARGUMENT
    async with agent(cluster) as a:
        await a.open()
        await a.stream.send_request()
        await a.stream.end()
        assert await a.fate() is Status.INVALID_ARGUMENT


@pytest.mark.parametrize("container", [Container("", "no id"), Container("a/b", "odd")])
async def test_a_report_that_cannot_be_kept_ends_the_session(
    cluster: Cluster, container: Container
) -> None:
    async with agent(cluster) as a:
        await a.hello()
        await a.say(delta=wire.StatusDelta(**told(container)))
        assert await a.fate() is Status.INVALID_ARGUMENT
        await until(lambda: not cluster.sessions.all())
        assert cluster.state.containers("id-n1") == []


async def test_a_clone_is_refused_while_the_first_lives(cluster: Cluster) -> None:
    async with agent(cluster) as a, agent(cluster) as clone:
        await a.hello()
        for _ in range(2):
            with pytest.raises(GRPCError, match="data directory is a copy") as caught:
                await clone.hello(instance="run-2")
            assert caught.value.status is Status.ALREADY_EXISTS
        assert [e.reason for e in cluster.events.newest()].count("DuplicateIdentity") == 1
        await a.beat()
        await a.hear_until("heartbeat_ack")


async def test_a_restarted_agent_replaces_a_silent_one(cluster: Cluster) -> None:
    async with agent(cluster) as a, agent(cluster) as b:
        await a.hello()
        first = a.welcome.generation
        await a.hello(instance="run-1")  # the same agent, over a second stream
        assert a.welcome.generation > first
        link = cluster.monitoring._links["id-n1"]
        link._heard_at -= 10  # it is silent
        await b.hello(instance="run-2")
        assert (await a.hear_until("goodbye")).reason == "Replaced"
        # Its number is no longer valid in single calls either.
        beat = wire.HeartbeatRequest(node_id="id-n1", generation=first)
        with pytest.raises(GRPCError) as caught:
            await a.stub.heartbeat(beat, timeout=5)
        assert caught.value.status is Status.FAILED_PRECONDITION
        beat.generation = b.welcome.generation
        assert (await a.stub.heartbeat(beat, timeout=5)).next_interval_ms == 10_000


async def test_single_calls_instead_of_a_session(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        await a.hello()
        report = wire.StatusReport(
            node_id="id-n1",
            generation=a.welcome.generation,
            alerts=[wire.AlertInfo(severity=wire.Severity.ERROR, reason="Hot", message="90 °C")],
            **told(WEB),
        )
        assert (await a.stub.report_status(report, timeout=5)).accepted
        assert cluster.state.containers("id-n1") == [WEB]
        assert [e.message for e in cluster.events.newest() if e.reason == "Hot"] == ["90 °C"]
        request = wire.ConfigRequest(node_id="id-n1")
        config = (await a.stub.receive_config(request, timeout=5)).config
        assert config is not None
        request.known_version = config.version
        assert not (await a.stub.receive_config(request, timeout=5)).changed


async def trail(cluster: Cluster, actor: str) -> list[tuple[str, str, str]]:
    """What was denied to somebody: the action, its object, and why."""
    await cluster.audit._write(sync=False)
    found = [r.entry for r in records(cluster.audit._files.directory)]
    return [(e.action, e.object, e.reason) for e in found if e.actor == actor and not e.allowed]


async def test_what_is_another_nodes_is_refused_and_noted(cluster: Cluster) -> None:
    async with agent(cluster) as a, agent(cluster, name="n2") as other:
        generation = (await a.hello()).generation
        await other.hello()
        stub, id_ = other.stub, "id-n1"
        for call in (
            stub.heartbeat(wire.HeartbeatRequest(node_id=id_, generation=generation), timeout=5),
            stub.report_status(
                wire.StatusReport(node_id=id_, generation=generation, **told(WEB)), timeout=5
            ),
            stub.receive_config(wire.ConfigRequest(node_id=id_), timeout=5),
            other.register(node_id=id_, hostname="n1", labels={"stolen": "yes"}),
        ):
            with pytest.raises(GRPCError, match="is of node id-n2, not of id-n1") as caught:
                await call
            assert caught.value.status is Status.PERMISSION_DENIED
        await other.open()
        await other.say(hello=wire.Hello(node_id=id_, instance_id="run-1", protocol=1))
        assert await other.fate() is Status.PERMISSION_DENIED
        assert (cluster.state.containers(id_), cluster.state.find_node("n1").labels) == ([], {})
        assert cluster.sessions.of_node(id_) is not None
        denied = await trail(cluster, "agent:id-n2")
        methods = ("Heartbeat", "ReportStatus", "ReceiveConfig", "RegisterNode", "Session")
        assert [(action, subject) for action, subject, _ in denied] == [
            (method, "node id-n1") for method in methods
        ]


async def test_a_certificate_of_another_authority_is_noted(cluster: Cluster) -> None:
    who = Principal(Role.AGENT, "id-n1")
    tls = client(who, machine("id-n1"), authority())
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    for _ in range(6):
        with contextlib.suppress(OSError):  # told why by an alert, if the connection lives so long
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.pulse_port, ssl=tls)
            await reader.read(1)
            writer.transport.abort()
    await until(lambda: cluster.access.blocked("127.0.0.1") > 0)
    denied = await trail(cluster, "anonymous")
    assert {action for action, _, _ in denied} == {"TLSHandshake"}
    assert "SourceBlocked" in [e.reason for e in cluster.events.newest()]
    async with agent(cluster) as a:  # who has one of ours may share the address
        await a.hello()


async def test_an_agent_that_takes_nothing_is_given_up(cluster: Cluster) -> None:
    """Its stream is full: not even the goodbye gets through, and nobody waits for that."""
    tight = Configuration(http2_stream_window_size=65_535, http2_connection_window_size=65_535)
    async with agent(cluster, tight) as a:
        await a.register(instance_id="run-1")
        await asyncio.sleep(0.1)
        tasks = len(asyncio.all_tasks())
        await a.hello()
        session = cluster.sessions.of_node("id-n1")
        assert session is not None
        big = wire.MasterMessage(resync=wire.ResyncRequest(reason="x" * 60_000))
        for _ in range(4):
            session.send(big)
            await asyncio.sleep(0.01)
        session.end()
        await until(lambda: cluster.sessions.of_node("id-n1") is None, 0.5)
        await until(lambda: len(asyncio.all_tasks()) == tasks, 3)
        await until(lambda: state_of(cluster) == (NodeState.NOT_READY, "ConnectionClosed"), 3)


@pytest.mark.parametrize("final", [True, False])
async def test_the_goodbye_is_heard(tmp_path: Path, final: bool) -> None:
    settings = MasterSettings(data_dir=str(tmp_path), listen="127.0.0.1:0")
    async with serving(settings) as cluster, agent(cluster) as a:
        await a.hello()
        if final:
            await cluster.remove("n1")
        else:
            cluster.stop()
        await asyncio.sleep(0.1)  # the agent is busy
        goodbye = await a.hear_until("goodbye")
        assert (goodbye.final, goodbye.reason) == (final, "Removed" if final else "MasterStopping")
        assert await a.fate() is Status.OK
        if final:
            with pytest.raises(GRPCError, match="the node was removed") as caught:
                await a.stub.receive_config(wire.ConfigRequest(node_id="id-n1"), timeout=5)
            assert caught.value.status is Status.PERMISSION_DENIED


async def test_a_connection_that_breaks_ends_its_session(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        await a.hello()
        await a.say(delta=wire.StatusDelta())
        await a.beat()
        await a.hear_until("heartbeat_ack")
    await until(lambda: cluster.sessions.all() == [], 2)
    assert state_of(cluster)[0] is NodeState.READY, "it has a moment to come back"


@pytest.mark.parametrize("when", [0, 2, 5, 9, 14, 20, 30, 45])
async def test_a_master_that_stops_at_any_moment_leaves_nothing_running(
    tmp_path: Path, when: int
) -> None:
    """The guard of the tests looks for tasks; a second master finds lock and ports free."""
    settings = MasterSettings(data_dir=str(tmp_path), listen="127.0.0.1:0")

    async def life() -> None:
        async with serving(settings) as cluster, agent(cluster) as a:
            await a.hello()
            await a.beat()
            await asyncio.sleep(10)

    running = asyncio.create_task(life())
    await _steps(when, running.done)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    async with serving(settings) as cluster:
        assert cluster.pulse_port


async def _steps(count: int, done: Callable[[], bool]) -> None:
    """Lets the loop turn so many times; each turn is a moment at which something happens."""
    for _ in range(count):
        if done():
            return
        await asyncio.sleep(0.001)


# ---- workloads ----


async def declared(cluster: Cluster, *names: str) -> None:
    now = cluster.clock.utc()
    made = [Workload(name, (core.Container("main", "v1"),)) for name in names]
    await cluster.state.commit(
        {keys.workload(one.name): Declared(one, 1, now, now) for one in made}
    )


def instance(name: str = "web", phase: Phase = Phase.RUNNING, **fields: Any) -> InstanceStatus:
    return InstanceStatus(name, 0, 1, phase, **fields)


async def test_the_desired_state_over_a_session(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        await a.hello(held=[wire.HeldInstance(key="old.0", digest=7)])
        first = await a.hear_until("desired")
        assert (first.removed, first.set, first.last, first.digest) == (["old.0"], [], True, 0)
        await a.say(desired_ack=wire.DesiredAck())
        await a.say(delta=wire.StatusDelta())
        await declared(cluster, "web")
        second = await a.hear_until("desired")
        assert [i.key for i in second.set] == ["web.0"]
        await a.say(desired_ack=wire.DesiredAck(error="no space left on device"))
        await a.say(heartbeat=wire.Beat())
        again = await a.hear_until("desired")
        assert again.set == second.set
        assert [e.reason for e in cluster.events.newest() if e.kind == "node"][-1] == (
            "WorkloadsNotTaken"
        )
        await a.say(desired_ack=wire.DesiredAck(digest=again.digest))
        await a.say(heartbeat=wire.Beat(desired_digest=again.digest))
        await a.hear_until("heartbeat_ack")
        await a.say(heartbeat=wire.Beat(desired_digest=1))
        assert (await a.hear_until("desired")).reset
        held = wire.HeldInstance(key="web.0", digest=again.digest)
    async with agent(cluster) as a:
        await a.hello(held=[held])
        greeting = await a.hear_until("desired")
        assert (greeting.set, greeting.removed) == ([], [])
        assert greeting.digest == again.digest


async def test_what_becomes_of_instances_is_reported(cluster: Cluster) -> None:
    async with agent(cluster) as a:
        await a.hello()
        web, db = instance(ready=True), instance("db", Phase.PULLING, message="30 %")
        both = [convert.instance_status_to_wire(s) for s in (web, db)]
        await a.say(snapshot=wire.StatusSnapshot(instances=both, **told(WEB)))
        digest = Report([WEB], [web, db]).digest
        await a.say(heartbeat=wire.Beat(digest=digest, containers=1))
        assert (await a.hear()).desired is not None
        assert (await a.hear()).heartbeat_ack is not None, "and nothing to repair"
        assert set(cluster.state.seen().values()) == {web, db}
        await a.say(delta=wire.StatusDelta(removed_instances=["db.0"]))
        await a.beat(WEB)
        assert "digests differ" in (await a.hear_until("resync")).reason
        report = wire.StatusReport(node_id="id-n1", generation=a.welcome.generation, **told(DB))
        await a.stub.report_status(report, timeout=5)
        assert cluster.state.seen() == {("id-n1", "web.0"): web}, "it said nothing of instances"
        await a.say(delta=wire.StatusDelta(instances=[wire.InstanceStatus("web", phase="?")]))
        assert await a.fate() is Status.INVALID_ARGUMENT


async def test_what_an_agent_no_longer_holds_is_forgotten_when_it_returns(
    cluster: Cluster,
) -> None:
    """That it is gone was said, and did not arrive."""
    web, db = instance(ready=True), instance("db")
    async with agent(cluster) as a:
        await a.hello()
        both = [convert.instance_status_to_wire(s) for s in (web, db)]
        there = wire.ContainerStatus(id="c1", name="x")
        await a.say(delta=wire.StatusDelta(instances=both, containers=[there]))
        await a.say(heartbeat=wire.Beat(unknown=True))
        await a.hear_until("heartbeat_ack")
        assert len(cluster.state.seen()) == 2
    async with agent(cluster) as a:
        in_step = Report([convert.container_from_wire(there)], (web, db)).digest
        assert not (await a.hello(digest=in_step, containers=1)).need_snapshot
        assert len(cluster.state.seen()) == 2, "it still has them, to stop them"
    async with agent(cluster) as a:
        digest, held = Report((), [web]).digest, wire.HeldInstance(key="web.0", digest=1)
        assert (await a.hello(digest=digest, held=[held])).need_snapshot
        left = [convert.instance_status_to_wire(web)]
        # Its runtime does not answer: of containers it knows nothing.
        await a.say(snapshot=wire.StatusSnapshot(containers_unknown=True, instances=left))
        await a.say(heartbeat=wire.Beat(unknown=True))
        await a.hear_until("heartbeat_ack")
        assert cluster.state.seen() == {("id-n1", "web.0"): web}
        assert [c.id for c in cluster.state.containers("id-n1")] == ["c1"]


async def test_events_of_agents_are_acknowledged(cluster: Cluster) -> None:
    events = [
        wire.AgentEvent(
            seq=seq,
            time=cluster.clock.utc(),
            severity=wire.Severity.WARNING,
            subject="web.0",
            reason="Crashed",
            message="exit code 1",
            count=1,
        )
        for seq in (1, 2)
    ]
    async with agent(cluster) as a:
        await a.hello()
        await a.say(events=wire.AgentEvents(stream="s", events=events))
        ack = await a.hear_until("events_ack")
        assert (ack.stream, ack.seq) == ("s", 2)
    async with agent(cluster) as a:
        await a.hello()
        await a.say(events=wire.AgentEvents(stream="s", events=events))
        assert (await a.hear_until("events_ack")).seq == 2
        assert [e.reason for e in cluster.events.newest()].count("Crashed") == 2
