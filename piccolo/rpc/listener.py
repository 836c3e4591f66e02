"""Accepts connections and brings them through TLS, whatever strangers do meanwhile.

A connection waits in the *lobby* until its ClientHello is there: without TLS state, one descriptor
each, so that a thousand that never say anything cost next to nothing. Then it gets one of the
places for handshakes (`Limits`). Both ends in `Limits.handshake_time`.

A failed handshake is one debug line. Where it failed for lack of proof (a certificate that is not
ours, or no TLS 1.3 at all) the guard is told; connecting and closing, or silence, proves nothing.
The peer is told too: see `handshake`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from piccolo.core.security.blocking import source_of
from piccolo.rpc.binding import bind
from piccolo.rpc.gate import Bucket, Crowd, Limits
from piccolo.rpc.handshake import TellingObject, blame, tell

log = logging.getLogger(__name__)

_BATCH = 64  # accepted in one go, before others get their turn
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SHORTAGE_PAUSE = 0.5  # s until accept(2) is tried again
_AGAIN = 0.1  # s after which it is looked again whose handshake has had its time
_SHUTDOWN_TIME = 2.0  # s for the end of a connection: close_notify
_SOURCES = 4096  # whose trickle is counted
# RFC 8446, 5.1: type, legacy version, length; a record has at most 2^14 bytes.
_HEADER, _HANDSHAKE, _MAX_RECORD = 5, 22, 1 << 14


class Doorman(Protocol):
    """What the listener asks and tells a `piccolo.rpc.server.Guard`."""

    def blocked(self, source: str) -> float: ...

    def handshake_failed(self, source: str, reason: str) -> None: ...


@dataclass(eq=False, slots=True)
class _Arrival:
    """A connection on its way in."""

    sock: socket.socket
    source: str
    since: float
    wanted: int = 1  # bytes without which another look is in vain
    timer: asyncio.TimerHandle | None = None


class Listener:
    """Listens from `open` to `close`. `connect` makes the protocol of a connection, given its
    source; `tls` may be replaced at any time, for the handshakes that follow.
    """

    def __init__(
        self,
        connect: Callable[[str], asyncio.Protocol],
        doorman: Doorman,
        limits: Limits,
        tls: ssl.SSLContext,
    ) -> None:
        self._connect = connect
        self._doorman = doorman
        self._limits = limits
        self.tls = tls
        self._sockets: list[socket.socket] = []
        self._lobby: Crowd[_Arrival] = Crowd()
        self._ready: dict[_Arrival, None] = {}  # those of the lobby whose ClientHello is there
        self._shaking: Crowd[_Arrival] = Crowd()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trickles: dict[str, Bucket] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._pauses: set[asyncio.TimerHandle] = set()

    async def open(self, host: str, port: int) -> int:
        """Returns the port. Raises `OSError`. On "::" it listens for IPv4 too."""
        self._loop = asyncio.get_running_loop()
        self._sockets = await bind(host, port, backlog=self._limits.lobby)
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening, and drop whoever is not through yet."""
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()
        for timer in (*self._pauses, self._retry):
            if timer is not None:
                timer.cancel()
        for arrival in self._lobby:
            self._turn_away(arrival)
        for arrival in self._shaking:
            self._drop(arrival)

    async def wait_closed(self) -> None:
        """Until the last handshake is over."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    # ---- the lobby ----

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._pause(listening, error)
                return
            sock.setblocking(False)
            self._arrived(sock, source_of(str(peer[0])))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """The kernel has no more: without a pause, this would be tried without end."""
        log.warning("no connections are taken for %.1f s: %s", _SHORTAGE_PAUSE, error.strerror)
        self._loop.remove_reader(listening)

        def resume() -> None:
            self._pauses.discard(timer)
            self._loop.add_reader(listening, self._accept, listening)

        timer = self._loop.call_later(_SHORTAGE_PAUSE, resume)
        self._pauses.add(timer)

    def _arrived(self, sock: socket.socket, source: str) -> None:
        now, limits = self._loop.time(), self._limits
        if self._doorman.blocked(source) and not self._trickle(source).take(now):
            sock.close()
            return
        if self._lobby.of(source) >= limits.lobby_per_source:
            self._turn_away(self._lobby.oldest(source)[0])
        elif len(self._lobby) >= limits.lobby:
            self._turn_away(self._lobby.oldest(self._lobby.largest())[0])
        arrival = _Arrival(sock, source, now)
        self._lobby.add(source, arrival, now)
        arrival.timer = self._loop.call_later(limits.handshake_time, self._turn_away, arrival)
        self._loop.add_reader(sock, self._look, arrival)

    def _trickle(self, source: str) -> Bucket:
        if len(self._trickles) >= _SOURCES:
            self._trickles.clear()
        rate = self._limits.trickle
        return self._trickles.setdefault(source, Bucket(rate, max(1.0, rate)))

    def _look(self, arrival: _Arrival) -> None:
        """Whether the ClientHello is there, without taking it out of the socket."""
        try:
            seen = arrival.sock.recv(max(_HEADER, arrival.wanted), socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            seen = b""
        if len(seen) < arrival.wanted:  # the end of the stream, or the kernel is short of memory
            if not seen or not _established(arrival.sock):
                self._turn_away(arrival)
            return
        length = int.from_bytes(seen[3:_HEADER], "big")
        if seen[0] != _HANDSHAKE or seen[1:2] not in (b"", b"\x03") or length > _MAX_RECORD:
            self._turn_away(arrival)
            self._failed(arrival.source, "it does not speak TLS")
            return
        arrival.wanted = _HEADER + (length if len(seen) >= _HEADER else 0)
        complete = len(seen) >= arrival.wanted > _HEADER
        # socket(7): from now on it is readable when that much is there, or the stream has ended.
        low = 1 if complete else arrival.wanted
        arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low)
        if complete:
            self._loop.remove_reader(arrival.sock)
            self._ready[arrival] = None
            self._next()

    def _leave_lobby(self, arrival: _Arrival) -> bool:
        if arrival.timer is not None:
            arrival.timer.cancel()
        self._ready.pop(arrival, None)
        return self._lobby.remove(arrival.source, arrival)

    def _turn_away(self, arrival: _Arrival) -> None:
        if self._leave_lobby(arrival):
            self._loop.remove_reader(arrival.sock)
            arrival.sock.close()

    # ---- TLS ----

    def _next(self) -> None:
        """Give places to those who are ready, first come, first served."""
        waiting: set[str] = set()  # sources that have to wait
        full = False  # for sources that have no place at all: what holds for one holds for all
        for arrival in list(self._ready):
            has_none = not self._shaking.of(arrival.source)
            if arrival.source in waiting or (full and has_none):
                continue
            if not self._place_for(arrival.source):
                waiting.add(arrival.source)
                full = full or has_none
                continue
            self._leave_lobby(arrival)
            self._shaking.add(arrival.source, arrival, self._loop.time())
            task = self._loop.create_task(self._shake(arrival), name=f"TLS {arrival.source}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if waiting and self._retry is None:
            self._retry = self._loop.call_later(_AGAIN, self._next_again)

    def _next_again(self) -> None:
        self._retry = None
        self._next()

    def _place_for(self, source: str) -> bool:
        crowd, limits = self._shaking, self._limits
        if len(crowd) < limits.handshakes:
            return True
        rival, mine = crowd.largest(), crowd.of(source)
        unfair = mine < limits.handshake_share and crowd.of(rival) > mine + 1
        oldest, since = crowd.oldest(rival if unfair or not mine else source)
        if not unfair and self._loop.time() - since < limits.patience:
            return False
        self._drop(oldest)
        return True

    def _drop(self, arrival: _Arrival) -> None:
        """End a handshake: it sees the end of the stream, and fails."""
        if self._shaking.remove(arrival.source, arrival):
            with suppress(OSError):
                arrival.sock.shutdown(socket.SHUT_RDWR)

    async def _shake(self, arrival: _Arrival) -> None:
        ours = arrival.sock
        try:
            # The transport owns its socket, and closes it before we could say why it failed.
            await self._handshake(arrival, ours.dup())
        except ssl.SSLError as error:
            if reason := blame(error):
                self._failed(arrival.source, reason)
                await tell(ours, error)
            else:
                log.debug("handshake with %s: %s", arrival.source, error)
        except (OSError, TimeoutError) as error:
            log.debug("handshake with %s: %s", arrival.source, error)
        finally:
            ours.close()
            if self._shaking.remove(arrival.source, arrival) and self._ready:
                self._next()

    async def _handshake(self, arrival: _Arrival, sock: socket.socket) -> None:
        tls, spent = self.tls, self._loop.time() - arrival.since
        sock.setblocking(False)

        def connect() -> asyncio.Protocol:
            return self._connect(arrival.source)

        tls.sslobject_class = TellingObject
        await self._loop.connect_accepted_socket(
            connect,
            sock,
            ssl=tls,
            ssl_handshake_timeout=max(0.1, self._limits.handshake_time - spent),
            ssl_shutdown_timeout=_SHUTDOWN_TIME,
        )

    def _failed(self, source: str, reason: str) -> None:
        log.debug("handshake with %s: %s", source, reason)
        self._doorman.handshake_failed(source, reason)


def _established(sock: socket.socket) -> bool:
    """Whether the other end has not closed it yet (tcp(7), TCP_INFO, tcpi_state)."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"
    except OSError:
        return False
