"""Messages as they come in on one HTTP/2 stream, each limited in size and time.

The five bytes in front of a message (gRPC over HTTP/2, "Length-Prefixed-Message") say how long it
is; whether it is taken is decided then. Small messages fit into the stream's window. A larger one
waits for the turn of its sender, and the window is opened for it: so one certificate has one large
message in our memory, however many it sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import Buffer, Connection, Stream
from h2.exceptions import ProtocolError, StreamClosedError

from piccolo.rpc.gate import Limits

_HEADER = 5


class Truncated(Exception):
    """The stream has ended within a message."""


class _Bytes(Buffer):
    """What has come and was not read yet. Not grpclib's: that keeps an object per frame, so that
    frames of one byte pin a hundred times what the window allows.
    """

    def __init__(self, ack_callback: Callable[[int], None]) -> None:
        self._acknowledge = ack_callback
        self._data = bytearray()
        self._counted = 0  # what counts for the window: padding too
        self._ended = False
        self._changed = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        self._data += data
        self._counted += ack_size
        self._changed.set()

    def eof(self) -> None:
        self._ended = True
        self._changed.set()

    @property
    def complete(self) -> bool:
        """Nothing more will come."""
        return self._ended

    def __len__(self) -> int:
        return len(self._data)

    async def read(self, size: int, *, large: bool = False) -> bytes:
        """Exactly `size` bytes; none at the end. `large`: the window is refilled meanwhile.

        Raises `Truncated`.
        """
        while len(self._data) < size and not self._ended:
            if large:
                self._refill(self._counted)
            self._changed.clear()
            await self._changed.wait()
        if len(self._data) < size:
            if not self._data:
                return b""
            raise Truncated
        taken = bytes(self._data[:size])
        del self._data[:size]
        self._refill(self._counted - len(self._data))
        return taken

    def _refill(self, size: int) -> None:
        if size > 0:
            self._counted -= size
            self._acknowledge(size)

    def unacked_size(self) -> int:
        size, self._counted = self._counted, 0
        self._data.clear()
        return size


class MessageStream(Stream):
    """grpclib reads a message in two steps, its header and its body: `recv_data` is both."""

    buffer: _Bytes
    unary = False  # one message, which must come soon

    _limits = Limits()
    _most = _limits.message
    _turns: asyncio.Lock
    _in_body = False
    _opened = False
    _answered = False

    def init_stream(self, stream_id: int, connection: Connection) -> None:
        super().init_stream(stream_id, connection)
        self.buffer = _Bytes(partial(connection.ack, stream_id))

    def limit(self, limits: Limits, most: int, turns: asyncio.Lock) -> None:
        """`most`: bytes of a message; `turns` is held while a large one is read."""
        self._limits, self._most, self._turns = limits, most, turns

    @property
    def waits(self) -> bool:
        """Whether all of the request is there, and nothing of the answer was sent yet."""
        return self.buffer.complete and not self._answered

    async def send_headers(self, headers: Any, end_stream: bool = False) -> None:
        self._answered = True
        await super().send_headers(headers, end_stream)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        """Raises `StreamTerminatedError` when the peer has closed the stream: whoever is about to
        send learns that first, before it is told of the end."""
        try:
            await super().send_data(data, end_stream)
        except StreamClosedError:
            raise StreamTerminatedError("the peer closed the stream") from None

    async def recv_data(self, size: int) -> bytes:
        """Raises `GRPCError` when the message is too large, too slow, or none."""
        try:
            if self._in_body:
                self._in_body = False
                return await self._body(size)
            header = await self._header()
        except Truncated:
            raise GRPCError(Status.INVALID_ARGUMENT, "the message ends too early") from None
        except TimeoutError:
            raise GRPCError(
                Status.DEADLINE_EXCEEDED,
                f"the message did not come within {self._limits.message_time:g} s",
            ) from None
        self._in_body = bool(header)
        return header

    async def _header(self) -> bytes:
        if not self.unary:
            header = await self.buffer.read(_HEADER)
        elif not (header := await self._soon(_HEADER)):
            raise GRPCError(Status.INVALID_ARGUMENT, "the request has no message")
        if header[:1] not in (b"", b"\0"):
            raise GRPCError(
                Status.UNIMPLEMENTED, "compressed messages are not taken: send them as they are"
            )
        return header

    async def _body(self, size: int) -> bytes:
        if size > self._most:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"the message has {size} bytes, at most {self._most} are taken",
            )
        # h2 refills a window when half of it is used up: that much is always open.
        if size < self._limits.stream_window // 2 - _HEADER:
            body = await self._soon(size)
        else:
            async with asyncio.timeout(self._limits.message_time), self._turns:
                self._open(size)
                body = await self.buffer.read(size, large=True)
        if len(body) < size:
            raise Truncated
        return body

    async def _soon(self, size: int) -> bytes:
        if len(self.buffer) >= size:
            return await self.buffer.read(size)
        async with asyncio.timeout(self._limits.message_time):
            return await self.buffer.read(size)

    def _open(self, size: int) -> None:
        """Widen the window of the stream: once, for all large messages on it."""
        if self._opened or self.buffer.complete or len(self.buffer) >= size:
            return
        self._opened = True
        more = min(size, self._limits.large_window)
        h2: Any = self._h2_connection
        try:
            h2.increment_flow_control_window(more, self.id)
        except (ProtocolError, KeyError):
            return  # it is closed: the buffer will say so
        self.connection.flush()
