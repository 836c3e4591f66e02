"""The cluster's certificate authority and the master's own certificate: the files in `pki/`.

=============  ====================================================================================
ca.key         the authority's key; it never leaves this directory
ca.crt         whom the cluster trusts: the authority, then those it has replaced, until they retire
cross.crt      the authority signed by those it replaced: by this, who knows only them trusts it
master.key     the master's key
master.crt     its certificate, signed by the authority
=============  ====================================================================================

Each file is replaced whole, and `ca.crt` is what decides: a rotation that was cut off before it
was written did not happen, one cut off behind it is completed at the next start.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from piccolo.core.clocks import EARLIEST
from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.model import Authorities
from piccolo.security import authority as ca
from piccolo.security.authority import Authority, Request
from piccolo.security.files import private_dir, read_private, write_private
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import server_context, web_context

_NEXT_KEY = "ca.key.next"


class Trust:
    def __init__(self, directory: Path, hosts: Sequence[str], lifetime: timedelta) -> None:
        """Opened by `open`."""
        self._directory = directory
        self._hosts = list(hosts)
        self._lifetime = lifetime  # of the master's certificate
        self.current: Authority
        self.retiring: list[x509.Certificate] = []
        self._cross = ""
        self._tls: ssl.SSLContext | None = None
        self.master: x509.Certificate

    @classmethod
    def open(
        cls,
        directory: Path,
        cluster: str,
        hosts: Sequence[str],
        lifetime: timedelta,
        now: datetime,
        known: Authorities | None = None,
    ) -> tuple[Trust, bool]:
        """Read what is there, or make it; True: it was made now. `known`: what the store says.

        Raises `InvalidSpec` for what is damaged or open to others, `Unavailable`.
        """
        private_dir(directory)
        trust = cls(directory, hosts, lifetime)
        made = not trust._exists()
        if made:
            if known is not None:
                raise InvalidSpec(_elsewhere(known.current, directory))
            trust._create(cluster, now)
        trust._load()
        ours = {*map(ca.fingerprint_of, trust.trusted)}
        if known is not None and not ours & {known.current, *known.retiring}:
            raise InvalidSpec(_elsewhere(known.current, directory))
        trust.see_to_master(now)
        return trust, made

    # ---- the authority ----

    def _exists(self) -> bool:
        there = [name for name in ("ca.crt", "ca.key") if (self._directory / name).exists()]
        if there == ["ca.crt"]:
            raise InvalidSpec(
                f"{self._directory} has the certificate of the cluster's authority, but not its"
                " key ca.key: restore it from a backup, or move the directory away to start with a"
                " new authority (then every node has to join again)"
            )
        return "ca.crt" in there  # a key alone is of a first start that was cut off

    def _create(self, cluster: str, now: datetime) -> None:
        if now < EARLIEST:
            raise Unavailable(
                f"this machine's clock says {now:%Y-%m-%d}, so it was never set: certificates made"
                " now would be valid for nobody; set the clock, then start the master again"
            )
        authority = Authority.create(f"PICCOLO {cluster}", now)
        write_private(self._directory / "ca.key", authority.key_pem)
        write_private(self._directory / "ca.crt", authority.pem)

    def _load(self) -> None:
        bundle = self._read("ca.crt")
        keys = [self._read(name) for name in ("ca.key", _NEXT_KEY)]
        try:
            trusted = ca.load_certificates(bundle)
        except InvalidSpec as error:
            raise InvalidSpec(
                f"{self._directory}/ca.crt: {error}; restore it from a backup"
            ) from None
        for number, key in enumerate(keys):
            try:
                self.current = Authority.load(ca.to_pem(trusted[0]), key)
            except InvalidSpec as error:
                problem = error
            else:
                if number == 1:  # a rotation that was cut off at its last step
                    write_private(self._directory / "ca.key", key)
                break
        else:
            raise InvalidSpec(
                f"{self._directory}/ca.key: {problem}; restore both from the same backup"
            )
        with contextlib.suppress(FileNotFoundError):
            (self._directory / _NEXT_KEY).unlink()
        self.retiring = trusted[1:]
        ours = self.current.certificate.public_key()
        crossed = self._read("cross.crt")
        chain = ca.load_certificates(crossed) if crossed else []
        self._cross = (
            "".join(map(ca.to_pem, chain)) if any(c.public_key() == ours for c in chain) else ""
        )

    def _read(self, name: str) -> str:
        return read_private(self._directory / name) or ""

    @property
    def bundle(self) -> str:
        """Whom to trust, the current authority first (PEM)."""
        return self.current.pem + "".join(map(ca.to_pem, self.retiring))

    @property
    def trusted(self) -> list[x509.Certificate]:
        return [self.current.certificate, *self.retiring]

    @property
    def fingerprints(self) -> list[str]:
        """Of the trusted authorities."""
        return [ca.fingerprint_of(certificate) for certificate in self.trusted]

    def issuer_of(self, certificate: x509.Certificate) -> x509.Certificate | None:
        """Which of the trusted authorities signed it; None: none of them."""
        return next((a for a in self.trusted if ca.signed_by(certificate, a)), None)

    def files(self) -> dict[str, str]:
        """What another machine needs to be this authority: as in `pki/`, from memory."""
        return {"ca.key": self.current.key_pem, "ca.crt": self.bundle, "cross.crt": self._cross}

    def rotate(self, cluster: str, now: datetime) -> None:
        """Put a new authority in the place of the current one, which is trusted until it retires.

        Raises `Unavailable`; then nothing has changed.
        """
        certificate = self.current.certificate
        if now < certificate.not_valid_before_utc:
            self.current.check_clock(now)  # the successor would be dated wrongly for its whole life
        successor = Authority.create(f"PICCOLO {cluster}", now)
        cross = self._cross
        if now < certificate.not_valid_after_utc:
            cross = self.current.cross_sign(successor, now) + cross
        bundle = successor.pem + self.bundle
        write_private(self._directory / _NEXT_KEY, successor.key_pem)
        # Unless the new authority is current, nobody looks at this.
        write_private(self._directory / "cross.crt", cross)
        write_private(self._directory / "ca.crt", bundle)
        write_private(self._directory / "ca.key", successor.key_pem)
        self._load()
        self._issue_master(now)

    def retire(self, fingerprints: Sequence[str]) -> None:
        """Trust these replaced authorities no longer."""
        kept = [c for c in self.retiring if ca.fingerprint_of(c) not in fingerprints]
        write_private(self._directory / "ca.crt", self.current.pem + "".join(map(ca.to_pem, kept)))
        self._load()
        if not kept:
            write_private(self._directory / "cross.crt", "")
            self._cross = ""
        self._tls = None

    # ---- the master's own certificate ----

    def see_to_master(self, now: datetime) -> bool:
        """Issue the master's certificate anew where it is due. True: it was."""
        certificate, key = self._read("master.crt"), self._read("master.key")
        if certificate and key:
            try:
                self.master = ca.load_certificate(certificate)
                if self._holds(now):
                    return False
            except InvalidSpec:
                pass  # it is only ours: make another
        self._issue_master(now)
        return True

    def _holds(self, now: datetime) -> bool:
        issued = self._read("master.key")
        try:
            server_context(self.bundle, ca.to_pem(self.master), issued)
        except InvalidSpec:
            return False  # they do not belong together
        if not ca.signed_by(self.master, self.current.certificate):
            return False
        if now < self.current.certificate.not_valid_before_utc:
            return True  # by a clock that is wrong; what is made now would hold for nobody
        made = self.master.not_valid_before_utc
        return made <= now < self.master_due and set(self._hosts) <= _hosts_of(self.master)

    @property
    def master_due(self) -> datetime:
        """When the master gets its next certificate, and with it another key."""
        made, until = self.master.not_valid_before_utc, self.master.not_valid_after_utc
        return made + (until - made - ca.BACKDATED) * 2 / 3 + ca.BACKDATED

    def _issue_master(self, now: datetime) -> None:
        key = make_key()
        public = Request(make_request(key)).key
        signed = self.current.sign_master(public, self._hosts, now, self._lifetime)
        write_private(self._directory / "master.key", key)
        write_private(self._directory / "master.crt", signed.pem)
        self.master = ca.load_certificate(signed.pem)
        self._tls = None

    def tls(self) -> ssl.SSLContext:
        """For new connections; made anew when something changed."""
        if self._tls is None:
            self._tls = server_context(self.bundle, self._chain, self._read("master.key"))
        return self._tls

    def web_tls(self) -> ssl.SSLContext:
        """The same, for connections that are no calls."""
        return web_context(self._chain, self._read("master.key"))

    @property
    def _chain(self) -> str:
        return ca.to_pem(self.master) + self._cross


def _hosts_of(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


def _elsewhere(fingerprint: str, directory: Path) -> str:
    return (
        f"the authority of this cluster is {fingerprint}, and {directory} does not have it: restore"
        " that directory from a backup of the machine that was the master. Without one, this store"
        " cannot be served: start a new cluster with an empty store, which every node has to join"
    )
