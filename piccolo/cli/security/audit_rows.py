"""Records of the audit trail as rows of a table and as JSON; the field names are a promise."""

from __future__ import annotations

import json
from typing import Any

from piccolo.cli.output import Column
from piccolo.rpc import wire

_FAILED = "failed:"  # so the reason of what was allowed and failed begins
_COLOURS = {"denied": "red", "failed": "yellow", "?": "red"}


def result(r: wire.AuditRecord) -> str:
    """What came of it: allowed, denied, or failed, which is allowed, but to no effect."""
    if not r.number:
        return "?"  # a line that is no record
    if not r.allowed:
        return "denied"
    return "failed" if r.reason.startswith(_FAILED) else "allowed"


def record_dict(r: wire.AuditRecord) -> dict[str, Any]:
    """As it stands in the file, and what came of it."""
    if not r.number:
        return {"reason": r.reason, "line": r.line}
    found: dict[str, Any] = json.loads(r.line)
    return {**found, "result": result(r)}


def _reason(r: wire.AuditRecord) -> str:
    text = r.reason.removeprefix(_FAILED) if result(r) == "failed" else r.reason
    times = f"({r.count} times)" if r.count > 1 else ""
    return f"{text} {times}".strip()


def _time(r: wire.AuditRecord) -> str:
    return r.time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if r.time else ""


def _short_actor(r: wire.AuditRecord) -> str:
    """Of the id of a node the beginning, which is enough to tell it from the others."""
    role, _, name = r.actor.partition(":")
    return f"{role}:{name[:8]}" if role == "agent" and name else r.actor


def record_columns(wide: bool) -> list[Column[wire.AuditRecord]]:
    return [
        Column("NUMBER", lambda r: str(r.number), wide=True, width=6),
        Column("TIME", _time, width=19),
        Column("ACTOR", (lambda r: r.actor) if wide else _short_actor, width=14),
        Column("SOURCE", lambda r: r.source, width=16),
        Column("ACTION", lambda r: r.action, width=14),
        Column("OBJECT", lambda r: r.object, width=10),
        Column("RESULT", result, colour=lambda r: _COLOURS.get(result(r), ""), width=7),
        Column("REASON", _reason),
    ]
