"""The cluster's objects as rows of tables and as JSON; the field names here are a promise."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from piccolo.cli.output import Column, age, size
from piccolo.rpc import wire


def time_text(value: datetime | None) -> str | None:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z") if value else None


def local_text(value: datetime | None) -> str:
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""


def _word(enum: Any) -> str:
    return (enum.name or "unspecified").lower().replace("_", "-") if enum else "unspecified"


# ---- nodes ----


def state_word(status: wire.NodeStatus) -> str:
    """NOT_READY as people read it, NotReady; a newer master may know a state that we do not."""
    name = status.name or f"UNKNOWN_{int(status)}"
    return "".join(word.title() for word in name.split("_"))


def node_status(n: wire.Node) -> str:
    status = state_word(n.status)
    return f"{status} (suspect)" if n.link and n.link.suspect and status == "Ready" else status


def node_colour(n: wire.Node) -> str:
    if n.status == wire.NodeStatus.READY:
        return "yellow" if n.link and n.link.suspect else "green"
    return "red" if n.status == wire.NodeStatus.NOT_READY else "yellow"


def last_seen(n: wire.Node) -> str:
    if n.link and n.link.connected and not n.link.suspect:
        return "now"
    return age(n.last_heartbeat) + " ago" if n.last_heartbeat else "never"


def _reason(n: wire.Node) -> str:
    return "" if n.status == wire.NodeStatus.READY else n.reason


NODE_COLUMNS: list[Column[wire.Node]] = [
    Column("NAME", lambda n: n.name),
    Column("STATUS", node_status, colour=node_colour, width=15),
    Column("REASON", _reason, width=16),
    Column("ROLE", lambda n: _word(n.role)),
    Column("TYPE", lambda n: _word(n.type)),
    Column("ADDRESS", lambda n: n.ip),
    Column("AGE", lambda n: age(n.created_at), volatile=True),
    Column("LAST SEEN", last_seen, volatile=True),
    Column("OS", lambda n: n.facts.os if n.facts else "", wide=True),
    Column("ARCH", lambda n: n.facts.architecture if n.facts else "", wide=True),
    Column("RUNTIME", lambda n: n.facts.runtime_version if n.facts else "", wide=True),
    Column("AGENT", lambda n: n.facts.agent_version if n.facts else "", wide=True),
    Column("LINK", lambda n: n.link_profile, wide=True),
    Column(
        "RTT",
        lambda n: f"{n.link.round_trip_ms:.1f}ms" if n.link and n.link.round_trip_ms else "",
        wide=True,
        volatile=True,
    ),
    Column("LABELS", lambda n: ",".join(f"{k}={v}" for k, v in n.labels.items()), wide=True),
]


def usage_dict(u: wire.NodeUsage | None) -> dict[str, Any] | None:
    if u is None:
        return None
    return {
        "cpuPercent": round(u.cpu_percent, 1),
        "memoryUsedMb": u.memory_used_mb,
        "memoryAvailablePercent": round(u.memory_available_percent, 1),
        "diskUsedPercent": round(u.disk_used_percent, 1),
        "loadPerCore": round(u.load_per_core, 2),
        "networkRxBytes": u.network_rx_bytes,
        "networkTxBytes": u.network_tx_bytes,
    }


def node_dict(n: wire.Node) -> dict[str, Any]:
    r, f, link = n.resources, n.facts, n.link
    return {
        "name": n.name,
        "id": n.id,
        "status": state_word(n.status),
        "reason": n.reason,
        "message": n.message,
        "since": time_text(n.since),
        "role": _word(n.role),
        "type": _word(n.type),
        "ip": n.ip,
        "labels": dict(n.labels),
        "createdAt": time_text(n.created_at),
        "lastHeartbeat": time_text(n.last_heartbeat),
        "certificateExpires": time_text(n.certificate_expires),
        "generation": n.generation,
        "revision": n.revision,
        "resources": {"cpuCores": r.cpu_cores, "memoryMb": r.memory_mb, "diskGb": r.disk_gb}
        if r
        else None,
        "usage": usage_dict(n.usage),
        "conditions": [
            {
                "type": c.type,
                "status": c.status,
                "reason": c.reason,
                "message": c.message,
                "since": time_text(c.since),
            }
            for c in n.conditions
        ],
        "link": {
            "profile": n.link_profile,
            "connected": link.connected,
            "suspect": link.suspect,
            "datagrams": link.datagrams,
            "roundTripMs": round(link.round_trip_ms, 1),
            "peer": link.peer,
        }
        if link
        else None,
        "facts": {
            "os": f.os,
            "architecture": f.architecture,
            "kernel": f.kernel,
            "agentVersion": f.agent_version,
            "runtimeVersion": f.runtime_version,
            "machineId": f.machine_id,
            "bootId": f.boot_id,
        }
        if f
        else None,
    }


# ---- containers ----


def _container_colour(c: wire.Container) -> str:
    if c.status is None or c.stale:
        return "grey"
    if c.status.state == "running":
        return "red" if c.status.health == "unhealthy" else "green"
    return "red" if c.status.exit_code else "yellow"


def _container_state(c: wire.Container) -> str:
    s = c.status or wire.ContainerStatus()
    text = s.state
    if s.state == "exited":
        text += f" ({s.exit_code})"
    if s.health:
        text += f", {s.health}"
    return f"{text} (stale)" if c.stale else text


CONTAINER_COLUMNS: list[Column[wire.Container]] = [
    Column("NODE", lambda c: c.node_name),
    Column("NAME", lambda c: c.status.name if c.status else ""),
    Column("STATE", _container_state, colour=_container_colour),
    Column("IMAGE", lambda c: c.status.image if c.status else ""),
    Column("RESTARTS", lambda c: str(c.status.restarts) if c.status else ""),
    Column("AGE", lambda c: age(c.status.created_at) if c.status else "", volatile=True),
    Column("ID", lambda c: c.status.id[:12] if c.status else "", wide=True),
    Column(
        "STARTED",
        lambda c: age(c.status.started_at) if c.status else "",
        wide=True,
        volatile=True,
    ),
    Column("POD", lambda c: c.status.pod[:12] if c.status else "", wide=True),
]


def container_dict(c: wire.Container) -> dict[str, Any]:
    s, u = c.status or wire.ContainerStatus(), c.usage
    return {
        "name": s.name,
        "id": s.id,
        "node": c.node_name,
        "nodeId": c.node_id,
        "image": s.image,
        "state": s.state,
        "health": s.health,
        "exitCode": s.exit_code,
        "restarts": s.restarts,
        "createdAt": time_text(s.created_at),
        "startedAt": time_text(s.started_at),
        "finishedAt": time_text(s.finished_at),
        "pod": s.pod,
        "labels": dict(s.labels),
        "stale": c.stale,
        "usage": {
            "cpuPercent": round(u.cpu_percent, 2),
            "memoryBytes": u.memory_bytes,
            "networkRxBytes": u.network_rx_bytes,
            "networkTxBytes": u.network_tx_bytes,
        }
        if u
        else None,
    }


# ---- events ----

_EVENT_COLOUR = {wire.Severity.WARNING: "yellow", wire.Severity.ERROR: "red"}


EVENT_COLUMNS: list[Column[wire.Event]] = [
    Column("AGE", lambda e: age(e.time), volatile=True),
    Column("TIME", lambda e: local_text(e.time), wide=True),
    Column(
        "LEVEL", lambda e: _word(e.severity), colour=lambda e: _EVENT_COLOUR.get(e.severity, "")
    ),
    Column("OBJECT", lambda e: f"{e.kind}/{e.subject}"),
    Column("REASON", lambda e: e.reason),
    Column("MESSAGE", lambda e: e.message),
]


def event_dict(e: wire.Event) -> dict[str, Any]:
    return {
        "id": e.id,
        "time": time_text(e.time),
        "severity": _word(e.severity),
        "kind": e.kind,
        "subject": e.subject,
        "node": e.node_name,
        "reason": e.reason,
        "message": e.message,
    }


# ---- topology ----


def topology_dict(t: wire.ClusterTopology) -> dict[str, Any]:
    return {
        "id": t.id,
        "name": t.name,
        "type": _word(t.type),
        "masterNodes": [n.name for n in t.master_nodes],
        "subNodes": [n.name for n in t.sub_nodes],
        "parentCluster": t.parent_cluster,
        "config": dict(t.config),
        "revision": t.revision,
    }


# ---- usage ----


def _percent(value: float) -> str:
    return f"{value:.1f}%"


TOP_NODE_COLUMNS: list[Column[wire.Node]] = [
    Column("NAME", lambda n: n.name),
    Column("STATUS", node_status, colour=node_colour, width=15),
    Column("CPU", lambda n: _percent(n.usage.cpu_percent) if n.usage else ""),
    Column("LOAD/CORE", lambda n: f"{n.usage.load_per_core:.2f}" if n.usage else ""),
    Column("MEMORY", lambda n: size(n.usage.memory_used_mb * 1024 * 1024) if n.usage else ""),
    Column("AVAILABLE", lambda n: _percent(n.usage.memory_available_percent) if n.usage else ""),
    Column("DISK", lambda n: _percent(n.usage.disk_used_percent) if n.usage else ""),
    Column("NET RX", lambda n: size(n.usage.network_rx_bytes) if n.usage else "", wide=True),
    Column("NET TX", lambda n: size(n.usage.network_tx_bytes) if n.usage else "", wide=True),
]

TOP_CONTAINER_COLUMNS: list[Column[wire.Container]] = [
    Column("NODE", lambda c: c.node_name),
    Column("NAME", lambda c: c.status.name if c.status else ""),
    Column("CPU", lambda c: _percent(c.usage.cpu_percent) if c.usage else ""),
    Column("MEMORY", lambda c: size(c.usage.memory_bytes) if c.usage else ""),
    Column("NET RX", lambda c: size(c.usage.network_rx_bytes) if c.usage else ""),
    Column("NET TX", lambda c: size(c.usage.network_tx_bytes) if c.usage else ""),
]
