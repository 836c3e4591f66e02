"""Contexts as rows of a table and as JSON; their keys are never shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from piccolo.cli.output import Column, age
from piccolo.cli.security.security_rows import left
from piccolo.security.context import Context


@dataclass(frozen=True, slots=True)
class Kept:
    """A context in the configuration directory."""

    name: str
    path: Path
    current: bool
    context: Context | None  # None: it cannot be used
    problem: str


def context_dict(c: Context, path: Path) -> dict[str, Any]:
    return {
        "name": c.name,
        "file": str(path),
        "cluster": c.cluster,
        "role": c.role,
        "masters": list(c.masters),
        "notBefore": _text(c.not_before),
        "expires": _text(c.not_after),
    }


def row_dict(k: Kept) -> dict[str, Any]:
    known = context_dict(k.context, k.path) if k.context else {"name": k.name, "file": str(k.path)}
    return {**known, "name": k.name, "current": k.current, "problem": k.problem}


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _colour(k: Kept) -> str:
    now = datetime.now(UTC)
    if k.context is None or k.context.expired(now):
        return "red"
    return "yellow" if k.context.expires_soon(now) else "green"


CONTEXT_COLUMNS: list[Column[Kept]] = [
    Column("IN USE", lambda k: "*" if k.current else " "),
    Column("NAME", lambda k: k.name),
    Column("ROLE", lambda k: k.context.role if k.context else "unusable"),
    Column("MASTERS", lambda k: ",".join(k.context.masters) if k.context else ""),
    Column("EXPIRES IN", lambda k: left(k.context.not_after) if k.context else "", colour=_colour),
    Column("WHERE", lambda k: str(k.path)),
    Column("AGE", lambda k: age(k.context.not_before) if k.context else "", wide=True),
    Column("CLUSTER", lambda k: k.context.cluster if k.context else "", wide=True),
]
