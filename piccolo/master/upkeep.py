"""What has to be done from time to time: certificates renewed before they expire, authorities
retired when their time is over, and warnings given to whoever has to act.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from piccolo.core.errors import PiccoloError
from piccolo.core.model import Certificate, Severity
from piccolo.core.security.access import Principal, Role
from piccolo.master.clock import StepWatch
from piccolo.master.cluster import Cluster
from piccolo.security.authority import Request
from piccolo.security.context import Context, load, save
from piccolo.security.request import make_key, make_request

log = logging.getLogger(__name__)

ADMIN = Principal(Role.ADMIN, "admin")
_LONGEST, _AGAIN = 3600.0, 60.0  # s between two rounds, when all went well, and when not
_SETTLE = 3600.0  # s after the start, for a clock that has to be set first
_LOOK_EVERY = 10.0  # s: at the clock
_EXPIRING = 0.2  # of a certificate's life is left, though it renews itself at a third: act


class Upkeep:
    def __init__(self, cluster: Cluster, admin_context: Path) -> None:
        self._c = cluster
        self._admin = admin_context
        self._warned: set[str] = set()
        self.on_tls: Callable[[ssl.SSLContext], None] = lambda tls: None
        cluster.certificates.on_trust = self._trust_changed
        self._now = asyncio.Event()
        overlap = cluster.certificates.lifetimes.overlap.total_seconds()
        self._steps = StepWatch(cluster.clock, min(_SETTLE, overlap / 10))
        tell = cluster.certificates.on_revoked

        def revoked(serials: set[str]) -> None:
            tell(serials)
            self._now.set()  # it may have been the administrator's own

        cluster.certificates.on_revoked = revoked

    async def run(self) -> None:
        every = self._c.certificates.lifetimes.certificate.total_seconds() / 30
        next_round = 0.0
        while True:
            await self._sleep(min(_LOOK_EVERY, every))
            step = self._steps.stepped()
            if step:
                way = "forward" if step > 0 else "back"
                text = f"the time of day was set {way} by {abs(step):.0f} s"
                self._c.events.add(Severity.WARNING, "master", "clock", "ClockStepped", text)
            now = self._c.clock.monotonic()
            if self._now.is_set() or step or now >= next_round:
                self._now.clear()
                done = await self.once()
                next_round = now + min(_LONGEST if done else _AGAIN, every)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._now.wait()
        except TimeoutError:
            pass

    async def once(self) -> bool:
        """One round. What fails is logged, and tried again in the next: then False."""
        certificates = self._c.certificates
        steps = [self._renew_master, self._renew_admin, self._warn]
        if self._steps.steady():  # what is gone does not come back with the right time
            steps += [certificates.retire_due, certificates.forget_old]
        done = True
        for step in steps:
            try:
                await step()
            except PiccoloError as error:
                log.warning("%s; trying again later", error)
                done = False
        return done

    def _trust_changed(self) -> None:
        """Tell everybody who is connected, and use it for everybody who connects."""
        trust = self._c.certificates.trust
        self.on_tls(trust.tls())
        for session in self._c.sessions.all():
            session.send(self._c.trust_bundle())
        self._now.set()

    async def _renew_master(self) -> None:
        if self._c.certificates.trust.see_to_master(self._c.clock.utc()):
            log.info("the master has a new certificate")
            self.on_tls(self._c.certificates.trust.tls())

    async def _renew_admin(self) -> None:
        """The context of whoever may read the master's data directory."""
        trust, now = self._c.certificates.trust, self._c.clock.utc()
        masters = list(self._c.addresses)
        if self._c.listens_everywhere:
            masters.insert(0, f"127.0.0.1:{self._c.pulse_port}")
        if self._admin_holds(now, masters):
            return
        key = make_key()
        signed = await self._c.certificates.issue(ADMIN, Request(make_request(key)))
        assert signed.not_before is not None
        assert signed.not_after is not None
        context = Context(
            name=self._c.name,
            cluster=self._c.id,
            role=str(ADMIN.role),
            masters=tuple(masters),
            ca=trust.bundle,
            certificate=signed.certificate_pem,
            key=key,
            not_before=signed.not_before,
            not_after=signed.not_after,
        )
        await asyncio.to_thread(save, self._admin, context)

    def _admin_holds(self, now: datetime, masters: list[str]) -> bool:
        try:
            found = load(self._admin)
        except PiccoloError:
            return False
        certificates = self._c.certificates
        mine = [c for c in certificates.of(ADMIN) if c.not_after == found.not_after]
        return (
            found.ca == certificates.trust.bundle
            and list(found.masters) == masters
            # Not yet valid: made while the clock was ahead.
            and any(c.not_before <= now and _fresh(c, now, 1 / 3) for c in mine)
        )

    async def _warn(self) -> None:
        """Events for certificates that will expire although they should have been renewed."""
        now = self._c.clock.utc()
        for certificate in self._c.certificates.newest():
            if certificate.serial in self._warned or _fresh(certificate, now, _EXPIRING):
                continue
            self._warned.add(certificate.serial)
            name = self._c.certificates.name_of(certificate)
            agent = certificate.role == Role.AGENT
            late = certificate.not_after <= now
            remedy = "its agent renews it when it connects" if agent else "piccolo context renew"
            self._c.events.add(
                Severity.ERROR if late else Severity.WARNING,
                "node" if agent else "client",
                name,
                "CertificateExpired" if late else "CertificateExpiring",
                f"at {certificate.not_after:%Y-%m-%d %H:%M} UTC; {remedy}",
                name if agent else "",
            )


def _fresh(certificate: Certificate, now: datetime, share: float) -> bool:
    """Whether more than `share` of its life is left."""
    life: timedelta = certificate.not_after - certificate.not_before
    return now < certificate.not_after - life * share
