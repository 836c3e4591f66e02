"""The gRPC server: grpclib's, behind a gate, and with every handler wrapped once.

Whoever connects comes through the `listener` and speaks `protocol`, both with the `gate`'s limits.
The wrapper is the one place where a request's caller becomes known (`caller()`) and is admitted or
refused by the guard, where our errors become statuses, and where an unexpected exception becomes a
log entry and an INTERNAL without detail. What peers do wrong is in the log at level debug only.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol

from grpclib import GRPCError, Status
from grpclib.config import Configuration
from grpclib.events import RecvRequest, SendInitialMetadata, listen
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Server, Stream

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.security.access import ANONYMOUS, Principal
from piccolo.core.security.blocking import source_of
from piccolo.rpc.binding import explain
from piccolo.rpc.codec import Codec
from piccolo.rpc.errors import to_status
from piccolo.rpc.gate import Connections, Limits, descriptors
from piccolo.rpc.listener import Listener
from piccolo.rpc.messages import MessageStream
from piccolo.rpc.protocol import ServerProtocol

log = logging.getLogger(__name__)

_LIMITS = Limits()
_INTERNAL = "internal error of the master; its log has the details"


@dataclass(slots=True)
class Caller:
    """Who makes a request, and what is said of it in the audit trail."""

    address: str  # "10.0.0.2:40112"
    principal: Principal = ANONYMOUS
    serial: str = ""  # of the certificate, hexadecimal; empty without one
    not_after: float = 0.0  # s since the epoch, when the certificate expires
    subject: str = ""  # what the request is about: see `concerns`

    @property
    def source(self) -> str:
        """The host alone, as what it counts for limits: see `core.security.blocking.source_of`."""
        return source_of(self.address.rpartition(":")[0].strip("[]"))


class Guard(Protocol):
    """Whom the server lets in. Methods are "/package.Service/Method"."""

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        """Who calls; `certificate` as `ssl.SSLSocket.getpeercert` gives it, verified against our
        authority, or None. Raises `PermissionDenied`.
        """
        ...

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None:
        """An admitted call is over, or (a stream) was cut; `error` None: it succeeded."""
        ...

    def blocked(self, source: str) -> float:
        """For how many seconds `source` (`blocking.source_of`) stays blocked; 0: it is not.
        Asked before TLS. A few connections per second come through all the same
        (`Limits.trickle`), as whoever has a certificate may share the address: then `admit` is
        asked.
        """
        ...

    def handshake_failed(self, source: str, reason: str) -> None:
        """Somebody showed a certificate that is not ours, or no TLS 1.3. Not told: time-outs,
        connections that are closed without a word, clients that do not trust us.
        """
        ...


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Who makes the current request."""
    return _caller.get()


def concerns(subject: str) -> None:
    """Tell the audit trail what the current request is about, "node n1"."""
    _caller.get().subject = subject


class _Server(Server):
    """grpclib's, with connections of our own."""

    def __init__(self, services: Collection[Any], limits: Limits) -> None:
        # grpclib asks peers with open streams for signs of life.
        super().__init__(services, codec=Codec(), config=Configuration(_keepalive_time=30))
        self._limits = limits
        self._connections = Connections(limits)

    def connect(self, source: str) -> ServerProtocol:
        return ServerProtocol(
            lambda: self._protocol_factory().handler,
            self._config,
            source,
            self._connections,
            self._limits,
        )

    async def end(self) -> None:
        """Cancel all requests, and wait for them."""
        for handler in self._handlers:
            handler.close()
        await asyncio.gather(*(handler.wait_closed() for handler in self._handlers))

    def disconnect(self) -> None:
        for crowd in (self._connections.known, self._connections.anonymous):
            for connection in crowd:
                connection.finish("the server ends")


class GrpcServer:
    """Serves grpclib services on one address until closed."""

    def __init__(
        self,
        services: Collection[Any],
        guard: Guard,
        tls: ssl.SSLContext,
        limits: Limits = _LIMITS,
    ) -> None:
        """`limits`: as many connections of them as the process may have descriptors."""
        limits = limits.within(descriptors(limits.descriptors))
        self._server = _Server(services, limits)
        self._guard = guard
        self._listener = Listener(self._server.connect, guard, limits, tls)
        listen(self._server, RecvRequest, self._wrap)
        listen(self._server, SendInitialMetadata, _date)

    @property
    def tls(self) -> ssl.SSLContext:
        """For new connections; it may be replaced at any time."""
        return self._listener.tls

    @tls.setter
    def tls(self, tls: ssl.SSLContext) -> None:
        self._listener.tls = tls

    async def start(self, host: str, port: int) -> int:
        """Returns the port, which for `port` 0 the system chose.

        Raises `Unavailable` when the address cannot be bound.
        """
        try:
            return await self._listener.open(host, port)
        except OSError as error:
            raise Unavailable(explain(error, host, port)) from error

    async def close(self, grace: float = 1.0) -> None:
        """Stop listening, end what runs, wait at most `grace` seconds for it."""
        self._listener.close()
        try:
            async with asyncio.timeout(grace):
                await self._server.end()
                await self._listener.wait_closed()
        except TimeoutError:
            log.warning("some requests did not end within %.0f s of closing", grace)
        self._server.disconnect()

    async def _wrap(self, event: RecvRequest) -> None:
        handler = event.method_func
        name = event.method_name

        async def handle(stream: Stream[Any, Any]) -> None:
            address = _address(stream.peer.addr())
            if isinstance(stream._stream, MessageStream):
                stream._stream.unary = not stream._cardinality.client_streaming
            try:
                who = self._guard.admit(name, address, stream.peer.cert())
            except PiccoloError as error:
                raise to_status(error) from error
            _caller.set(who)
            try:
                await handler(stream)
            except BaseException as error:
                self._guard.ended(name, who, error)
                if isinstance(error, PiccoloError):
                    log.debug("%s from %s: %s: %s", name, address, type(error).__name__, error)
                    raise to_status(error) from error
                if isinstance(error, asyncio.CancelledError) and error.args:
                    # Cut by the guard, which said why. Without a status the peer would wait for
                    # ever; with this one it comes back, and is told more.
                    raise GRPCError(Status.UNAVAILABLE, str(error.args[0])) from error
                expected = (GRPCError, StreamTerminatedError, asyncio.CancelledError)
                if isinstance(error, expected) or not isinstance(error, Exception):
                    raise
                log.exception("%s from %s failed", name, address)
                raise GRPCError(Status.INTERNAL, _INTERNAL) from error
            self._guard.ended(name, who, None)

        event.method_func = handle


async def _date(event: SendInitialMetadata) -> None:
    """So that a machine which is about to join can compare its clock (RFC 9110, 6.6.1)."""
    event.metadata["date"] = formatdate(usegmt=True)


def _address(peer: tuple[Any, ...] | None) -> str:
    """ "10.0.0.2:40112", "[2001:db8::1]:40112"; what is mapped into IPv6 is IPv4."""
    if not peer:
        return "?"
    host = str(peer[0]).removeprefix("::ffff:")
    return f"[{host}]:{peer[1]}" if ":" in host else f"{host}:{peer[1]}"


class _Quiet(logging.Filter):
    """What grpclib says of requests that fail is about peers: our handlers are wrapped."""

    def filter(self, record: logging.LogRecord) -> bool:
        log.debug("%s", record.getMessage(), exc_info=record.exc_info)
        return False


logging.getLogger("grpclib.server").addFilter(_Quiet())
