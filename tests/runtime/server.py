"""A real unix socket with anything behind it, for the misbehaviour that Podman cannot be asked for.

`Server` runs a handler per connection. `serving(answers)` is a well-behaved HTTP server that gives
each path a fixed answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nLibpod-Api-Version: 4.3.1\r\n"


def answer(body: bytes, head: bytes = OK) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str] | None:
    """Method and target of the next request; None: there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, target, _ = head.decode().split(" ", 2)
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"t-length" in line), 0
    )
    await reader.readexactly(length)
    return method, target


class Server:
    """Listens until `stop()`; `start()` again as often as wanted."""

    def __init__(self, socket: Path, handler: Handler) -> None:
        self.socket = socket
        self.connections = 0  # that were ever made
        self.open = 0
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.socket.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def left(self) -> None:
        """Waits until every client has closed its connection."""
        async with asyncio.timeout(2):
            await asyncio.gather(*self._tasks)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            with suppress(ConnectionError):
                await self._handler(reader, writer)
        finally:
            self.open -= 1
            if not writer.is_closing():
                writer.transport.abort()


@asynccontextmanager
async def listening(socket: Path, handler: Handler) -> AsyncIterator[Server]:
    server = Server(socket, handler)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def serving(answers: Mapping[str, bytes], requests: list[str] | None = None) -> Handler:
    """Answers by path, as whole HTTP answers; everything else is 404. Notes all targets."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            method, target = request
            if requests is not None:
                requests.append(f"{method} {target}")
            path = target.partition("?")[0]
            missing = answer(b'{"message":"no such container"}', b"HTTP/1.1 404 Not Found\r\n")
            writer.write(answers.get(path, missing))
            await writer.drain()

    return handle


def saying(data: bytes, *, then_close: bool = True) -> Handler:
    """Says `data` to whoever asks, and closes, or falls silent for ever."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is None:
            return
        writer.write(data)
        await writer.drain()
        if then_close:
            writer.close()
        await reader.read()

    return handle
