"""Certificates: signed, remembered and revoked; and the authority that signs them, replaced.

Every certificate has a record in the store. One that is revoked is refused; one without a record
(the store is a backup that is older) is taken, because our authority signed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from piccolo.config.settings import SecuritySettings
from piccolo.core.errors import Conflict, InvalidSpec, NotFound, PermissionDenied
from piccolo.core.model import Authorities, Certificate, Severity
from piccolo.core.security.access import Principal, Role, principal_of, spiffe_id
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.security.trust import Trust
from piccolo.master.state_manager import StateManager
from piccolo.rpc import wire
from piccolo.security import authority as ca
from piccolo.security.authority import Request, Signed

_BATCH = 100  # records in one transaction


@dataclass(frozen=True, slots=True)
class Lifetimes:
    certificate: timedelta  # of nodes and of the master
    expired_grace: timedelta  # so long after its end a node may still renew its certificate
    overlap: timedelta  # so long a replaced authority is trusted

    @classmethod
    def of(cls, settings: SecuritySettings) -> Lifetimes:
        seconds = (settings.certificate_lifetime, settings.expired_grace, settings.overlap)
        return cls(*(timedelta(seconds=s) for s in seconds))


class Certificates:
    def __init__(
        self,
        trust: Trust,
        state: StateManager,
        events: EventLog,
        clock: Clock,
        cluster_id: str,
        lifetimes: Lifetimes,
    ) -> None:
        self._state = state
        self._events = events
        self._clock = clock
        self._cluster_id = cluster_id
        self.trust = trust
        self.lifetimes = lifetimes
        self.on_revoked: Callable[[set[str]], None] = lambda serials: None
        self.on_trust: Callable[[], None] = lambda: None  # whom to trust has changed

    # ---- records ----

    def all(self) -> list[Certificate]:
        """Newest first."""
        return _sorted(self._state.below(keys.CERTIFICATE))

    def newest(self) -> list[Certificate]:
        """Of everybody the newest that was not revoked; it may have expired."""
        found = dict[tuple[str, str], Certificate]()
        for certificate in self.all():
            if certificate.revoked_at is None:
                found.setdefault((certificate.role, certificate.name), certificate)
        return list(found.values())

    def of(self, principal: Principal) -> list[Certificate]:
        """Those that were not revoked, newest first; they may have expired."""
        return [c for c in self._of(principal) if c.revoked_at is None]

    def _of(self, principal: Principal) -> list[Certificate]:
        key = keys.certificates(principal.role, principal.name)
        return _sorted(self._state.group(key).values())

    def _record(self, principal: Principal, serial: str) -> Certificate | None:
        return next((c for c in self._of(principal) if c.serial == serial), None)

    def revoked(self, principal: Principal, serial: str) -> str:
        """Why it was; empty: it was not.

        One without a record is of a time that a restored backup does not know. It counts as revoked
        where all are of which there is one: whoever is shut out does not come back by it.
        """
        records = self._of(principal)
        known = [c for c in records if c.serial == serial] or records
        shut_out = known and all(c.revoked_at is not None for c in known)
        return known[0].revoked_reason if shut_out else ""

    def is_outdated(self, principal: Principal, serial: str) -> bool:
        """Whether its holder should get another: it is of an authority that was replaced, or we
        have no record of it."""
        found = self._record(principal, serial)
        return found is None or found.issuer != self.trust.current.fingerprint

    async def revoke(
        self, which: Iterable[Certificate], reason: str, *, cut: bool = True
    ) -> list[Certificate]:
        """Raises `Unavailable`. Whoever shows one of them from now on is refused; what its holders
        have running is ended (`cut`).
        """
        now = self._clock.utc()
        gone = [replace(c, revoked_at=now, revoked_reason=reason) for c in which]
        for first in range(0, len(gone), _BATCH):
            some = gone[first : first + _BATCH]
            await self._state.commit({keys.certificate(c): c for c in some})
        if cut:
            self.on_revoked({c.serial for c in gone})
        return gone

    def find(self, serial_or_name: str) -> list[Certificate]:
        """By serial number, or all of a client. Raises `NotFound`."""
        wanted = serial_or_name.replace(":", "").upper()
        found = [
            c
            for c in self.all()
            if c.revoked_at is None
            and (c.serial == wanted or (c.role != Role.AGENT and c.name == serial_or_name))
        ]
        if not found:
            raise NotFound(
                f'there is no certificate "{serial_or_name}" that could be revoked;'
                " `piccolo get certificates` shows them. A node is shut out by"
                " `piccolo remove node`"
            )
        return found

    def clients(self, name: str) -> list[Certificate]:
        """The certificates by which a client of that name is let in now."""
        now, trusted = self._clock.utc(), self.trust.fingerprints
        return [
            c
            for c in self.all()
            if c.role != Role.AGENT and c.name == name and c.revoked_at is None
            if c.not_after > now and c.issuer in trusted
        ]

    def is_newest(self, certificate: Certificate) -> bool:
        """Of its holder, leaving out what was revoked."""
        principal = Principal(Role(certificate.role), certificate.name)
        return self.of(principal)[:1] == [certificate]

    async def forget_old(self) -> None:
        """Drop the records of certificates that nobody can use any more; of a node the last one
        stays, because it says which key is the node's."""
        limit = self._clock.utc() - self.lifetimes.expired_grace - timedelta(days=1)
        last = {c.name: c.serial for c in reversed(self.all()) if self._state.node(c.name)}
        # What was revoked stays known, should the clock be wrong now.
        old = [c for c in self.all() if c.not_after < limit and last.get(c.name) != c.serial]
        old = [c for c in old if c.revoked_at is None][:_BATCH]
        if old:
            await self._state.commit({keys.certificate(c): None for c in old})

    # ---- signing ----

    def sign(
        self, principal: Principal, request: Request, lifetime: timedelta | None = None
    ) -> tuple[wire.SignedCertificate, dict[str, object | None]]:
        """A certificate, and what to commit before anybody gets it."""
        now = self._clock.utc()
        uri = spiffe_id(self._cluster_id, principal)
        signed = self.trust.current.sign_client(
            request.key, uri, now, lifetime or self.lifetimes.certificate
        )
        record = Certificate(
            signed.serial,
            str(principal.role),
            principal.name,
            signed.fingerprint,
            now,  # not the certificate's whole second: the newest counts
            signed.not_after,
            self.trust.current.fingerprint,
        )
        return self._to_wire(signed), {keys.certificate(record): record}

    def _to_wire(self, signed: Signed) -> wire.SignedCertificate:
        return wire.SignedCertificate(
            certificate_pem=signed.pem,
            ca_pem=self.trust.bundle,
            not_before=signed.not_before,
            not_after=signed.not_after,
        )

    async def issue(
        self, principal: Principal, request: Request, lifetime: timedelta | None = None
    ) -> wire.SignedCertificate:
        """Raises `Unavailable`."""
        signed, record = self.sign(principal, request, lifetime)
        await self._state.commit(record)
        return signed

    def expired_principal(self, certificate_pem: str, request: Request) -> Principal:
        """Whose certificate this is, which expired within the grace or still holds.

        The request must be signed by the same key. Raises `PermissionDenied`.
        """
        try:
            certificate = ca.load_certificate(certificate_pem)
            key = ca.public_key_of(certificate)
        except InvalidSpec as error:
            raise PermissionDenied(f"the old certificate cannot be read: {error}") from None
        if self.trust.issuer_of(certificate) is None:
            raise PermissionDenied(
                "the old certificate is not of this cluster, or of an authority that was retired;"
                " join anew with a token"
            )
        if ca.key_fingerprint(key) != request.fingerprint:
            raise PermissionDenied("the request is not signed by the key of the old certificate")
        principal = principal_of(self._cluster_id, ca.uris_of(certificate))
        if reason := self.revoked(principal, ca.serial_of(certificate)):
            raise PermissionDenied(f"the old certificate was revoked: {reason}")
        late = self._clock.utc() - certificate.not_valid_after_utc
        if late > self.lifetimes.expired_grace:
            raise PermissionDenied(
                f"the old certificate expired {late.days} days ago, which is more than the"
                f" {self.lifetimes.expired_grace.days} days of grace; join anew with a token:"
                " piccolo token create"
            )
        return principal

    # ---- the authority ----

    def retires_at(self, fingerprint: str) -> datetime | None:
        found = self._state.get(keys.AUTHORITIES, Authorities)
        return found.retiring.get(fingerprint) if found is not None else None

    async def note_authorities(self) -> None:
        """Bring the store's note of whom we trust in line with `pki/`."""
        now = self._clock.utc()
        retiring = {
            f: self.retires_at(f) or now + self.lifetimes.overlap
            for f in map(ca.fingerprint_of, self.trust.retiring)
        }
        note = Authorities(self.trust.current.fingerprint, retiring)
        if note != self._state.get(keys.AUTHORITIES, Authorities):
            await self._state.commit({keys.AUTHORITIES: note})

    async def rotate(self, cluster_name: str, overlap: timedelta | None = None) -> None:
        """A new authority; the old one is trusted for `overlap` more. Raises `Unavailable`."""
        now = self._clock.utc()
        old = self.trust.current.fingerprint
        note = self._state.get(keys.AUTHORITIES, Authorities) or Authorities(old)
        until = now + (overlap or self.lifetimes.overlap)
        # First the note: a rotation that is cut off leaves a note of an authority that is current.
        await self._state.commit(
            {keys.AUTHORITIES: replace(note, retiring={**note.retiring, old: until})}
        )
        self.trust.rotate(cluster_name, now)
        await self.note_authorities()
        self._events.add(
            Severity.WARNING,
            "master",
            "authority",
            "AuthorityRotated",
            f"the new authority is {self.trust.current.fingerprint}; {old} is trusted until"
            f" {until:%Y-%m-%d %H:%M} UTC",
        )
        self.on_trust()

    def holders(self, fingerprint: str) -> list[Certificate]:
        """The newest certificate of everybody who got it from this authority, and can use it."""
        now = self._clock.utc()
        return [c for c in self.newest() if c.issuer == fingerprint and c.not_after > now]

    async def retire(self, *, force: bool = False) -> tuple[list[str], list[Certificate]]:
        """Trust no replaced authority any more; returns their fingerprints, and whom it shut out.

        Raises `Conflict` when somebody would be shut out, without `force`.
        """
        gone = [ca.fingerprint_of(c) for c in self.trust.retiring]
        left = [c for f in gone for c in self.holders(f)]
        if left and not force:
            raise Conflict(
                f"whoever has a certificate of a replaced authority would be shut out:"
                f" {self._names(left)}; nodes get new ones when they connect, clients by"
                " `piccolo context renew`; or use --force"
            )
        await self._retire(gone, left)
        return gone, left

    def _names(self, certificates: list[Certificate]) -> str:
        names = [f"{c.role} {self.name_of(c)}" for c in certificates]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return ", ".join(names[:10]) + more

    async def _retire(self, fingerprints: list[str], left: list[Certificate]) -> None:
        if fingerprints:
            self.trust.retire(fingerprints)
            await self.note_authorities()
            text = f"no longer trusted: {', '.join(fingerprints)}"
            if left:
                text += f"; shut out: {self._names(left)} (nodes need a token, clients a context)"
            severity = Severity.WARNING if left else Severity.INFO
            self._events.add(severity, "master", "authority", "AuthorityRetired", text)
            self.on_trust()

    async def retire_due(self) -> None:
        """Retire authorities whose time is over."""
        now = self._clock.utc()
        due = []
        for certificate in self.trust.retiring:
            fingerprint = ca.fingerprint_of(certificate)
            until = self.retires_at(fingerprint)
            if until is not None and until <= now:
                due.append(fingerprint)
        await self._retire(due, [c for f in due for c in self.holders(f)])

    def name_of(self, certificate: Certificate) -> str:
        """For people: of an agent the name of its node."""
        node = self._state.node(certificate.name) if certificate.role == Role.AGENT else None
        return node.name if node is not None else certificate.name


def _sorted(certificates: Iterable[Certificate]) -> list[Certificate]:
    """Newest first; of the same second the one that holds longer, then by serial."""
    return sorted(certificates, key=lambda c: (c.not_before, c.not_after, c.serial), reverse=True)
