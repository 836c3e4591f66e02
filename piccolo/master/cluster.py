"""The parts of one running master, together, as its services use them."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from datetime import datetime

from piccolo import __version__
from piccolo.core.model import Node, NodeStatus, Severity
from piccolo.core.security.access import Principal, Role
from piccolo.master.action_controller import ActionController
from piccolo.master.agent_events import AgentEvents
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.installing import Installing
from piccolo.master.monitoring_server import MonitoringServer
from piccolo.master.node_manager import NodeManager
from piccolo.master.pulse_server import PulseServer
from piccolo.master.reports import Reports
from piccolo.master.security.access_control import AccessControl
from piccolo.master.security.audit_trail import AuditTrail
from piccolo.master.security.certificates import Certificates
from piccolo.master.security.tokens import Tokens
from piccolo.master.sessions import Session, Sessions
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.desired_state import DesiredState
from piccolo.master.workloads.rebuild import RestoredCluster
from piccolo.master.workloads.workload_manager import WorkloadManager
from piccolo.rpc import wire


@dataclass(slots=True)
class Cluster:
    """Put together by `roles.master`."""

    id: str
    name: str
    store: str  # what the state is kept in, for people
    metrics_interval: float  # s
    clock: Clock
    state: StateManager
    events: EventLog
    nodes: NodeManager
    monitoring: MonitoringServer
    sessions: Sessions
    reports: Reports
    pulses: PulseServer
    certificates: Certificates
    tokens: Tokens
    audit: AuditTrail
    access: AccessControl
    workloads: WorkloadManager
    actions: ActionController
    desired: DesiredState
    restored: RestoredCluster
    agent_events: AgentEvents
    installing: Installing
    started_at: datetime
    addresses: tuple[str, ...] = ()  # these three are known once it listens
    listens_everywhere: bool = False
    pulse_port: int = 0
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)  # one node at a time
    _duplicates: dict[str, datetime] = field(default_factory=dict)
    _refusals: dict[str, str] = field(default_factory=dict)  # by node: told once

    def info(self) -> wire.ClusterInfo:
        return wire.ClusterInfo(
            id=self.id,
            name=self.name,
            master_version=__version__,
            master_addresses=list(self.addresses),
        )

    def view(self) -> wire.ViewInfo:
        reason = self.state.degraded
        return wire.ViewInfo(
            revision=self.state.revision,
            degraded=reason is not None,
            message=f"served from memory: {reason}" if reason else "",
        )

    def node_config(self, node: Node) -> wire.NodeConfig:
        """What the agent of `node` is to work by; its version is a hash of it."""
        profile = self.monitoring.profile(node)
        config = wire.NodeConfig(
            link_profile=profile.name,
            heartbeat_interval_ms=int(profile.heartbeat_interval * 1000),
            metrics_interval_ms=int(self.metrics_interval * 1000),
        )
        config.version = zlib.crc32(bytes(config))
        return config

    def push_config(self) -> None:
        """Tell every connected agent what it is to work by now."""
        for session in self.sessions.all():
            node = self.state.node(session.node_id)
            if node is not None:
                session.send(wire.MasterMessage(config=self.node_config(node)))

    def trust_bundle(self) -> wire.MasterMessage:
        """Tells an agent whom to trust, and to get a certificate of the current authority."""
        bundle = wire.TrustBundle(ca_pem=self.certificates.trust.bundle, renew=True)
        return wire.MasterMessage(trust=bundle)

    async def remove(
        self, name_or_id: str, reason: str = "removed from the cluster"
    ) -> tuple[Node, NodeStatus]:
        """Take a node out, shut it out, and tell its agent not to come back by itself."""
        principal = Principal(Role.AGENT, self.state.find_node(name_or_id).id)
        # First shut out: a master that ends here must not take the node in again.
        await self.certificates.revoke(
            self.certificates.of(principal), f"the node was {reason}", cut=False
        )
        node, status = await self.nodes.remove(name_or_id)
        session = self.sessions.of_node(node.id)
        if session is not None:
            self._say_goodbye(
                session, "Removed", "this node was removed from the cluster", final=True
            )
        self.sessions.forget(node.id)
        self.monitoring.forget(node.id)
        self.reports.forget(node.id)
        return node, status

    def stop(self) -> None:
        """The master goes down: agents need not wait for a timeout to look for it again."""
        for session in self.sessions.all():
            self._say_goodbye(session, "MasterStopping", "the master is stopping", final=False)

    def _say_goodbye(self, session: Session, reason: str, message: str, *, final: bool) -> None:
        goodbye = wire.Goodbye(reason=reason, message=message, final=final)
        session.send(wire.MasterMessage(goodbye=goodbye))
        session.end()

    def refused(self, node_id: str, name: str, reason: str, message: str) -> None:
        """An event for a node that is kept out, once: it keeps trying."""
        if self._refusals.get(node_id) != message:
            self._refusals[node_id] = message
            self.events.add(Severity.WARNING, "node", name, reason, message, name)

    def duplicated(self, node_id: str) -> bool:
        """Whether a copy of this node has tried to join within the last hour."""
        last = self._duplicates.get(node_id)
        return last is not None and (self.clock.utc() - last).total_seconds() < 3600

    def duplicate_seen(self, node: Node, first: str, second: str) -> None:
        """An event, once a minute at most: the copy keeps trying."""
        now = self.clock.utc()
        last = self._duplicates.get(node.id)
        if last is None or (now - last).total_seconds() >= 60:
            self._duplicates[node.id] = now
            self.events.add(
                Severity.ERROR,
                "node",
                node.name,
                "DuplicateIdentity",
                f"a copy of this node tries to join from {second}; the node is at {first}",
                node.name,
            )
