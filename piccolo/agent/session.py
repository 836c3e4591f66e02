"""One session with the master, from Hello to its end.

The session sends what the reporter tells (deltas, in order), a heartbeat every interval with a
digest of all that was told, and answers the master's calls. It ends when the stream ends, when
the master is silent for too long, or when the stream makes no progress.
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

from piccolo.agent.pulser import Pulser
from piccolo.agent.renewal import Renewal
from piccolo.agent.reporter import Reporter
from piccolo.agent.workload_sync import WorkloadSync
from piccolo.agent.workloads.service import Workloads
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.model import Condition, Facts, Resources, Usage
from piccolo.core.nodes.liveness import PROFILES, LinkProfile
from piccolo.core.nodes.pulse import Pacer
from piccolo.core.report import Delta
from piccolo.rpc import convert, wire
from piccolo.rpc.client import Connection
from piccolo.rpc.errors import first_of
from piccolo.runtime.own import resident_kb

log = logging.getLogger(__name__)

PROTOCOL = 1
_WELCOME_WITHIN = 10.0  # s
_PROMPT = 2.0  # s: after an outage, a stream that does not move within that is given up
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
        self._workloads = WorkloadSync(workloads, self._queue)
        self._outgoing: asyncio.Queue[wire.AgentMessage] = asyncio.Queue()
        self._seq = 0
        self._acked = 0
        self._beat_now = asyncio.Event()
        self._profile = PROFILES["wired"]
        self._config_version = 0
        self._metrics_interval = machine.metrics_interval
        self._sampled_at = 0.0
        self._container_usage: list[wire.ContainerUsage] = []
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
            await self._welcomed(welcome, digest)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._send(stream), name="session sender")
                    tasks.create_task(self._read(stream), name="session reader")
                    tasks.create_task(self._heartbeats(), name="heartbeats")
                    tasks.create_task(self._watch_link(), name="link watch")
                    tasks.create_task(self._renewal.run(), name="renewal")
                    tasks.create_task(self._workloads.send_events(), name="events")
            except BaseExceptionGroup as group:
                # What leaves the request is looked at: for a broken stream its status is raised.
                raise first_of(group) from None
            finally:
                self._reporter.listener = None
                self._workloads.end(self._heard_at())
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

    async def _welcomed(self, welcome: wire.Welcome, digest: int) -> None:
        config = welcome.config
        assert config is not None
        self._profile = self._configured(config)
        address = self._connection.address
        await self._pulser.begin(
            address.host, welcome.pulse_port, welcome.session_id, welcome.session_key, self._profile
        )
        self._pulser.by_stream = self._pulse_by_stream
        if welcome.cluster_info is not None:
            await self._joined(welcome.cluster_info.id)
        # From here to the listener nothing may wait, or a change in between would be lost.
        if welcome.need_snapshot or digest != self._reporter.report.digest:
            self._snapshot()
        else:
            self._told(Delta(), self._reporter.condition)
        self._reporter.listener = self._told
        self._workloads.begin()

    # ---- sending ----

    def _queue(self, **body: Any) -> None:
        self._seq += 1
        self._outgoing.put_nowait(wire.AgentMessage(seq=self._seq, **body))

    async def _send(self, stream: AgentStream) -> None:
        while True:
            await stream.send_message(await self._outgoing.get())

    def _snapshot(self) -> None:
        if not self._reporter.known:  # "none" would be untrue; what the master has may be right
            instances = tuple(self._reporter.report.instances.values())
            self._told(Delta(instances=instances), self._reporter.condition)
            return
        report = self._reporter.report
        self._queue(
            snapshot=wire.StatusSnapshot(
                containers=[convert.container_to_wire(c) for c in report.containers.values()],
                conditions=[convert.condition_to_wire(self._reporter.condition)],
                instances=[convert.instance_status_to_wire(s) for s in report.instances.values()],
            )
        )

    def _told(self, delta: Delta, condition: Condition | None) -> None:
        self._queue(
            delta=wire.StatusDelta(
                containers=[convert.container_to_wire(c) for c in delta.changed],
                removed=list(delta.removed),
                conditions=[convert.condition_to_wire(condition)] if condition else [],
                instances=[convert.instance_status_to_wire(s) for s in delta.instances],
                removed_instances=list(delta.removed_instances),
            )
        )

    def _pulse_by_stream(self, seq: int, heard_ms_ago: int) -> None:
        if self._outgoing.qsize() < 4:  # a stuck stream needs no more of them
            self._queue(pulse=wire.StreamPulse(seq=seq, heard_ms_ago=heard_ms_ago))

    def say_goodbye(self, reason: str, message: str) -> None:
        """The agent stops: the master need not wait for it."""
        self._queue(goodbye=wire.Goodbye(reason=reason, message=message))

    # ---- heartbeats ----

    async def _heartbeats(self) -> None:
        """One every interval, and one at once after an outage; an unacknowledged one ends it."""
        oldest, since = 0, 0.0  # the first heartbeat that is not acknowledged, and its time
        while True:
            await self._beat()
            if self._acked >= oldest:
                oldest, since = self._seq, time.monotonic()
            prompt = self._beat_now.is_set()
            self._beat_now.clear()
            patience = _PROMPT if prompt else self._profile.stream_stuck_after
            interval = self._profile.heartbeat_interval
            await self._sleep(min(patience, interval))
            stuck = self._acked < oldest and time.monotonic() - since >= 0.9 * patience
            if stuck and not self._beat_now.is_set():
                raise Unavailable(f"the stream made no progress for {patience:g} s")
            await self._sleep(max(0.0, interval - patience))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless a heartbeat is wanted at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._beat_now.wait()
        except TimeoutError:
            pass

    async def _beat(self) -> None:
        now = time.monotonic()
        usage = None
        if not self._beat_now.is_set() and now - self._sampled_at >= self._metrics_interval:
            self._sampled_at = now
            usage = convert.usage_to_wire(self._machine.sample())
            self._container_usage = [
                convert.container_usage_to_wire(u) for u in await self._reporter.usage()
            ]
        report, pacer = self._reporter.report, self._pulser.pacer
        self._queue(
            heartbeat=wire.Beat(
                usage=usage,
                digest=report.digest,
                containers=len(report.containers),
                unknown=not self._reporter.known,
                container_usage=self._container_usage,
                desired_digest=self._workloads.digest,
                round_trip_ms=(pacer.rtt or 0.0) * 1000 if pacer is not None else 0.0,
            )
        )

    # ---- the link ----

    async def _watch_link(self) -> None:
        """Notice a silent master, and after an outage see that the stream moves again."""
        pacer: Pacer | None = self._pulser.pacer
        assert pacer is not None
        outage = False
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            if pacer.lost(now):
                raise Unavailable(f"the master was silent for {pacer.silent_for(now):.1f} s")
            silent = pacer.silent_for(now) >= self._profile.silent_after
            if outage and not silent:
                self._beat_now.set()
            outage = silent

    def _heard_at(self) -> float:
        """When the master was heard last."""
        pacer = self._pulser.pacer
        now = time.monotonic()
        return min(now, pacer.heard_at()) if pacer is not None else now

    # ---- receiving ----

    async def _read(self, stream: AgentStream) -> None:
        async for message in stream:
            pacer = self._pulser.pacer
            if pacer is not None:
                pacer.heard(time.monotonic())
            name, value = wire.which_one_of(message, "body")
            handle = self._handlers().get(name)
            if handle is not None:  # a newer master may say what we do not know
                handle(value)
        await _raise_status(stream)
        raise Unavailable("the master closed the session")

    def _handlers(self) -> dict[str, Callable[[Any], None]]:
        return {
            "heartbeat_ack": self._on_ack,
            "resync": self._on_resync,
            "pulse": self._on_pulse,
            "call": self._on_call,
            "config": self._on_config,
            "goodbye": self._on_goodbye,
            "trust": self._renewal.trust,
            "desired": self._workloads.on_desired,
            "events_ack": self._workloads.on_events_ack,
        }

    def _on_ack(self, ack: wire.HeartbeatAck) -> None:
        self._acked = ack.seq

    def _on_resync(self, request: wire.ResyncRequest) -> None:
        log.info("the master asks for a snapshot: %s", request.reason)
        self._snapshot()

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
        self._metrics_interval = max(
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
