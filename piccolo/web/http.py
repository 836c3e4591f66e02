"""One request and its answer over HTTP/1.1 (RFC 9110, RFC 9112): GET and HEAD, then it closes.

h11 is the protocol, asyncio the network. Guarantees: every wait has an end, a peer that reads
slowly pins one piece of a file, and a descriptor that comes with an answer is closed.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import h11

from piccolo.rpc.gate import Limits
from piccolo.web.pacing import Pacer

PIECE = 64 << 10  # of a file, read and encrypted between two turns of the event loop
_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_RECEIVE = 4096
_LINGER = 30.0  # s that a peer has to take the last piece
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


@dataclass(frozen=True, slots=True)
class Request:
    method: str  # GET | HEAD
    path: str  # as it was sent, without the query
    headers: Mapping[str, str]  # names in lower case
    source: str  # address of who asks, for limits


class File(NamedTuple):
    """An open one; its content does not change."""

    descriptor: int
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes | File
    type: str = "text/plain; charset=utf-8"
    tag: str = ""  # by which equal contents are known (ETag)
    more: Mapping[str, str] = field(default_factory=dict)  # further headers


def sentence(status: int, text: str, **more: str) -> Answer:
    """An answer for people: what is wrong, and what to do."""
    return Answer(status, f"{text}\n".encode(), more=more)


class Site(Protocol):
    """What is served."""

    async def answer(self, request: Request) -> Answer: ...


class Sent(NamedTuple):
    """What became of a request."""

    method: str
    path: str
    status: int
    size: int  # bytes of the body


@dataclass(slots=True)
class Exchange:
    """A connection that was just accepted."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    source: str
    limits: Limits
    pacer: Pacer
    answering: bool = False  # all that the peer had to say is said

    async def run(self, site: Site) -> Sent | None:
        """None: there was no request, or none that is HTTP.

        Raises `OSError` and `TimeoutError` when the connection breaks off or hangs.
        """
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.headers)
        try:
            async with asyncio.timeout(self.limits.preface_time):
                head = await self._head(http)
        except h11.RemoteProtocolError as error:
            await self._send(http, sentence(error.error_status_hint, f"this is not HTTP: {error}"))
            return None
        if head is None:
            return None
        self.answering = True
        method, path = head.method.decode(), head.target.decode().partition("?")[0]
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        if method not in ("GET", "HEAD"):
            answer = sentence(405, "nothing can be changed here: GET and HEAD", Allow="GET, HEAD")
        else:
            answer = await site.answer(Request(method, path, headers, self.source))
        status, size = await self._send(http, answer, headers, head_only=method == "HEAD")
        self.answering = False
        await self._taken()
        return Sent(method, path, status, size)

    async def _head(self, http: h11.Connection) -> h11.Request | None:
        while True:
            event = http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:  # it has closed the connection
                return None
            http.receive_data(await self.reader.read(_RECEIVE))

    async def _send(
        self,
        http: h11.Connection,
        answer: Answer,
        headers: Mapping[str, str] | None = None,
        head_only: bool = False,
    ) -> tuple[int, int]:
        """Returns the status, and the bytes of the body."""
        file = answer.body if isinstance(answer.body, File) else None
        size = file.size if file else len(answer.body)
        try:
            status, begin, end = _part(answer, size, headers or {})
            told = {"Date": time.strftime(_DATE, time.gmtime()), "Connection": "close"}
            told |= {"Content-Type": answer.type, **answer.more}
            told["Content-Length"] = str(size if status == 304 else end - begin)
            if answer.tag:
                told |= {"ETag": answer.tag, "Accept-Ranges": "bytes"}
            if status in (206, 416):
                where = f"{begin}-{end - 1}" if status == 206 else "*"
                told["Content-Range"] = f"bytes {where}/{size}"
            await self._write(http.send(h11.Response(status_code=status, headers=[*told.items()])))
            if head_only or status == 304:
                return status, 0
            if file:
                await self._send_file(file.descriptor, begin, end)
            else:
                assert isinstance(answer.body, bytes)
                await self._write(answer.body[begin:end])
            return status, end - begin
        finally:
            if file:
                os.close(file.descriptor)

    async def _send_file(self, descriptor: int, begin: int, end: int) -> None:
        """Past h11, which would only count the bytes."""
        clock = asyncio.get_running_loop().time
        while begin < end:
            piece = await asyncio.to_thread(os.pread, descriptor, min(PIECE, end - begin), begin)
            if not piece:
                raise ConnectionAbortedError("the file has become shorter")
            await asyncio.sleep(self.pacer.wait(len(piece), clock()))
            await self._write(piece)
            begin += len(piece)

    async def _taken(self) -> None:
        """Until the peer closes, as it knows how much it was to get: TLS has no end that leaves a
        slow one the time to read what is on its way.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self.reader.read(_RECEIVE)

    async def _write(self, data: bytes | None) -> None:
        self.writer.write(data or b"")
        async with asyncio.timeout(self.limits.idle_time):
            await self.writer.drain()


def _part(answer: Answer, size: int, headers: Mapping[str, str]) -> tuple[int, int, int]:
    """The status, and from where to where the body is sent (RFC 9110, 13 and 14)."""
    whole = (answer.status, 0, size)
    if answer.status != 200 or not answer.tag:
        return whole
    if answer.tag in headers.get("if-none-match", ""):
        return 304, 0, 0
    asked = _RANGE.fullmatch(headers.get("range", ""))
    if asked is None or headers.get("if-range", answer.tag) != answer.tag:
        return whole
    first, last = asked.groups()
    if not first:
        if not last:
            return whole
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < begin:
            return whole  # it is no range
    return (206, begin, end) if begin < end else (416, 0, 0)
