"""Offers the program of the master's own version to bare machines that are to become nodes.

The port is opened as soon as there is a bundle: at the start of the master, or when somebody makes
a token and one has been put there meanwhile. Without it the cluster works all the same, so that no
failure here ends the master.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from piccolo import __version__
from piccolo.config.settings import InstallSettings
from piccolo.core.address import INSTALL_PORT, Address, parse_address
from piccolo.core.errors import NotFound, Unavailable
from piccolo.master.security.certificates import Certificates
from piccolo.rpc import wire
from piccolo.rpc.hosts import reachable
from piccolo.rpc.listener import Doorman
from piccolo.security import authority as ca
from piccolo.web.bundles import Bundles, Found
from piccolo.web.install_script import Origin
from piccolo.web.install_site import SCRIPT, InstallSite
from piccolo.web.server import WebServer

log = logging.getLogger(__name__)


class Installing:
    def __init__(
        self, settings: InstallSettings, certificates: Certificates, doorman: Doorman
    ) -> None:
        self._listen = parse_address(settings.listen, INSTALL_PORT, lowest_port=0)
        self._certificates = certificates
        self._bundles = Bundles(Path(settings.directory), __version__)
        site = InstallSite(self._bundles, self._origin)
        self._server = WebServer(site, doorman, certificates.trust.web_tls())
        self._named: tuple[str, ...] = ()  # files that are not offered, as it was logged last
        self._opening = asyncio.Lock()
        self._port = 0  # 0: not open
        self.grpc_port = 0  # where nodes find the master, once it listens

    def renewed(self) -> None:
        """The master has another certificate."""
        self._server.tls = self._certificates.trust.web_tls()

    async def begin(self) -> None:
        """At the start: open the port if there is something to offer."""
        try:
            await self.offer()
        except NotFound as error:
            log.debug("%s", error)
        except Unavailable as error:
            log.warning("machines cannot be installed from this master: %s", error)

    async def close(self) -> None:
        await self._server.close()

    async def offer(self) -> wire.Installation:
        """How machines get the program. Raises `NotFound` when there is no bundle, `Unavailable`
        when the port cannot be opened.
        """
        found = await self._bundles.find()
        if found.refused != self._named:
            self._named = found.refused
            for reason in found.refused:
                log.warning("not offered to new nodes: %s", reason)
        if not found.offered:
            raise NotFound(self._missing(found))
        await self._open()
        machines = sorted(found.offered)
        hosts = reachable(self._listen.host)
        return wire.Installation(
            version=__version__,
            machines=machines,
            urls=[f"https://{Address(host, self._port)}{SCRIPT}" for host in hosts],
            key_pin=self._origin().key_pin,
            key_until=self._certificates.trust.master_due,
        )

    def _missing(self, found: Found) -> str:
        directory = self._bundles.directory
        wanted = f"piccolo-{__version__}-linux-MACHINE.tar.gz"
        there = f" (there is: {'; '.join(found.refused)})" if found.refused else ""
        return (
            f"this master has no bundle of its version to install from{there}: make one with"
            f" `./dev build` and put dist/{wanted} into {directory} on the master's machine"
        )

    async def _open(self) -> None:
        async with self._opening:
            if self._port:
                return
            host, port = self._listen.host, self._listen.port
            self._port = await self._server.start(host, port, "install.listen in node.yaml")
            log.info("new nodes can be installed from %s (tcp)", Address(host, self._port))

    def _origin(self) -> Origin:
        trust = self._certificates.trust
        key = ca.key_fingerprint(ca.public_key_of(trust.master))
        return Origin(
            version=__version__,
            grpc_port=self.grpc_port,
            authority=trust.current.pem,
            key_pin=f"sha256//{key.removeprefix('SHA256:')}=",
        )
