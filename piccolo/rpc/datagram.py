"""A UDP socket as an asyncio endpoint: datagrams in by callback, out by `send`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import cast

from piccolo.core.errors import Unavailable

log = logging.getLogger(__name__)

# What waits to be read, with the kernel's own overhead of 1 KB each: of 1,000 nodes, the pulses of
# two seconds. The usual 208 KB are full after a tenth of that.
_BACKLOG = 4 << 20
_SO_RCVBUFFORCE = 33  # socket(7): beyond net.core.rmem_max, for CAP_NET_ADMIN; socket lacks it

Source = tuple[str, int]
Receive = Callable[[bytes, Source], None]


class Datagrams(asyncio.DatagramProtocol):
    """Errors of single datagrams (ICMP unreachable, EPERM …) are the link's business, not ours:
    a pulse that did not go out is a pulse that was lost."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Source) -> None:
        self._receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("datagram: %s", exc)

    def send(self, data: bytes, to: Source | None = None) -> None:
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._transport.sendto(data, to)
            except OSError as error:
                log.debug("datagram to %s: %s", to, error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def bind(host: str, port: int, receive: Receive) -> Datagrams:
    """Listen on `host`:`port`, to many. Raises `Unavailable` when it cannot be bound."""
    try:
        transport, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Datagrams(receive), local_addr=(host, port)
        )
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}/udp: {error.strerror or error}"
        ) from error
    _give_room(transport.get_extra_info("socket"))
    return endpoint


def _give_room(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG)  # as much of it as anyone gets
    with contextlib.suppress(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BACKLOG)


async def connect(host: str, port: int, receive: Receive) -> Datagrams:
    """A socket that talks to `host`:`port` only. Raises `Unavailable` without a route."""
    try:
        _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Datagrams(receive), remote_addr=(host, port)
        )
    except OSError as error:
        raise Unavailable(f"cannot reach {host}:{port}/udp: {error.strerror or error}") from error
    return endpoint
