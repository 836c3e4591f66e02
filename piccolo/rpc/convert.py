"""Wire ↔ core, each way once. What has no counterpart on the other side is left at its default."""

from __future__ import annotations

from collections.abc import Iterable

from piccolo.core import model as m
from piccolo.core.errors import InvalidSpec
from piccolo.rpc import wire as w

_ROLE = {m.NodeRole.MASTER: w.NodeRole.MASTER, m.NodeRole.SUB: w.NodeRole.SUB}
_TYPE = {m.NodeType.EMBEDDED: w.NodeType.EMBEDDED, m.NodeType.CLOUD: w.NodeType.CLOUD}
_STATE = {
    m.NodeState.PENDING: w.NodeStatus.PENDING,
    m.NodeState.INITIALIZING: w.NodeStatus.INITIALIZING,
    m.NodeState.READY: w.NodeStatus.READY,
    m.NodeState.NOT_READY: w.NodeStatus.NOT_READY,
    m.NodeState.MAINTENANCE: w.NodeStatus.MAINTENANCE,
    m.NodeState.TERMINATING: w.NodeStatus.TERMINATING,
}
_SEVERITY = {
    m.Severity.INFO: w.Severity.INFO,
    m.Severity.WARNING: w.Severity.WARNING,
    m.Severity.ERROR: w.Severity.ERROR,
}
_TOPOLOGY = {
    m.TopologyType.BASIC_EMBEDDED: w.TopologyType.BASIC_EMBEDDED,
    m.TopologyType.EDGE_CLOUD_HYBRID: w.TopologyType.EDGE_CLOUD_HYBRID,
    m.TopologyType.MULTI_CLUSTER: w.TopologyType.MULTI_CLUSTER,
    m.TopologyType.GEO_DISTRIBUTED: w.TopologyType.GEO_DISTRIBUTED,
}
_ROLE_BACK = {v: k for k, v in _ROLE.items()}
_TYPE_BACK = {v: k for k, v in _TYPE.items()}
_SEVERITY_BACK = {v: k for k, v in _SEVERITY.items()}
_TOPOLOGY_BACK = {v: k for k, v in _TOPOLOGY.items()}


def role_to_wire(role: m.NodeRole) -> w.NodeRole:
    return _ROLE[role]


def role_from_wire(role: w.NodeRole) -> m.NodeRole:
    """An unset or unknown role is a sub node's: the lesser right."""
    return _ROLE_BACK.get(role, m.NodeRole.SUB)


def type_to_wire(node_type: m.NodeType) -> w.NodeType:
    return _TYPE[node_type]


def type_from_wire(node_type: w.NodeType) -> m.NodeType:
    return _TYPE_BACK.get(node_type, m.NodeType.EMBEDDED)


def severity_from_wire(severity: w.Severity) -> m.Severity:
    return _SEVERITY_BACK.get(severity, m.Severity.INFO)


def resources_to_wire(r: m.Resources) -> w.ResourceInfo:
    return w.ResourceInfo(cpu_cores=r.cpu_cores, memory_mb=r.memory_mb, disk_gb=r.disk_gb)


def resources_from_wire(r: w.ResourceInfo | None) -> m.Resources:
    return m.Resources(r.cpu_cores, r.memory_mb, r.disk_gb) if r else m.Resources()


def facts_to_wire(f: m.Facts) -> w.NodeFacts:
    return w.NodeFacts(
        os=f.os,
        architecture=f.architecture,
        kernel=f.kernel,
        agent_version=f.agent_version,
        runtime_version=f.runtime_version,
        machine_id=f.machine_id,
        boot_id=f.boot_id,
    )


def facts_from_wire(f: w.NodeFacts | None) -> m.Facts:
    if f is None:
        return m.Facts()
    return m.Facts(
        os=f.os,
        architecture=f.architecture,
        kernel=f.kernel,
        agent_version=f.agent_version,
        runtime_version=f.runtime_version,
        machine_id=f.machine_id,
        boot_id=f.boot_id,
    )


def usage_to_wire(u: m.Usage) -> w.NodeUsage:
    return w.NodeUsage(
        cpu_percent=u.cpu_percent,
        memory_used_mb=u.memory_used_mb,
        memory_available_percent=u.memory_available_percent,
        disk_used_percent=u.disk_used_percent,
        load_per_core=u.load_per_core,
        network_rx_bytes=u.network_rx_bytes,
        network_tx_bytes=u.network_tx_bytes,
    )


def usage_from_wire(u: w.NodeUsage) -> m.Usage:
    return m.Usage(
        cpu_percent=u.cpu_percent,
        memory_used_mb=u.memory_used_mb,
        memory_available_percent=u.memory_available_percent,
        disk_used_percent=u.disk_used_percent,
        load_per_core=u.load_per_core,
        network_rx_bytes=u.network_rx_bytes,
        network_tx_bytes=u.network_tx_bytes,
    )


def condition_to_wire(c: m.Condition) -> w.Condition:
    return w.Condition(
        type=c.type, status=c.status, reason=c.reason, message=c.message, since=c.since
    )


def condition_from_wire(c: w.Condition) -> m.Condition:
    return m.Condition(c.type, c.status, c.reason, c.message, c.since)


def container_to_wire(c: m.Container) -> w.ContainerStatus:
    return w.ContainerStatus(
        id=c.id,
        name=c.name,
        image=c.image,
        state=c.state,
        health=c.health,
        exit_code=c.exit_code,
        created_at=c.created_at,
        started_at=c.started_at,
        finished_at=c.finished_at,
        restarts=c.restarts,
        labels=dict(c.labels),
        pod=c.pod,
    )


def container_from_wire(c: w.ContainerStatus) -> m.Container:
    """Raises `InvalidSpec` without an id: nothing can be kept under no key."""
    if not c.id or "/" in c.id:
        raise InvalidSpec(f'a container is reported with the id "{c.id}"')
    return m.Container(
        id=c.id,
        name=c.name,
        image=c.image,
        state=c.state,
        health=c.health,
        exit_code=c.exit_code,
        created_at=c.created_at,
        started_at=c.started_at,
        finished_at=c.finished_at,
        restarts=c.restarts,
        labels=c.labels,
        pod=c.pod,
    )


def containers_from_wire(containers: Iterable[w.ContainerStatus]) -> tuple[m.Container, ...]:
    return tuple(container_from_wire(c) for c in containers)


def container_usage_to_wire(u: m.ContainerUsage) -> w.ContainerUsage:
    return w.ContainerUsage(
        id=u.id,
        cpu_percent=u.cpu_percent,
        memory_bytes=u.memory_bytes,
        network_rx_bytes=u.network_rx_bytes,
        network_tx_bytes=u.network_tx_bytes,
    )


def container_usage_from_wire(u: w.ContainerUsage) -> m.ContainerUsage:
    return m.ContainerUsage(
        u.id, u.cpu_percent, u.memory_bytes, u.network_rx_bytes, u.network_tx_bytes
    )


def node_to_wire(n: m.Node, status: m.NodeStatus, live: m.NodeLive, revision: int) -> w.Node:
    return w.Node(
        id=n.id,
        name=n.name,
        role=_ROLE[n.role],
        type=_TYPE[n.type],
        labels=dict(n.labels),
        link_profile=n.link_profile,
        created_at=n.created_at,
        revision=revision,
        ip=status.ip,
        status=_STATE[status.state],
        reason=status.reason,
        message=status.message,
        since=status.since,
        resources=resources_to_wire(status.resources),
        facts=facts_to_wire(status.facts),
        conditions=[condition_to_wire(c) for c in status.conditions],
        last_heartbeat=live.last_heartbeat,
        generation=live.generation,
        usage=usage_to_wire(live.usage) if live.usage else None,
        link=w.LinkInfo(
            connected=live.connected,
            suspect=live.suspect,
            datagrams=live.datagrams,
            round_trip_ms=live.round_trip_ms,
            peer=live.peer,
        ),
    )


def event_to_wire(e: m.Event) -> w.Event:
    return w.Event(
        id=e.id,
        time=e.time,
        severity=_SEVERITY[e.severity],
        kind=e.kind,
        subject=e.subject,
        reason=e.reason,
        message=e.message,
        node_name=e.node_name,
    )


def topology_to_wire(t: m.Topology, nodes: Iterable[w.Node], revision: int) -> w.ClusterTopology:
    nodes = list(nodes)
    return w.ClusterTopology(
        id=t.id,
        name=t.name,
        type=_TOPOLOGY[t.type],
        parent_cluster=t.parent_cluster,
        config=dict(t.config),
        master_nodes=[n for n in nodes if n.role == w.NodeRole.MASTER],
        sub_nodes=[n for n in nodes if n.role != w.NodeRole.MASTER],
        revision=revision,
    )


def topology_type_from_wire(t: w.TopologyType) -> m.TopologyType:
    """Raises `InvalidSpec` for an unset or unknown type."""
    try:
        return _TOPOLOGY_BACK[t]
    except KeyError:
        known = ", ".join(m.TopologyType)
        raise InvalidSpec(f"topology type {int(t)} is not known; there are {known}") from None
