"""HTTP/2 as the server speaks it: grpclib's, with limits, of which grpclib has none.

A peer can pin at most the window of its connection, whatever it sends, plus one large message per
certificate. A message that is too large is refused when its header is there, before its body is
read. Frames that cost us more than the peer (resets, CVE-2023-44487; pings, settings, empty data)
are counted, and too many of them end the connection. Nothing that a peer sends raises here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from grpclib.config import Configuration
from grpclib.metadata import decode_metadata
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, HeadersFrame, WindowUpdateFrame

from piccolo.rpc.gate import Bucket, Connections, Limits
from piccolo.rpc.messages import MessageStream

log = logging.getLogger(__name__)

_CONFIG = H2Configuration(
    client_side=False,
    header_encoding="ascii",
    validate_inbound_headers=True,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)
_WINDOW_UPDATE = 0.1  # of a control frame: honest readers send many


class _EnhanceYourCalm(ProtocolError):
    error_code = ErrorCodes.ENHANCE_YOUR_CALM


class _H2(H2Connection):
    """Counts what is cheap for the peer and not for us."""

    def __init__(self, limits: Limits, streams: int) -> None:
        super().__init__(_CONFIG)
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.headers,
            },
        )
        self.decoder.max_header_list_size = limits.headers
        self._control = Bucket(limits.control_rate, limits.control_burst)
        self._headers_limit = 2 * limits.headers  # of a block before it is decoded

    def _receive_frame(self, frame: Frame) -> list[Event]:
        cost = self._cost(frame)
        if cost and not self._control.take(time.monotonic(), cost):
            raise _EnhanceYourCalm("too many control frames")
        return super()._receive_frame(frame)

    def _cost(self, frame: Frame) -> float:
        if isinstance(frame, HeadersFrame):
            return 0.0  # the number of streams is limited, and what ends them is counted
        if isinstance(frame, DataFrame):
            wanted = frame.stream_id in self.streams and (frame.data or "END_STREAM" in frame.flags)
            return 0.0 if wanted else 1.0
        return _WINDOW_UPDATE if isinstance(frame, WindowUpdateFrame) else 1.0

    def receive_data(self, data: Any) -> list[Event]:
        events = super().receive_data(data)
        pending = self.incoming_buffer._headers_buffer
        if pending and sum(len(frame.data) for frame in pending) > self._headers_limit:
            raise _EnhanceYourCalm("the headers are too long")
        return events


class _Connection(Connection):
    """Makes streams that limit what they receive."""

    def __init__(self, *args: Any, limits: Limits, most: int, turns: asyncio.Lock, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._limits, self._most, self._turns = limits, most, turns

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> Stream:
        stream = MessageStream(
            self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper
        )
        stream.limit(self._limits, self._most, self._turns)
        return stream


class _Processor(EventsProcessor):
    """grpclib's, without its leaks: events that it does not know, streams that are reset before
    their handler has begun.
    """

    def __init__(
        self, handler: Any, connection: Connection, active: Callable[[bool], None]
    ) -> None:
        super().__init__(handler, connection)
        self._active = active  # told whether there are streams

    def register(self, stream: Stream) -> Callable[[], None]:
        assert stream.id is not None
        self.streams[stream.id] = stream
        self._active(True)
        return lambda: self._release(stream)

    def _release(self, stream: Stream) -> None:
        assert stream.id is not None
        if self.streams.pop(stream.id, None) is None:
            return
        self.connection.stream_close_waiter.set()
        if not self.connection.is_closing():
            self.connection.ack(stream.id, stream.buffer.unacked_size())
        if not self.streams:
            self._active(False)

    def process(self, event: Event) -> None:
        if event.__class__ in getattr(self, "processors", ()):
            super().process(event)

    def process_request_received(self, event: RequestReceived) -> None:
        try:
            decode_metadata(cast(Any, event.headers))
        except ValueError:  # base64 that is none
            self.connection._connection.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
        else:
            super().process_request_received(event)

    def process_stream_reset(self, event: StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.__terminated__("the caller has cancelled it")
            self.handler.cancel(stream)
            self._release(stream)
        self.connection.streams_failed += 1


class ServerProtocol(H2Protocol):
    """One connection: from TLS to its end."""

    processor: _Processor

    def __init__(
        self,
        handler: Callable[[], AbstractHandler],
        config: Configuration,
        source: str,
        connections: Connections,
        limits: Limits,
    ) -> None:
        """`handler` makes what runs the requests: after TLS, as nobody hears of the end of a
        protocol whose handshake fails.
        """
        super().__init__(cast(AbstractHandler, None), config, _CONFIG)
        self._make_handler = handler
        self._source = source
        self._identity = ""
        self._connections = connections
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._quiet: asyncio.TimerHandle | None = None  # closes it when nothing goes on
        self._life: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self._limits
        self.handler = self._make_handler()
        self._identity = _identity(transport)
        known = bool(self._identity)
        h2 = _H2(limits, limits.streams if known else limits.anonymous_streams)
        h2.initiate_connection()
        window = limits.window if known else limits.anonymous_window
        if window > h2.inbound_flow_control_window:
            h2.increment_flow_control_window(window - h2.inbound_flow_control_window)
        h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window})
        self.connection = _Connection(
            h2,
            cast(asyncio.Transport, transport),
            config=self.config,
            limits=limits,
            most=limits.message if known else limits.anonymous_message,
            turns=self._connections.turns(self._identity) if known else asyncio.Lock(),
        )
        self.processor = _Processor(self.handler, self.connection, self._active)
        if not self._connections.enter(self, self._source, self._identity, self._loop.time()):
            self.dismiss("there are too many")
            return
        self.connection.flush()
        self.connection.initialize()
        self._quiet = self._loop.call_later(limits.preface_time, self.finish, "no HTTP/2")
        if not known:
            self._life = self._loop.call_later(limits.anonymous_time, self.finish, "its time is up")

    def data_received(self, data: bytes) -> None:
        if self.connection.is_closing():
            return
        try:
            events = self.connection.feed(data)
        except Exception as error:  # h2's own, and whatever its parts stumble over
            self._close(f"protocol error: {error}")
            return
        if not self._begun and events:
            self._begun = True
            self._active(False)
        self.connection.flush()
        for event in events:
            self.processor.process(event)
        if self.connection.is_closing():
            return
        self.connection.flush()
        if self.connection._transport.get_write_buffer_size() > self._limits.backlog:
            self.dismiss("it does not read what it asks for")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.leave(self, self._source, self._identity)
        for timer in (self._quiet, self._life):
            if timer is not None:
                timer.cancel()
        self.processor.close(reason="the connection was lost")

    @property
    def waits(self) -> bool:
        streams = self.processor.streams.values()
        return any(stream.waits for stream in streams if isinstance(stream, MessageStream))

    def dismiss(self, reason: str) -> None:
        """Close it now, without a goodbye that a peer could delay."""
        transport = getattr(self.connection, "_transport", None)
        log.debug("connection of %s ended: %s", self._source, reason)
        self.processor.close(reason)
        if transport is not None:
            transport.abort()

    def _active(self, active: bool) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        if not active:
            self._quiet = self._loop.call_later(self._limits.idle_time, self.finish, "it is idle")

    def finish(self, reason: str) -> None:
        """Say that it is over, and end it."""
        if not self.connection.is_closing():
            self.connection._connection.close_connection()
            self._close(reason)

    def _close(self, reason: str) -> None:
        log.debug("connection of %s ended: %s", self._source, reason)
        self.connection.flush()  # what h2 has to say: GOAWAY
        self.processor.close(reason)


def _identity(transport: asyncio.BaseTransport) -> str:
    """The serial number of the certificate; empty without one."""
    tls = transport.get_extra_info("ssl_object")
    return str((tls.getpeercert() or {}).get("serialNumber", ""))
