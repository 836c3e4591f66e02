"""NodeAgentService (HLD 7.1.2): what agents ask, and the session each of them keeps open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import grpclib.const
import grpclib.server

from piccolo.core.errors import InvalidSpec, NotFound
from piccolo.core.model import Condition, Node
from piccolo.core.report import Delta
from piccolo.master.api_server.joining import own_node, refuse_clone, register, renew
from piccolo.master.cluster import Cluster
from piccolo.master.sessions import Session
from piccolo.rpc import convert, wire
from piccolo.rpc.errors import first_of
from piccolo.rpc.server import caller, concerns

log = logging.getLogger(__name__)

PROTOCOL = 1
_HELLO_WITHIN = 10.0  # s
_PARTING = 1.0  # s
_SESSION = "/piccolo.v1.NodeAgentService/Session"

Stream = grpclib.server.Stream[wire.AgentMessage, wire.MasterMessage]


class AgentService(wire.NodeAgentServiceBase):
    def __init__(self, cluster: Cluster) -> None:
        self._c = cluster

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        """As generated, but the session handler gets the stream itself: it sends and receives
        independently, which the generated iterator form cannot."""
        mapping: dict[str, grpclib.const.Handler] = super().__mapping__()
        mapping[_SESSION] = mapping[_SESSION]._replace(func=self._session)
        return mapping

    # ---- calls ----

    async def register_node(
        self, message: wire.NodeRegistrationRequest
    ) -> wire.NodeRegistrationResponse:
        return await register(self._c, message)

    async def report_status(self, message: wire.StatusReport) -> wire.StatusAck:
        """The whole state of a node in one call, for tools that keep no session."""
        node = self._c.state.find_node(own_node(message.node_id))
        self._c.sessions.check(node.id, message.generation)
        self._c.reports.snapshot(node.id, convert.containers_from_wire(message.containers))
        for alert in message.alerts:
            self._alert(node, alert)
        self._c.monitoring.heard(node.id, message.generation)
        return wire.StatusAck(accepted=True)

    async def heartbeat(self, message: wire.HeartbeatRequest) -> wire.HeartbeatResponse:
        node = self._c.state.find_node(own_node(message.node_id))
        self._c.sessions.check(node.id, message.generation)
        usage = convert.usage_from_wire(message.usage) if message.usage else None
        self._c.monitoring.heartbeat(node.id, message.generation, usage)
        interval = self._c.monitoring.profile(node).heartbeat_interval
        return wire.HeartbeatResponse(
            timestamp=self._c.clock.utc(), next_interval_ms=int(interval * 1000)
        )

    async def get_trust_bundle(
        self, message: wire.GetTrustBundleRequest
    ) -> wire.GetTrustBundleResponse:
        return wire.GetTrustBundleResponse(ca_pem=self._c.certificates.trust.bundle)

    async def renew_certificate(
        self, message: wire.RenewCertificateRequest
    ) -> wire.RenewCertificateResponse:
        return await renew(self._c, message)

    async def receive_config(self, message: wire.ConfigRequest) -> wire.ConfigResponse:
        config = self._c.node_config(self._c.state.find_node(own_node(message.node_id)))
        if config.version == message.known_version:
            return wire.ConfigResponse(changed=False)
        return wire.ConfigResponse(changed=True, config=config)

    # ---- the session ----

    async def _session(self, stream: Stream) -> None:
        session = await self._open(stream)
        goodbye = False
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send(stream, session), name="session sender")
                reader = tasks.create_task(self._read(stream, session), name="session reader")
                ended = tasks.create_task(session.ended.wait(), name="session end")
                await asyncio.wait((reader, ended), return_when=asyncio.FIRST_COMPLETED)
                goodbye = reader.done() and not reader.cancelled() and reader.result()
                for task in (sender, reader, ended):
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        finally:
            self._c.sessions.close(session)
            self._c.desired.close(session)
            self._c.monitoring.closed(session.node_id, session.generation, said_goodbye=goodbye)
        # What is queued still goes out, a goodbye above all, unless the agent takes nothing more.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                for message in session.drain():
                    await stream.send_message(message)

    async def _open(self, stream: Stream) -> Session:
        try:
            async with asyncio.timeout(_HELLO_WITHIN):
                first = await stream.recv_message()
        except TimeoutError:
            raise InvalidSpec(f"no Hello came within {_HELLO_WITHIN:g} s") from None
        hello = first.hello if first is not None else None
        if first is None or hello is None:
            raise InvalidSpec("a session begins with Hello")
        if hello.protocol > PROTOCOL:
            log.info("agent %s speaks protocol %d, newer than ours", hello.node_id, hello.protocol)
        node = self._c.state.node(own_node(hello.node_id))
        if node is None:
            raise NotFound("this node is not registered; register it first")
        refuse_clone(self._c, node, hello.instance_id)

        session = self._c.sessions.open(node.id, hello.instance_id, caller().address)
        session.message_seq = first.seq
        report = self._c.reports.of(node.id)
        in_step = hello.digest == report.digest and hello.containers == len(report.containers)
        session.send(
            wire.MasterMessage(
                welcome=wire.Welcome(
                    generation=session.generation,
                    session_id=session.session_id,
                    session_key=session.key,
                    pulse_port=self._c.pulse_port,
                    config=self._c.node_config(node),
                    master_time=self._c.clock.utc(),
                    cluster_info=self._c.info(),
                    need_snapshot=not in_step,
                )
            )
        )
        if self._c.certificates.is_outdated(caller().principal, caller().serial):
            session.send(self._c.trust_bundle())
        self._c.desired.open(session, hello.held)
        self._c.nodes.synced(node.id, False)
        self._c.monitoring.opened(node, session.generation, session.peer)
        self._c.nodes.describe(
            node.id,
            facts=convert.facts_from_wire(hello.facts),
            resources=convert.resources_from_wire(hello.resources),
        )
        concerns(f"node {node.name}")
        self._c.access.note(caller(), _SESSION, "connected")
        log.info("node %s connected from %s", node.name, session.peer)
        return session

    async def _send(self, stream: Stream, session: Session) -> None:
        while True:
            await stream.send_message(await session.next_outgoing())

    async def _read(self, stream: Stream, session: Session) -> bool:
        """Take in what the agent says until it ends. True: it said goodbye."""
        async for message in stream:
            self._c.sessions.check(session.node_id, session.generation)
            self._c.monitoring.heard(session.node_id, session.generation)
            if message.seq != session.message_seq + 1:
                session.send(_resync(f"message {session.message_seq + 1} is missing"))
            session.message_seq = message.seq
            name, value = wire.which_one_of(message, "body")
            if name == "goodbye":
                return True
            handle = self._handlers().get(name)
            if handle is not None:  # a newer agent may say what we do not know
                handle(session, value)
        return False

    def _handlers(self) -> dict[str, Callable[[Session, Any], None]]:
        return {
            "heartbeat": self._on_heartbeat,
            "delta": self._on_delta,
            "snapshot": self._on_snapshot,
            "pulse": self._c.pulses.on_stream,
            "result": lambda session, result: session.answered(result),
            "config_ack": self._on_config_ack,
            "desired_ack": self._on_desired_ack,
            "events": self._c.agent_events.take,
            "held_specs": self._c.restored.told,
        }

    def _on_heartbeat(self, session: Session, beat: wire.Beat) -> None:
        usage = convert.usage_from_wire(beat.usage) if beat.usage else None
        self._c.monitoring.heartbeat(session.node_id, session.generation, usage, beat.round_trip_ms)
        self._c.reports.usage(
            session.node_id, tuple(map(convert.container_usage_from_wire, beat.container_usage))
        )
        session.send(wire.MasterMessage(heartbeat_ack=wire.HeartbeatAck(seq=session.message_seq)))
        report = self._c.reports.of(session.node_id)
        told = (beat.digest, beat.containers)
        if not beat.unknown and told != (report.digest, len(report.containers)):
            session.send(_resync("the digests differ"))
        self._c.desired.beat(session, beat.desired_digest)

    def _on_delta(self, session: Session, delta: wire.StatusDelta) -> None:
        self._c.reports.delta(
            session.node_id,
            Delta(
                convert.containers_from_wire(delta.containers),
                tuple(delta.removed),
                convert.instance_statuses_from_wire(delta.instances),
                tuple(delta.removed_instances),
            ),
        )
        self._conditions(session, delta.conditions)
        node = self._c.state.node(session.node_id)
        for alert in delta.alerts if node else ():
            self._alert(node, alert)
        self._c.nodes.synced(session.node_id, True)

    def _on_snapshot(self, session: Session, snapshot: wire.StatusSnapshot) -> None:
        self._c.reports.snapshot(
            session.node_id,
            None
            if snapshot.containers_unknown
            else convert.containers_from_wire(snapshot.containers),
            convert.instance_statuses_from_wire(snapshot.instances),
        )
        self._conditions(session, snapshot.conditions)
        self._c.nodes.synced(session.node_id, True)

    def _conditions(self, session: Session, conditions: list[wire.Condition]) -> None:
        found: list[Condition] = [convert.condition_from_wire(c) for c in conditions]
        if found:
            self._c.nodes.condition(session.node_id, *found)

    def _on_config_ack(self, session: Session, ack: wire.ConfigAck) -> None:
        if ack.error:
            log.warning("node %s refused its configuration: %s", session.node_id, ack.error)

    def _on_desired_ack(self, session: Session, ack: wire.DesiredAck) -> None:
        self._c.desired.answered(session, ack.digest, ack.error)

    def _alert(self, node: Node | None, alert: wire.AlertInfo) -> None:
        if node is not None:
            severity = convert.severity_from_wire(alert.severity)
            self._c.events.add(severity, "node", node.name, alert.reason, alert.message, node.name)


def _resync(reason: str) -> wire.MasterMessage:
    return wire.MasterMessage(resync=wire.ResyncRequest(reason=reason))
