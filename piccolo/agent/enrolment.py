"""How a node gets its certificate: by a token the first time, by its old certificate when that has
expired (the agent slept for long), over the session at all other times.

A node on its way in knows its master by the pin in the token. It asks the machine at the address
for its authority, over a connection that is not verified, and says nothing else on it; if that
authority has the pinned fingerprint, the next connection is verified against it, and only there the
token is shown: a man in the middle gets nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ssl import DER_cert_to_PEM_cert, SSLContext

from piccolo.agent.pki import Pki
from piccolo.core.address import Address
from piccolo.core.errors import InvalidSpec, PermissionDenied, PiccoloError, Unavailable
from piccolo.core.security.token import JoinToken, fingerprint
from piccolo.rpc import wire
from piccolo.rpc.client import Connection, dial
from piccolo.security.tls import certificates_in, client_context, unverified_context

log = logging.getLogger(__name__)

DIAL = 3.0  # s per address
CALL = 10.0  # s
_NO_TOKEN = (
    "this node has no certificate: start it with --token (or --token-file, $PICCOLO_TOKEN); on the"
    " master, `piccolo token create` prints the command"
)
Stub = wire.NodeAgentServiceStub
Describe = Callable[[str], wire.NodeRegistrationRequest]  # with the address that we speak from


class Enrolment:
    def __init__(self, pki: Pki, token: str, pin: str) -> None:
        """`token` and `pin` (of the authority, without a token) may be empty.

        Raises `InvalidSpec` for a token that is none.
        """
        self._pki = pki
        self._token = token
        self._pin = JoinToken.parse(token).pin if token else pin

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    async def join(
        self, masters: Sequence[Address], describe: Describe
    ) -> wire.NodeRegistrationResponse:
        """Register with the token, and keep the certificate that comes back.

        Raises `PermissionDenied` when there is no token, or the master refuses it.
        """
        if not (self._token or self._pin or self._pki.ca):
            raise PermissionDenied(_NO_TOKEN)
        tls = self._pki.anonymous
        if not self._pki.ca or (self._pin and self._pin not in self._pki.pins):
            # Kept only with the certificate: a node that is refused belongs where it did.
            tls = partial(client_context, await self._authority(masters))
        async with self._connected(masters, tls()) as connection:
            request = describe(connection.local_host())
            request.credentials = wire.Credentials(token=self._token, csr_pem=self._pki.request)
            reply = await Stub(connection.channel).register_node(request, timeout=CALL)
        if reply.certificate is None:
            raise Unavailable("the master gave no certificate: it runs another version of PICCOLO")
        await asyncio.to_thread(self._pki.keep, reply.certificate)
        log.info("joined the cluster, with a certificate of its own")
        return reply

    async def _authority(self, masters: Sequence[Address]) -> str:
        """The authority with the pinned fingerprint. Raises `PermissionDenied` for another."""
        async with self._connected(masters, unverified_context()) as connection:
            request = wire.GetTrustBundleRequest()
            reply = await Stub(connection.channel).get_trust_bundle(request, timeout=CALL)
            shown = [der for der in _certificates(reply.ca_pem) if fingerprint(der) == self._pin]
            if not shown:
                raise PermissionDenied(
                    f"the machine at {connection.address} does not have the authority that the"
                    f" token is of, {self._pin}: --master names another cluster's, or the authority"
                    " was replaced since (then make a new token), or somebody is in between;"
                    " nothing was told to it"
                )
            return DER_cert_to_PEM_cert(shown[0])

    async def renew_expired(self, masters: Sequence[Address]) -> None:
        """A new certificate by the old one. Raises `PermissionDenied` with the master's reason."""
        async with self._connected(masters, self._pki.anonymous()) as connection:
            request = wire.RenewCertificateRequest(
                csr_pem=self._pki.request, expired_pem=self._pki.certificate.pem
            )
            reply = await Stub(connection.channel).renew_certificate(request, timeout=CALL)
        await self._keep(reply)

    async def renew(self, connection: Connection) -> None:
        """A new certificate over a connection that knows us."""
        request = wire.RenewCertificateRequest(csr_pem=self._pki.request)
        try:
            stub = Stub(connection.channel)
            reply = await stub.renew_certificate(request, timeout=CALL)
        except PiccoloError:
            raise
        except Exception as error:
            raise connection.explain(error) from error
        await self._keep(reply)

    async def _keep(self, reply: wire.RenewCertificateResponse) -> None:
        if reply.certificate is None:
            raise Unavailable("the master answered without a certificate")
        await asyncio.to_thread(self._pki.keep, reply.certificate)
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self._pki.certificate.not_after))
        log.info("the certificate was renewed, until %s", until)

    @asynccontextmanager
    async def _connected(
        self, masters: Sequence[Address], tls: SSLContext
    ) -> AsyncIterator[Connection]:
        connection = await dial(masters, timeout=DIAL, tls=tls)
        try:
            yield connection
        except PiccoloError:
            raise
        except Exception as error:
            raise connection.explain(error) from error
        finally:
            connection.close()


def _certificates(pem: str) -> list[bytes]:
    try:
        return certificates_in(pem)
    except InvalidSpec:
        return []  # a stranger may say anything
