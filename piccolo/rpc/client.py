"""Dialling a master: the first of several addresses that answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from grpclib.client import Channel

from piccolo.core.address import Address
from piccolo.core.errors import Unavailable
from piccolo.rpc.codec import Codec
from piccolo.rpc.errors import from_rpc


@dataclass(slots=True)
class Connection:
    """An open channel and where it leads to. Close it when done."""

    channel: Channel
    address: Address

    def local_host(self) -> str:
        """The address of this machine that the connection uses."""
        protocol = self.channel._protocol
        assert protocol is not None
        name = protocol.connection._transport.get_extra_info("sockname")
        return str(name[0]) if name else ""

    def close(self) -> None:
        self.channel.close()


async def dial(
    addresses: Sequence[Address], *, timeout: float, tls: ssl.SSLContext | None = None
) -> Connection:
    """Connect to the first address that answers, each tried for at most `timeout` seconds.

    Raises `Unavailable` with the reason of every address that failed.
    """
    failures = []
    for address in addresses:
        channel = Channel(address.host, address.port, ssl=tls, codec=Codec(Unavailable))
        try:
            async with asyncio.timeout(timeout):
                await channel.__connect__()
        except (OSError, TimeoutError) as error:
            channel.close()
            failures.append(str(from_rpc(error, str(address))))
        except BaseException:
            channel.close()
            raise
        else:
            return Connection(channel, address)
    raise Unavailable("; ".join(failures) or "no address of a master is known")
