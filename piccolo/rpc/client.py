"""Dialling a master: the first of several addresses that answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.protocol import H2Protocol

from piccolo.core.address import Address
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.security.access import MASTER_NAME
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

    def explain(self, error: BaseException) -> PiccoloError:
        """What a failed call means. In TLS 1.3 a master refuses a certificate when the client
        already believes to be connected: then the reason came with the end of the connection.
        """
        lost = getattr(self.channel._protocol, "lost_by", None)
        return from_rpc(lost if isinstance(lost, ssl.SSLError) else error, str(self.address))

    def close(self) -> None:
        self.channel.close()


class _Protocol(H2Protocol):
    """Remembers by what its connection was lost, which grpclib forgets."""

    lost_by: BaseException | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost_by = exc
        super().connection_lost(exc)


class _Channel(Channel):
    def _protocol_factory(self) -> H2Protocol:
        made = super()._protocol_factory()
        return _Protocol(made.handler, made.config, made.h2_config)


# A master is verified by the name in its certificate, whatever its address is.
_BY_NAME = Configuration(ssl_target_name_override=MASTER_NAME)


async def dial(addresses: Sequence[Address], *, timeout: float, tls: ssl.SSLContext) -> Connection:
    """Connect to the first address that answers, each tried for at most `timeout` seconds.

    Raises `Unavailable` with the reason of every address that failed, or, where all failed alike,
    the error that says it best.
    """
    failures: list[PiccoloError] = []
    last: BaseException | None = None
    for address in addresses:
        channel = _Channel(
            address.host, address.port, ssl=tls, codec=Codec(Unavailable), config=_BY_NAME
        )
        try:
            async with asyncio.timeout(timeout):
                await channel.__connect__()
        except (OSError, TimeoutError) as error:
            channel.close()
            failures.append(from_rpc(error, str(address)))
            last = error
        except BaseException:
            channel.close()
            raise
        else:
            return Connection(channel, address)
    if failures and len({type(failure) for failure in failures}) == 1:
        raise type(failures[0])("; ".join(map(str, failures))) from last
    raise Unavailable("; ".join(map(str, failures)) or "no address of a master is known")
