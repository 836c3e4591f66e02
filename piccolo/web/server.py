"""An HTTPS server for everybody: few connections at a time, fairly shared, and a limited rate.

The same gate is in front of it as in front of the gRPC server (`piccolo.rpc.listener`), with less
room, as whoever wants something here can wait. What peers do wrong is in the log at level debug.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass
from functools import partial

from piccolo.core.errors import Unavailable
from piccolo.rpc.binding import explain
from piccolo.rpc.gate import Bucket, Connections, Limits, descriptors
from piccolo.rpc.listener import Doorman, Listener
from piccolo.web.http import PIECE, Exchange, Sent, Site
from piccolo.web.pacing import Pacer

log = logging.getLogger(__name__)

LIMITS = Limits(
    lobby=128,
    lobby_per_source=64,
    handshakes=16,
    handshake_share=4,
    anonymous=32,
    anonymous_per_source=16,
    known=0,
    headers=8 << 10,
)
RATE = 10e6  # bytes/s of all downloads together: four fifths of Fast Ethernet
_GOODBYE = 5.0  # s for the end of a connection, and of the server
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
)
# socket(7), linux/pkt_sched.h: what the queue of the network card sends last.
_BULK = 2
_NOTSENT_LOWAT = 25  # tcp(7): Python knows its name from 3.12 on


@dataclass(eq=False, slots=True)
class _Member:
    """An established connection, as the gate sees it."""

    exchange: Exchange

    @property
    def waits(self) -> bool:
        return self.exchange.answering

    def dismiss(self, reason: str) -> None:
        log.debug("%s is cut off: %s", self.exchange.source, reason)
        self.exchange.writer.transport.abort()

    finish = dismiss


class WebServer:
    """Serves one site on one address until closed."""

    def __init__(
        self,
        site: Site,
        doorman: Doorman,
        tls: ssl.SSLContext,
        *,
        limits: Limits = LIMITS,
        rate: float = RATE,
    ) -> None:
        # Beside the gRPC server, which leaves what it reserves where a process may have few.
        others = Limits().descriptors
        room = descriptors(others + limits.descriptors) - others
        self._limits = limits.within(room)
        self._site = site
        self._pacer = Pacer(rate)
        self._noted = Bucket(rate=1.0, burst=20.0)  # lines in the log
        self._connections = Connections(self._limits)
        self._listener = Listener(self._connect, doorman, self._limits, tls)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def tls(self) -> ssl.SSLContext:
        """For new connections; it may be replaced at any time."""
        return self._listener.tls

    @tls.setter
    def tls(self, tls: ssl.SSLContext) -> None:
        self._listener.tls = tls

    async def start(self, host: str, port: int, setting: str) -> int:
        """Returns the port. Raises `Unavailable`; `setting` is where another address is told."""
        try:
            return await self._listener.open(host, port)
        except OSError as error:
            raise Unavailable(explain(error, host, port, setting)) from error

    async def close(self) -> None:
        """Stop listening, and cut off who is served."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GOODBYE)
        await self._listener.wait_closed()

    def _connect(self, source: str) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=self._limits.headers)
        return asyncio.StreamReaderProtocol(reader, partial(self._connected, source))

    def _connected(
        self, source: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        _stand_back(writer)
        exchange = Exchange(reader, writer, source, self._limits, self._pacer)
        task = asyncio.get_running_loop().create_task(
            self._serve(_Member(exchange)), name=f"HTTPS {source}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, member: _Member) -> None:
        exchange = member.exchange
        source, writer = exchange.source, exchange.writer
        begun = asyncio.get_running_loop().time()
        entered = self._connections.enter(member, source, "", begun)
        try:
            if not entered:
                writer.write(_BUSY)
            elif sent := await exchange.run(self._site):
                self._note(sent, source, begun)
            writer.close()
            async with asyncio.timeout(_GOODBYE):
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            log.debug("%s broke off: %s", source, error)
        except Exception:
            log.exception("a request of %s failed", source)
        finally:
            if entered:
                self._connections.leave(member, source, "")
            writer.transport.abort()

    def _note(self, sent: Sent, source: str, begun: float) -> None:
        """A line in the log, though never a flood of them."""
        now = asyncio.get_running_loop().time()
        told = sent.status in (200, 206) and self._noted.take(now)
        log.log(
            logging.INFO if told else logging.DEBUG,
            "%s %s: %d, %d bytes to %s in %.1f s",
            sent.method[:10],
            ascii(sent.path[:100]),
            sent.status,
            sent.size,
            source,
            now - begun,
        )


def _stand_back(writer: asyncio.StreamWriter) -> None:
    """Keep what waits to be sent small, and behind all else that leaves this machine."""
    writer.transport.set_write_buffer_limits(high=PIECE)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _BULK)
    sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, PIECE)
