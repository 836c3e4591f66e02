"""Tokens, certificates, authorities and findings as rows of tables and as JSON.

As in `rows`, the field names are a promise.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from piccolo.cli.output import Column, age
from piccolo.cli.show.rows import time_text
from piccolo.rpc import wire

_SOON = timedelta(days=14)


def _word(enum: Any) -> str:
    return (enum.name or "unknown").lower()


def left(until: datetime | None) -> str:
    """How long it still lasts: 3d4h; "over" when it is."""
    if until is None:
        return "-"
    now = datetime.now(UTC)
    return age(now, until) if until > now else "over"


# ---- tokens ----


def token_state(t: wire.Token) -> str:
    if t.revoked_at is not None:
        return "revoked"
    if t.used >= t.uses:
        return "used up"
    if t.expires_at is not None and t.expires_at <= datetime.now(UTC):
        return "expired"
    return "authority retired" if t.authority_retired else "valid"


def token_type(t: wire.Token) -> str:
    return _word(t.type) if t.type != wire.NodeType.UNSPECIFIED else ""


def token_dict(t: wire.Token) -> dict[str, Any]:
    return {
        "id": t.id,
        "state": token_state(t),
        "uses": t.uses,
        "used": t.used,
        "usedBy": list(t.used_by),
        "node": t.node,
        "type": token_type(t),
        "createdAt": time_text(t.created_at),
        "createdBy": t.created_by,
        "expires": time_text(t.expires_at),
        "revokedAt": time_text(t.revoked_at),
    }


TOKEN_COLUMNS: list[Column[wire.Token]] = [
    Column("ID", lambda t: t.id),
    Column("STATE", token_state, colour=lambda t: "green" if token_state(t) == "valid" else "grey"),
    Column("USED", lambda t: f"{t.used}/{t.uses}"),
    Column("NODE", lambda t: t.node or "any"),
    Column("TYPE", lambda t: token_type(t) or "any"),
    Column("EXPIRES IN", lambda t: left(t.expires_at)),
    Column("BY", lambda t: t.created_by),
    Column("USED BY", lambda t: ",".join(t.used_by), wide=True),
    Column("AGE", lambda t: age(t.created_at), wide=True),
]


# ---- certificates ----


def certificate_state(c: wire.Certificate) -> str:
    """`retired`: its authority was, so nobody is let in by it. `superseded`: it holds, but its
    holder has a newer one."""
    if c.revoked_at is not None:
        return "revoked"
    if c.not_after is not None and c.not_after <= datetime.now(UTC):
        return "expired"
    if not c.trusted:
        return "retired"
    return "valid" if c.newest else "superseded"


def certificate_dict(c: wire.Certificate) -> dict[str, Any]:
    return {
        "serial": c.serial,
        "role": c.role,
        "name": c.name,
        "nodeName": c.node_name,
        "state": certificate_state(c),
        "fingerprint": c.fingerprint,
        "issuer": c.issuer,
        "notBefore": time_text(c.not_before),
        "expires": time_text(c.not_after),
        "revokedAt": time_text(c.revoked_at),
        "revokedReason": c.revoked_reason,
    }


def _certificate_colour(c: wire.Certificate) -> str:
    state = certificate_state(c)
    if state in ("revoked", "superseded") or not c.newest:
        return "grey"  # of the past
    if state != "valid":
        return "red"
    assert c.not_after is not None
    return "yellow" if c.not_after - datetime.now(UTC) < _SOON else "green"


CERTIFICATE_COLUMNS: list[Column[wire.Certificate]] = [
    Column("ROLE", lambda c: c.role),
    Column("NAME", lambda c: c.node_name or c.name),
    Column("STATE", certificate_state, colour=_certificate_colour),
    Column("EXPIRES IN", lambda c: left(c.not_after)),
    Column("AGE", lambda c: age(c.not_before)),
    Column("SERIAL", lambda c: c.serial),
    Column("KEY", lambda c: c.fingerprint, wide=True),
    Column("AUTHORITY", lambda c: c.issuer, wide=True),
    Column("REASON", lambda c: c.revoked_reason, wide=True),
]


# ---- authorities ----


def authority_dict(a: wire.Authority) -> dict[str, Any]:
    return {
        "fingerprint": a.fingerprint,
        "current": a.current,
        "notBefore": time_text(a.not_before),
        "expires": time_text(a.not_after),
        "retires": time_text(a.retires_at),
        "nodes": list(a.nodes),
        "clients": list(a.clients),
    }


AUTHORITY_COLUMNS: list[Column[wire.Authority]] = [
    Column("AUTHORITY", lambda a: a.fingerprint),
    Column(
        "STATE",
        lambda a: "current" if a.current else "replaced",
        colour=lambda a: "green" if a.current else "yellow",
    ),
    Column("EXPIRES IN", lambda a: left(a.not_after)),
    Column("RETIRES IN", lambda a: left(a.retires_at)),
    Column("NODES", lambda a: str(len(a.nodes))),
    Column("CLIENTS", lambda a: str(len(a.clients))),
    Column("NODE NAMES", lambda a: ",".join(a.nodes), wide=True),
    Column("CLIENT NAMES", lambda a: ",".join(a.clients), wide=True),
]


# ---- findings ----


def finding_dict(f: wire.Finding) -> dict[str, Any]:
    return {
        "severity": _word(f.severity),
        "subject": f.subject,
        "message": f.message,
        "remedy": f.remedy,
    }
