"""The gRPC server: grpclib's, with every handler wrapped once.

The wrapper is the one place where a request's peer becomes known (`peer()`), where our errors
become statuses, and where an unexpected exception becomes a log entry and an INTERNAL without
detail. Authentication and roles belong here too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any

from grpclib import GRPCError, Status
from grpclib.config import Configuration
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Server, Stream

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.rpc.codec import Codec
from piccolo.rpc.errors import to_status

log = logging.getLogger(__name__)

_INTERNAL = "internal error of the master; its log has the details"
_peer: ContextVar[str] = ContextVar("peer", default="")


def peer() -> str:
    """The address of whoever made the current request, "10.0.0.2:40112"."""
    return _peer.get()


class GrpcServer:
    """Serves grpclib services on one address until closed."""

    def __init__(self, services: Collection[Any], tls: ssl.SSLContext | None = None) -> None:
        # A stuck client must not pin memory: small windows, and grpclib drops dead connections.
        self._server = Server(services, codec=Codec(), config=Configuration(_keepalive_time=30))
        self._tls = tls
        listen(self._server, RecvRequest, _wrap)

    async def start(self, host: str, port: int) -> int:
        """Returns the port, which for `port` 0 the system chose.

        Raises `Unavailable` when the address cannot be bound.
        """
        try:
            await self._server.start(host, port, ssl=self._tls, reuse_address=True)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise Unavailable(
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0).lower()};"
                f"{' is another master running?' if taken else ''}"
                " choose another address with --listen"
            ) from error
        listening = self._server._server
        sockets = listening.sockets if isinstance(listening, asyncio.Server) else ()
        return int(sockets[0].getsockname()[1]) if sockets else port

    async def close(self, grace: float = 1.0) -> None:
        """Stop listening, end what runs, wait at most `grace` seconds for it."""
        if self._server._server is None:
            return  # it never listened
        self._server.close()
        try:
            async with asyncio.timeout(grace):
                await self._server.wait_closed()
        except TimeoutError:
            log.warning("some requests did not end within %.0f s of closing", grace)


async def _wrap(event: RecvRequest) -> None:
    handler = event.method_func
    name = event.method_name

    async def handle(stream: Stream[Any, Any]) -> None:
        address = stream.peer.addr()
        _peer.set(f"{address[0]}:{address[1]}" if address else "?")
        try:
            await handler(stream)
        except PiccoloError as error:
            log.debug("%s from %s: %s: %s", name, peer(), type(error).__name__, error)
            raise to_status(error) from error
        except (GRPCError, StreamTerminatedError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("%s from %s failed", name, peer())
            raise GRPCError(Status.INTERNAL, _INTERNAL) from error

    event.method_func = handle
