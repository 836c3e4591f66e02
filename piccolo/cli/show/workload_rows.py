"""Workloads as rows of tables and as JSON; the field names here are a promise."""

from __future__ import annotations

from typing import Any

from piccolo.cli.output import Column, age
from piccolo.cli.show.rows import time_text
from piccolo.rpc import wire

SHORT = 60  # characters of a message in a table
_NODES = 3  # of a workload, in a table


def colour(w: wire.Workload) -> str:
    if w.failed:
        return "red"
    if w.held:
        return "grey"
    return "green" if w.settled and not w.deleting else "yellow"


def ready(w: wire.Workload) -> str:
    """Of one that is deleted or held: how many are still there."""
    return f"{len(w.instances)} left" if w.instances and not w.wanted else f"{w.ready}/{w.wanted}"


def ready_words(w: wire.Workload) -> str:
    """The same in a sentence."""
    return text if (text := ready(w)).endswith("left") else f"{text} ready"


def nodes(w: wire.Workload, most: int = _NODES) -> str:
    """Where its instances are, each node once; 0: all of them."""
    names = list(dict.fromkeys(i.node_name or i.node_id for i in w.instances))
    if most and len(names) > most:
        names[most - 1 :] = [f"+{len(names) - most + 1}"]
    return ",".join(names)


def why(w: wire.Workload) -> str:
    """What it waits for, or what is wrong with it; nothing where all is well."""
    return w.message or w.reason


WORKLOAD_COLUMNS: list[Column[wire.Workload]] = [
    Column("NAME", lambda w: w.name),
    Column("STATE", lambda w: w.state, colour=colour, width=9),
    Column("READY", ready),
    Column("RESTARTS", lambda w: str(w.restarts)),
    Column("NODES", nodes),
    Column("IMAGE", lambda w: ",".join(w.images), wide=True),
    Column("GENERATION", lambda w: str(w.generation), wide=True),
    Column("AGE", lambda w: age(w.created_at), volatile=True),
    Column("MESSAGE", why, most=SHORT),
]


def _instance_state(i: wire.WorkloadInstance) -> str:
    phase = (i.status.phase if i.status else "") or "Unknown"
    return f"{phase} (stale)" if i.stale else phase


def _instance_colour(i: wire.WorkloadInstance) -> str:
    if i.stale or i.status is None:
        return "grey"
    if i.status.phase in ("CrashLoop", "Error", "Failed"):
        return "red"
    return "green" if i.status.ready or i.status.phase == "Completed" else "yellow"


def _instance_why(i: wire.WorkloadInstance) -> str:
    s = i.status
    if s is None:
        return "its node has not reported it yet"
    text = ": ".join(part for part in (s.reason, s.message) if part)
    told = not s.exit_code or f"exit code {s.exit_code}" in text
    return text if told else f"{text} (exit code {s.exit_code})"


INSTANCE_COLUMNS: list[Column[wire.WorkloadInstance]] = [
    Column("INSTANCE", lambda i: str(i.index)),
    Column("NODE", lambda i: i.node_name or i.node_id),
    Column("PHASE", _instance_state, colour=_instance_colour),
    Column("READY", lambda i: "yes" if i.status and i.status.ready else "no"),
    Column("RESTARTS", lambda i: str(i.status.restarts) if i.status else ""),
    Column("GENERATION", lambda i: str(i.generation)),
    Column("SINCE", lambda i: age(i.status.since) if i.status else ""),
    Column("REASON", _instance_why),
]


def workload_dict(w: wire.Workload) -> dict[str, Any]:
    return {**summary_dict(w), "instances": [_instance_dict(i) for i in w.instances]}


def summary_dict(w: wire.Workload) -> dict[str, Any]:
    """The same without the instances."""
    return {
        "name": w.name,
        "generation": w.generation,
        "state": w.state,
        "reason": w.reason,
        "message": w.message,
        "settled": w.settled,
        "failed": w.failed,
        "held": w.held,
        "deleting": w.deleting,
        "wanted": w.wanted,
        "placed": w.placed,
        "updated": w.updated,
        "ready": w.ready,
        "restarts": w.restarts,
        "images": list(w.images),
        "package": w.package,
        "labels": dict(w.labels),
        "dependsOn": list(w.depends_on),
        "createdAt": time_text(w.created_at),
        "changedAt": time_text(w.changed_at),
        "revision": w.revision,
    }


def _instance_dict(i: wire.WorkloadInstance) -> dict[str, Any]:
    s = i.status
    return {
        "index": i.index,
        "node": i.node_name,
        "nodeId": i.node_id,
        "generation": i.generation,
        "stale": i.stale,
        "status": {
            "generation": s.generation,
            "phase": s.phase,
            "ready": s.ready,
            "reason": s.reason,
            "message": s.message,
            "restarts": s.restarts,
            "exitCode": s.exit_code,
            "since": time_text(s.since),
        }
        if s
        else None,
    }
