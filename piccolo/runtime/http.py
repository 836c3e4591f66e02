"""HTTP/1.1 to a program on this machine, over its unix socket (RFC 9112).

Exists because the agent's memory is tight: h11 is the protocol, asyncio the network, and the rest
is here. Knows nothing of containers.

Guarantees: every wait has an end, except the one for the next line of a stream. A cancelled or
failed exchange closes its connection. Whatever the other side does, the error is `Unavailable`,
with what happened and what to do next.

Not for large uploads: a request's body is sent in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import h11

from piccolo.core.errors import Unavailable

TIMEOUT = 20.0  # s, of a request with its answer, or until a stream begins
BODY_LIMIT = 8 << 20  # bytes of one answer; the whole agent has 40 MB
LINE_LIMIT = 1 << 20  # bytes of one line of a stream
_CHUNK = 64 << 10


class Response(NamedTuple):
    """An answer, whatever its status. The names of `headers` are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes | bytearray


class _Peer(NamedTuple):
    """Who listens, for error messages: its socket, its name, the command that starts it."""

    socket: Path
    name: str
    start: str
    timeout: float

    @contextmanager
    def explained(self, what: str, extra: float = 0.0) -> Iterator[None]:
        """Turns everything that can go wrong on the way into `Unavailable`."""
        socket, name, start, timeout = self
        try:
            yield
        except TimeoutError as error:
            raise Unavailable(
                f"{name} did not answer {what} within {timeout + extra:g} s: it hangs or is"
                " overloaded; if that lasts, restart it"
            ) from error
        except FileNotFoundError as error:
            raise Unavailable(f"there is no socket {socket}; start {name} with: {start}") from error
        except ConnectionRefusedError as error:
            raise Unavailable(f"nobody listens at {socket}; start {name} with: {start}") from error
        except PermissionError as error:
            raise Unavailable(
                f"no permission to open {socket}: run as root, or as the user who owns it"
            ) from error
        except h11.RemoteProtocolError as error:
            raise Unavailable(
                f"the answer of {socket} to {what} is not HTTP, or broke off: {error};"
                f" see that it is {name} who listens there, and alive"
            ) from error
        except OSError as error:
            raise Unavailable(
                f"{name} at {socket} broke off during {what}: {error.strerror or error}; try again"
            ) from error


class _Connection:
    """A socket and the state of its conversation. Reading may be cancelled and resumed."""

    __slots__ = ("_http", "_reader", "_writer", "silent")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.silent = True  # nothing has come since the last request was sent

    async def ask(self, method: str, target: str, body: bytes | None) -> h11.Response:
        """Send a request; return the head of the answer."""
        headers = [("Host", "localhost")]
        if body is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        pieces = [self._http.send(h11.Request(method=method, target=target, headers=headers))]
        if body:
            pieces.append(self._http.send(h11.Data(data=body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        self.silent = True
        self._writer.write(b"".join(piece for piece in pieces if piece))
        await self._writer.drain()
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 100 Continue and its like
        return event

    async def data(self) -> bytes | None:
        """The next piece of the answer's body; None: that was all."""
        event = await self._event()
        return event.data if isinstance(event, h11.Data) else None

    async def _event(self) -> h11.Event:
        while not isinstance(event := self._http.next_event(), h11.Event):
            received = await self._reader.read(_CHUNK)
            if not received and self.silent:
                raise ConnectionResetError("it closed the connection without an answer")
            self.silent = False
            self._http.receive_data(received)
        return event

    def next_cycle(self) -> bool:
        """Make ready for another request. False: the connection cannot take one."""
        done = self._http.our_state is self._http.their_state is h11.DONE
        if done and self._http.trailing_data == (b"", False):
            self._http.start_next_cycle()
            return True
        return False

    def closed_by_peer(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    def abort(self) -> None:
        """Close at once, without waiting for anything."""
        self._writer.transport.abort()


class Stream:
    """An answer that may never end, line by line or piece by piece."""

    __slots__ = ("_buffer", "_connection", "_peer", "_searched", "_what", "status")

    def __init__(self, connection: _Connection, status: int, what: str, peer: _Peer) -> None:
        self.status = status
        self._connection = connection
        self._what = what
        self._peer = peer
        self._buffer = bytearray()
        self._searched = 0

    async def line(self) -> bytes:
        """The next line. May be cancelled, and called again, without loss.

        Raises `Unavailable` at the end of the stream, and for a line over `LINE_LIMIT`.
        """
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > LINE_LIMIT:
                raise Unavailable(
                    f"{self._peer.name} sent a line of over {LINE_LIMIT >> 20} MB in answer to"
                    f" {self._what}: see what makes it so large"
                )
            if not (data := await self.piece()):
                with self._peer.explained(self._what):
                    raise ConnectionResetError("it ended the stream")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    async def piece(self) -> bytes:
        """What comes next, at least one byte; empty: that was all. Not to be mixed with `line`."""
        with self._peer.explained(self._what):
            while (data := await self._connection.data()) is not None:
                if data:
                    return data
            return b""

    async def rest(self) -> bytes:
        """All that is still to come, up to `LINE_LIMIT`: for the text of an error."""
        with self._peer.explained(self._what):
            async with asyncio.timeout(self._peer.timeout):
                while len(self._buffer) <= LINE_LIMIT and (data := await self.piece()):
                    self._buffer += data
        return bytes(self._buffer)


class HttpClient:
    """Speaks with whoever listens at `socket`; `name` and `start` say who that is, and which
    command starts it, for error messages. `timeout` in seconds, of each request.

    One connection is kept open between requests; requests at the same time get further ones.
    """

    def __init__(self, socket: Path, *, name: str, start: str, timeout: float = TIMEOUT) -> None:
        self._peer = _Peer(socket, name, start, timeout)
        self._idle: _Connection | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        limit: int = BODY_LIMIT,
        extra: float = 0.0,
    ) -> Response:
        """One request and its answer, whatever its status.

        `limit` in bytes, for the answer's body; `extra` in seconds, which it may rightly take
        beyond the timeout. Only a GET is ever sent twice: when the connection that was kept turns
        out to be dead.
        """
        target = _target(path, query)
        with self._peer.explained(f"{method} {path}", extra):
            async with asyncio.timeout(self._peer.timeout + extra):
                kept = self._take_idle() if method == "GET" else None
                if kept is not None:
                    try:
                        return await self._exchange(kept, method, target, body, limit)
                    except ConnectionError:
                        if not kept.silent:
                            raise
                connection = await self._connect()
                return await self._exchange(connection, method, target, body, limit)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> AsyncIterator[Stream]:
        """Ask for an answer without end; its head has to come in time."""
        what = f"{method} {path}"
        connection: _Connection | None = None
        try:
            with self._peer.explained(what):
                async with asyncio.timeout(self._peer.timeout):
                    connection = await self._connect()
                    head = await connection.ask(method, _target(path, query), body)
            yield Stream(connection, head.status_code, what, self._peer)
        finally:
            if connection is not None:
                connection.abort()

    def close(self) -> None:
        """Close the connection that is kept, and keep none from now on."""
        self._closed = True
        if self._idle is not None:
            self._idle.abort()
            self._idle = None

    def _take_idle(self) -> _Connection | None:
        connection, self._idle = self._idle, None
        if connection is not None and connection.closed_by_peer():
            connection.abort()
            return None
        return connection

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_unix_connection(self._peer.socket, limit=_CHUNK))

    async def _exchange(
        self, connection: _Connection, method: str, target: str, body: bytes | None, limit: int
    ) -> Response:
        keep = False
        try:
            head = await connection.ask(method, target, body)
            answer = bytearray()
            while (data := await connection.data()) is not None:
                answer += data
                if len(answer) > limit:
                    raise Unavailable(
                        f"{self._peer.name} answered {method} {target.partition('?')[0]} with"
                        f" over {limit >> 20} MB: see what makes it so large"
                    )
            keep = self._idle is None and not self._closed and connection.next_cycle()
            return Response(head.status_code, dict(head.headers), answer)
        finally:
            if keep:
                self._idle = connection
            else:
                connection.abort()


def _target(path: str, query: Mapping[str, str] | None) -> str:
    return quote(path) + (f"?{urlencode(query)}" if query else "")
