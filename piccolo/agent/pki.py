"""What a node has to be let in by: the files in `pki/` of its data directory.

=============  =======================================================================
node.key       its private key, which never leaves this machine
node.csr       its request for a certificate: all it takes to get one, or a newer one
node.crt       its certificate; the text above it (RFC 7468, 5.2) says from when to when
ca.crt         the authorities of its cluster
=============  =======================================================================

Key and request are made before the agent starts (`security.request`), as that takes a library
which is too big for it: so a certificate is renewed without it.
"""

from __future__ import annotations

import random
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from piccolo.core.errors import InvalidSpec
from piccolo.core.security.token import fingerprint
from piccolo.rpc import wire
from piccolo.security.files import private_dir, read_private, write_private
from piccolo.security.tls import certificates_in, client_context

# Of a certificate's life: renewed at two thirds of it, not all nodes at the same moment.
_DUE, _JITTER = 2 / 3, 0.05
_TIMES = re.compile(r"Made: (\S+)\nNot After: (\S+)\n")


@dataclass(frozen=True, slots=True)
class Held:
    """The certificate that a node has. Times are seconds since the epoch."""

    pem: str
    made: float
    not_after: float

    def due(self, jitter: float) -> float:
        """When to renew it; `jitter` is from -1 to 1."""
        return self.made + (self.not_after - self.made) * (_DUE + _JITTER * jitter)


class Pki:
    """Raises `InvalidSpec` for what is damaged or open to others, `Unavailable`."""

    def __init__(self, directory: Path) -> None:
        self._directory = private_dir(directory)
        self.jitter = random.uniform(-1, 1)
        self.request = self._read("node.csr")
        self.ca = self._read("ca.crt")
        self.held = _parse(self._read("node.crt"))
        self._context: ssl.SSLContext | None = None

    def _read(self, name: str) -> str:
        return read_private(self._directory / name) or ""

    @property
    def pins(self) -> list[str]:
        """The fingerprints of the authorities that are trusted."""
        try:
            return [fingerprint(der) for der in certificates_in(self.ca)]
        except InvalidSpec as error:
            raise self._damaged(error) from None

    @property
    def certificate(self) -> Held:
        """What it holds, for whoever knows that it has joined."""
        assert self.held is not None
        return self.held

    def context(self) -> ssl.SSLContext:
        """By which the master knows this node."""
        if self._context is None:
            held = self.certificate.pem
            try:
                self._context = client_context(self.ca, held, self._read("node.key"))
            except InvalidSpec as error:
                raise self._damaged(error) from None
        return self._context

    def _damaged(self, error: InvalidSpec) -> InvalidSpec:
        """Says which file it is."""
        try:
            certificates_in(self.ca)
            client_context(self.ca)
        except InvalidSpec:
            file = "ca.crt"
        else:
            file = "node.crt, node.key"
        return InvalidSpec(
            f"{self._directory}/{file}: {error}; restore the files of this directory from a backup,"
            " or delete it and join anew with a token"
        )

    def anonymous(self) -> ssl.SSLContext:
        """Knows the master, and does not say who we are."""
        try:
            return client_context(self.ca)
        except InvalidSpec as error:
            raise self._damaged(error) from None

    def keep(self, signed: wire.SignedCertificate) -> None:
        """A certificate that was given to us, and whom to trust. Blocking."""
        assert signed.not_before is not None
        assert signed.not_after is not None
        self.trust(signed.ca_pem)
        text = (
            f"Made: {signed.not_before.astimezone(UTC).isoformat()}\n"
            f"Not After: {signed.not_after.astimezone(UTC).isoformat()}\n{signed.certificate_pem}"
        )
        client_context(self.ca, signed.certificate_pem, self._read("node.key"))  # or it is no use
        write_private(self._directory / "node.crt", text)
        self.held = _parse(text)
        self._context = None

    def trust(self, ca_pem: str) -> None:
        """Trust these authorities from now on, and no others. Blocking."""
        if ca_pem != self.ca:
            client_context(ca_pem)  # refuses what is none
            write_private(self._directory / "ca.crt", ca_pem)
            self.ca = ca_pem
            self._context = None


def _parse(text: str) -> Held | None:
    times = _TIMES.match(text)
    if times is None:
        return None  # none, or not one of ours: join again
    try:
        made, not_after = (datetime.fromisoformat(t).timestamp() for t in times.groups())
    except ValueError:
        return None
    return Held(text[times.end() :], made, not_after)
