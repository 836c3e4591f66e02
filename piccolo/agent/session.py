"""One session with the master, from Hello to its end.

The session carries its parts' messages, each way in order (`status_sync`: what is seen,
`workload_sync`: what is to run, `heartbeats`), and answers the master's calls. It ends when the
stream ends, when the master is silent for too long, or when the stream makes no progress.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from grpclib.client import Stream
from grpclib.const import Cardinality

from piccolo.agent.heartbeats import Heartbeats
from piccolo.agent.pulser import Pulser
from piccolo.agent.renewal import Renewal
from piccolo.agent.reporter import Reporter
from piccolo.agent.status_sync import StatusSync
from piccolo.agent.workload_sync import WorkloadSync
from piccolo.agent.workloads.service import Workloads
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.model import Facts, Resources, Usage
from piccolo.core.nodes.liveness import PROFILES, LinkProfile
from piccolo.core.nodes.pulse import Pacer
from piccolo.rpc import convert, wire
from piccolo.rpc.client import Connection
from piccolo.rpc.errors import first_of
from piccolo.runtime.own import resident_kb

log = logging.getLogger(__name__)

PROTOCOL = 1
_WELCOME_WITHIN = 10.0  # s
_PATH = "/piccolo.v1.NodeAgentService/Session"

AgentStream = Stream[wire.AgentMessage, wire.MasterMessage]


class SessionEnded(PiccoloError):
    """The master said goodbye. `final`: it does not want this node back."""

    def __init__(self, reason: str, message: str, final: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.final = final


@dataclass(frozen=True, slots=True)
class Machine:
    """What the session says of the machine, and how it finds out what is used now."""

    node_id: str
    facts: Facts
    resources: Resources
    sample: Callable[[], Usage]
    metrics_interval: float  # s, at least so long between two samples
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)  # of this run of the agent


class Session:
    def __init__(
        self,
        connection: Connection,
        machine: Machine,
        reporter: Reporter,
        pulser: Pulser,
        joined: Callable[[str], Awaitable[None]],
        renewal: Renewal,
        workloads: Workloads,
    ) -> None:
        """`joined` is told the cluster's id."""
        self._connection = connection
        self._machine = machine
        self._reporter = reporter
        self._pulser = pulser
        self._joined = joined
        self._renewal = renewal
        self._status = StatusSync(reporter, self._queue)
        self._workloads = WorkloadSync(workloads, self._queue)
        self._heartbeats = Heartbeats(
            machine.sample, machine.metrics_interval, reporter, self._workloads, self._queue
        )
        self._outgoing: asyncio.Queue[wire.AgentMessage] = asyncio.Queue()
        self._seq = 0
        self._profile = PROFILES["wired"]
        self._config_version = 0
        self._started = time.monotonic()

    async def run(self) -> None:
        """Until the session ends, which it does by raising: `SessionEnded`, `Unavailable`, …"""
        request = self._connection.channel.request(
            _PATH, Cardinality.STREAM_STREAM, wire.AgentMessage, wire.MasterMessage
        )
        async with request as stream:
            digest = self._say_hello()
            await stream.send_message(self._outgoing.get_nowait())
            try:
                async with asyncio.timeout(_WELCOME_WITHIN):
                    first = await stream.recv_message()
            except TimeoutError:
                raise Unavailable("the master did not answer Hello in time") from None
            welcome = first.welcome if first is not None else None
            if first is None:
                await _raise_status(stream)
            if welcome is None or welcome.config is None:
                raise Unavailable("the master did not answer Hello with Welcome")
            pacer = await self._welcomed(welcome, digest)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._send(stream), name="session sender")
                    tasks.create_task(self._read(stream, pacer), name="session reader")
                    tasks.create_task(self._heartbeats.run(pacer), name="heartbeats")
                    tasks.create_task(self._watch_link(pacer), name="link watch")
                    tasks.create_task(self._renewal.run(), name="renewal")
                    tasks.create_task(self._workloads.send_events(), name="events")
            except BaseExceptionGroup as group:
                # What leaves the request is looked at: for a broken stream its status is raised.
                raise first_of(group) from None
            finally:
                self._status.end()
                self._workloads.end(min(time.monotonic(), pacer.heard_at()))
                self._pulser.end()

    def _say_hello(self) -> int:
        machine, report = self._machine, self._reporter.report
        self._queue(
            hello=wire.Hello(
                node_id=machine.node_id,
                instance_id=machine.instance_id,
                protocol=PROTOCOL,
                facts=convert.facts_to_wire(
                    replace(machine.facts, runtime_version=self._reporter.runtime_version)
                ),
                resources=convert.resources_to_wire(machine.resources),
                digest=report.digest,
                containers=len(report.containers),
                held=self._workloads.held(),
            )
        )
        return report.digest

    async def _welcomed(self, welcome: wire.Welcome, digest: int) -> Pacer:
        config = welcome.config
        assert config is not None
        self._profile = self._configured(config)
        address = self._connection.address
        pacer = await self._pulser.begin(
            address.host, welcome.pulse_port, welcome.session_id, welcome.session_key, self._profile
        )
        self._pulser.by_stream = self._pulse_by_stream
        if welcome.cluster_info is not None:
            await self._joined(welcome.cluster_info.id)
        self._status.begin(digest, need_snapshot=welcome.need_snapshot)
        self._workloads.begin()
        return pacer

    # ---- sending ----

    def _queue(self, **body: Any) -> int:
        self._seq += 1
        self._outgoing.put_nowait(wire.AgentMessage(seq=self._seq, **body))
        return self._seq

    async def _send(self, stream: AgentStream) -> None:
        while True:
            await stream.send_message(await self._outgoing.get())

    def _pulse_by_stream(self, seq: int, heard_ms_ago: int) -> None:
        if self._outgoing.qsize() < 4:  # a stuck stream needs no more of them
            self._queue(pulse=wire.StreamPulse(seq=seq, heard_ms_ago=heard_ms_ago))

    def say_goodbye(self, reason: str, message: str) -> None:
        """The agent stops: the master need not wait for it."""
        self._queue(goodbye=wire.Goodbye(reason=reason, message=message))

    # ---- the link ----

    async def _watch_link(self, pacer: Pacer) -> None:
        """Notice a silent master, and after an outage see that the stream moves again."""
        outage = False
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            if pacer.lost(now):
                raise Unavailable(f"the master was silent for {pacer.silent_for(now):.1f} s")
            silent = pacer.silent_for(now) >= pacer.profile.silent_after
            if outage and not silent:
                self._heartbeats.at_once()
            outage = silent

    # ---- receiving ----

    async def _read(self, stream: AgentStream, pacer: Pacer) -> None:
        async for message in stream:
            pacer.heard(time.monotonic())
            name, value = wire.which_one_of(message, "body")
            handle = self._handlers().get(name)
            if handle is not None:  # a newer master may say what we do not know
                handle(value)
        await _raise_status(stream)
        raise Unavailable("the master closed the session")

    def _handlers(self) -> dict[str, Callable[[Any], None]]:
        return {
            "heartbeat_ack": self._heartbeats.on_ack,
            "resync": self._status.on_resync,
            "pulse": self._on_pulse,
            "call": self._on_call,
            "config": self._on_config,
            "goodbye": self._on_goodbye,
            "trust": self._renewal.trust,
            "desired": self._workloads.on_desired,
            "held_query": self._workloads.on_held_query,
            "events_ack": self._workloads.on_events_ack,
        }

    def _on_pulse(self, pulse: wire.StreamPulse) -> None:
        if self._pulser.pacer is not None and pulse.answer:
            self._pulser.pacer.answered(pulse.seq, time.monotonic())

    def _on_call(self, call: wire.Call) -> None:
        result = wire.CallResult(call_id=call.call_id)
        if call.health is not None:
            result.health = self._health()
        else:
            result.error = "this agent does not know that call: upgrade it"
        self._queue(result=result)

    def _health(self) -> wire.HealthReport:
        condition = self._reporter.condition
        lag, self._pulser.worst_lag = self._pulser.worst_lag, 0.0
        return wire.HealthReport(
            runtime_ready=condition.status,
            runtime_message=condition.message,
            uptime_seconds=time.monotonic() - self._started,
            loop_lag_ms=lag * 1000,
            containers=len(self._reporter.report.containers),
            usage=convert.usage_to_wire(self._machine.sample()),
            resident_kb=resident_kb(),
        )

    def _on_config(self, config: wire.NodeConfig) -> None:
        if config.version == self._config_version:
            return
        self._profile = self._configured(config)
        if self._pulser.pacer is not None:
            self._pulser.pacer.profile = self._profile
        known = config.link_profile in PROFILES
        error = "" if known else f'link profile "{config.link_profile}" is not known here'
        self._queue(config_ack=wire.ConfigAck(version=config.version, error=error))
        log.info("configuration %08x: link %s", config.version, config.link_profile)

    def _configured(self, config: wire.NodeConfig) -> LinkProfile:
        """The link profile that `config` names; one that is not known here changes nothing."""
        profile = PROFILES.get(config.link_profile, self._profile)
        self._config_version = config.version
        self._heartbeats.metrics_interval = max(
            self._machine.metrics_interval, config.metrics_interval_ms / 1000
        )
        interval = config.heartbeat_interval_ms / 1000
        return replace(profile, heartbeat_interval=max(5.0, interval))

    def _on_goodbye(self, goodbye: wire.Goodbye) -> None:
        raise SessionEnded(goodbye.reason, goodbye.message, goodbye.final)


async def _raise_status(stream: AgentStream) -> None:
    """The master ended the stream: raise why, if it said so."""
    await stream.end()  # else grpclib does not look
    await stream.recv_trailing_metadata()
