"""What clients ask of the audit trail; who may is decided in `core.security.access`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.audit import parse
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire


class AuditCalls:
    _c: Cluster

    async def get_audit(self, message: wire.GetAuditRequest) -> AsyncIterator[wire.AuditRecord]:
        async with aclosing(self._c.audit.lines(follow=message.follow)) as some:
            async for lines in some:
                for line in lines:
                    record = _to_wire(line)
                    if not (message.since and record.time and record.time < message.since):
                        yield record

    async def verify_audit(self, message: wire.VerifyAuditRequest) -> wire.VerifyAuditResponse:
        report = await self._c.audit.verify()
        return wire.VerifyAuditResponse(
            intact=not report.findings,
            records=report.records,
            findings=list(report.findings),
            first=report.first,
            last=report.last.number,
            hash=report.last.hash,
        )


def _to_wire(line: bytes) -> wire.AuditRecord:
    text = line.decode(errors="replace").rstrip("\n")
    try:
        record, _ = parse(line)
    except InvalidSpec as error:
        return wire.AuditRecord(line=text, reason=f"this line {error}: run `piccolo audit verify`")
    entry = record.entry.bounded()
    return wire.AuditRecord(
        number=record.number,
        time=entry.time,
        actor=entry.actor,
        source=entry.source,
        action=entry.action,
        object=entry.object,
        allowed=entry.allowed,
        reason=entry.reason,
        line=text,
        count=entry.count,
    )
