"""Who is let in: the guard in front of every RPC (LLD 6.1, 6.2).

Identity comes from the certificate alone. What is refused, and what changes something, goes into
the audit trail. Sources that fail to authenticate are blocked for growing pauses; whoever has a
certificate is not, as honest nodes may share an address with an attacker.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from typing import Any

from piccolo.core.errors import PermissionDenied, PiccoloError, Unavailable
from piccolo.core.model import Severity
from piccolo.core.security.access import RULES, Principal, Role, check, principal_of
from piccolo.core.security.blocking import Blocklist
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.security.audit_trail import AuditTrail
from piccolo.master.security.certificates import Certificates
from piccolo.rpc.server import Caller

_CHECKED_EVERY = 5.0  # s: how long a call may outlive its caller's certificate
_RENEWALS = {"/piccolo.v1.NodeAgentService/RenewCertificate"}


class AccessControl:
    """A `piccolo.rpc.server.Guard`."""

    def __init__(
        self,
        cluster_id: str,
        certificates: Certificates,
        audit: AuditTrail,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._cluster_id = cluster_id
        self._certificates = certificates
        self._audit = audit
        self._events = events
        self._clock = clock
        self._blocks = Blocklist()
        self._running: dict[asyncio.Task[Any], tuple[Caller, float]] = {}  # until when, monotonic
        certificates.on_revoked = self._revoked

    # ---- the guard ----

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        caller = Caller(address)
        try:
            if certificate:
                self._identify(caller, method, certificate)
            elif left := self.blocked(caller.source):
                raise _Blocked(
                    f"too many failed attempts from {caller.source}: wait {math.ceil(left)} s,"
                    " then try again"
                )
            check(method, caller.principal)
        except PermissionDenied as error:  # what led to a block is in the trail already
            self._refused(method, caller, error)
            raise
        task = asyncio.current_task()
        if task is not None:
            left = caller.not_after - self._clock.utc().timestamp()
            until = self._clock.monotonic() + left if certificate else float("inf")
            self._running[task] = (caller, until)
        return caller

    def _identify(self, caller: Caller, method: str, certificate: Mapping[str, Any]) -> None:
        names = certificate.get("subjectAltName", ())
        caller.serial = str(certificate.get("serialNumber", ""))
        caller.principal = principal_of(self._cluster_id, [v for k, v in names if k == "URI"])
        caller.not_after = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        if reason := self._certificates.revoked(caller.principal, caller.serial):
            agent = caller.principal.role is Role.AGENT
            remedy = "a new token" if agent else "another context (piccolo context create)"
            raise PermissionDenied(f"this certificate was revoked: {reason}; you need {remedy}")
        if caller.not_after < self._clock.utc().timestamp() and method not in _RENEWALS:
            # The connection is older than its certificate: a newer one may be known.
            newest = self._certificates.of(caller.principal)[:1]
            caller.not_after = newest[0].not_after.timestamp() if newest else 0.0
            if caller.not_after < self._clock.utc().timestamp():
                raise PermissionDenied("this certificate has expired; connect with a newer one")

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.pop(task, None)
        if isinstance(error, PermissionDenied):
            self._refused(method, caller, error)
        elif self._audited(method) and (error is None or isinstance(error, PiccoloError)):
            self.note(caller, method, f"failed: {error}" if error else "")

    def blocked(self, source: str) -> float:
        """For how many seconds more; 0: it is not."""
        return self._blocks.blocked_for(source, self._clock.monotonic())

    def handshake_failed(self, source: str, reason: str) -> None:
        caller = Caller(f"{source}:0")
        self._refused("/TLSHandshake", caller, PermissionDenied(reason))

    # ---- what follows ----

    def _audited(self, method: str) -> bool:
        rule = RULES[method]
        by_people = rule.roles <= {Role.ADMIN, Role.VIEWER}  # agents call all the time
        return rule.audited or (self._audit.reads and by_people)

    def note(self, caller: Caller, method: str, reason: str = "") -> None:
        """Something that was allowed, for the audit trail."""
        self._audit.record(
            str(caller.principal),
            caller.address,
            method.rpartition("/")[2],
            caller.subject,
            allowed=True,
            reason=reason,
        )

    def _refused(self, method: str, caller: Caller, error: PermissionDenied) -> None:
        action = method.rpartition("/")[2]
        self._audit.record(
            str(caller.principal),
            caller.address,
            action,
            caller.subject,
            allowed=False,
            reason=error.why,
        )
        if caller.principal.role is not Role.ANONYMOUS:
            return  # somebody we know, who asked for too much
        block = self._blocks.failed(caller.source, self._clock.monotonic())
        if block is not None:
            text = (
                f"{block.failures} failed attempts to get in; blocked for {block.seconds:g} s,"
                f" the last: {action}: {error.why}"
            )
            self._events.add(Severity.WARNING, "master", caller.source, "SourceBlocked", text)
            self._audit.record(
                "master", caller.address, "BlockSource", caller.source, allowed=True, reason=text
            )

    def renewed(self, principal: Principal, not_after: float) -> None:
        """The holder of a running call has a newer certificate, valid until then (s, epoch)."""
        left = not_after - self._clock.utc().timestamp()
        for task, (caller, _) in self._running.items():
            if caller.principal == principal:
                caller.not_after = not_after
                self._running[task] = (caller, self._clock.monotonic() + left)

    async def run(self) -> None:
        """End calls whose callers' certificates have expired.

        By the monotonic clock: a step of the time of day cuts nobody off.
        """
        while True:
            await asyncio.sleep(_CHECKED_EVERY)
            now = self._clock.monotonic()
            self._cut([task for task, (_, until) in self._running.items() if until < now])

    def _revoked(self, serials: set[str]) -> None:
        self._cut([task for task, (who, _) in self._running.items() if who.serial in serials])

    def _cut(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            if task is not asyncio.current_task():
                self._running.pop(task, None)
                task.cancel("the caller's certificate no longer holds")


class _Blocked(Unavailable):
    """Refused without another look, for a while: an honest node there goes on trying."""
