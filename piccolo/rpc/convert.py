"""Wire ↔ core, each way once. What has no counterpart on the other side is left at its default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, TypeVar

from piccolo.core import model as m
from piccolo.core.errors import InvalidSpec
from piccolo.core.workloads import instances as i
from piccolo.rpc import wire as w

T = TypeVar("T")

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


def severity_to_wire(severity: m.Severity) -> w.Severity:
    return _SEVERITY[severity]


def severity_from_wire(severity: w.Severity) -> m.Severity:
    return _SEVERITY_BACK.get(severity, m.Severity.INFO)


def _same(source: Any, target: type[T], like: Any) -> T:
    """A `target` with the fields of the core class `like`, which both sides name alike."""
    return target(**{f.name: getattr(source, f.name) for f in fields(like)})


def resources_to_wire(r: m.Resources) -> w.ResourceInfo:
    return _same(r, w.ResourceInfo, m.Resources)


def resources_from_wire(r: w.ResourceInfo | None) -> m.Resources:
    return _same(r, m.Resources, m.Resources) if r else m.Resources()


def facts_to_wire(f: m.Facts) -> w.NodeFacts:
    return _same(f, w.NodeFacts, m.Facts)


def facts_from_wire(f: w.NodeFacts | None) -> m.Facts:
    return _same(f, m.Facts, m.Facts) if f else m.Facts()


def usage_to_wire(u: m.Usage) -> w.NodeUsage:
    return _same(u, w.NodeUsage, m.Usage)


def usage_from_wire(u: w.NodeUsage) -> m.Usage:
    return _same(u, m.Usage, m.Usage)


def condition_to_wire(c: m.Condition) -> w.Condition:
    return _same(c, w.Condition, m.Condition)


def condition_from_wire(c: w.Condition) -> m.Condition:
    return _same(c, m.Condition, m.Condition)


def container_to_wire(c: m.Container) -> w.ContainerStatus:
    return _same(c, w.ContainerStatus, m.Container)


def container_from_wire(c: w.ContainerStatus) -> m.Container:
    """Raises `InvalidSpec` without an id: nothing can be kept under no key."""
    if not c.id or "/" in c.id:
        raise InvalidSpec(f'a container is reported with the id "{c.id}"')
    return _same(c, m.Container, m.Container)


def containers_from_wire(containers: Iterable[w.ContainerStatus]) -> tuple[m.Container, ...]:
    return tuple(container_from_wire(c) for c in containers)


def container_usage_to_wire(u: m.ContainerUsage) -> w.ContainerUsage:
    return _same(u, w.ContainerUsage, m.ContainerUsage)


def container_usage_from_wire(u: w.ContainerUsage) -> m.ContainerUsage:
    return _same(u, m.ContainerUsage, m.ContainerUsage)


def instance_status_to_wire(s: i.InstanceStatus) -> w.InstanceStatus:
    return _same(s, w.InstanceStatus, i.InstanceStatus)


def instance_status_from_wire(s: w.InstanceStatus) -> i.InstanceStatus:
    """Raises `InvalidSpec` for a phase that is not known, or a name that cannot be a key."""
    if not s.workload or "/" in s.workload:
        raise InvalidSpec(f'an instance is reported of the workload "{s.workload}"')
    try:
        phase = i.Phase(s.phase)
    except ValueError:
        known = ", ".join(i.Phase)
        raise InvalidSpec(f'the phase "{s.phase}" is not known; there are {known}') from None
    return replace(_same(s, i.InstanceStatus, i.InstanceStatus), phase=phase)


def instance_statuses_from_wire(
    statuses: Iterable[w.InstanceStatus],
) -> tuple[i.InstanceStatus, ...]:
    return tuple(instance_status_from_wire(s) for s in statuses)


def dependency_to_wire(d: i.DependencyState) -> w.DependencyState:
    return _same(d, w.DependencyState, i.DependencyState)


def dependency_from_wire(d: w.DependencyState) -> i.DependencyState:
    return _same(d, i.DependencyState, i.DependencyState)


def happening_to_wire(h: i.Happening) -> w.AgentEvent:
    return replace(_same(h, w.AgentEvent, i.Happening), severity=_SEVERITY[m.Severity(h.severity)])


def happening_from_wire(h: w.AgentEvent) -> i.Happening:
    """Raises `InvalidSpec` without a time."""
    if h.time is None:
        raise InvalidSpec("an event is reported without a time")
    return replace(_same(h, i.Happening, i.Happening), severity=severity_from_wire(h.severity))


def node_to_wire(
    n: m.Node,
    status: m.NodeStatus,
    live: m.NodeLive,
    revision: int,
    certificate_expires: datetime | None = None,
) -> w.Node:
    return w.Node(
        id=n.id,
        name=n.name,
        role=_ROLE[n.role],
        type=_TYPE[n.type],
        labels=dict(n.labels),
        link_profile=n.link_profile,
        created_at=n.created_at,
        revision=revision,
        certificate_expires=certificate_expires,
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
