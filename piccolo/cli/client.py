"""Talking to the master from the command line: as whom, where to; one call, or a watch."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from grpclib import GRPCError
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.cli.lookup import Found, find
from piccolo.cli.output import SayOnce, say
from piccolo.core.address import GRPC_PORT, Address, parse_address
from piccolo.core.errors import CertificateRefused, InvalidSpec, PermissionDenied, Unavailable
from piccolo.rpc import wire
from piccolo.rpc.client import Connection, dial
from piccolo.rpc.isolated import isolated
from piccolo.security.tls import client_context

T = TypeVar("T")
Stub = wire.ApiServerServiceStub

_NETWORK_ERRORS = (GRPCError, StreamTerminatedError, ProtocolError, OSError, TimeoutError)
_ANOTHER = "an administrator makes another by `piccolo context create`"


def masters(given: Sequence[str] | None, found: Found) -> list[Address]:
    """The addresses to try: from the command line, the environment, or the context.

    Raises `InvalidSpec` for one that is not an address.
    """
    texts = list(given or ())
    source = "--master"
    if not texts:
        source, texts = "$PICCOLO_MASTER", [os.environ.get("PICCOLO_MASTER", "")]
    parts = [p.strip() for text in texts for p in text.split(",") if p.strip()]
    try:
        return [parse_address(p, GRPC_PORT) for p in parts or found.context.masters]
    except InvalidSpec as error:
        raise InvalidSpec(f"{source}: {error}") from None


def tls_of(found: Found) -> ssl.SSLContext:
    """Raises `InvalidSpec`, naming the file."""
    c = found.context
    try:
        return client_context(c.ca, c.certificate, c.key)
    except InvalidSpec as error:
        raise InvalidSpec(f"{found.path}: {error}; {_ANOTHER}") from None


def call(
    given: Sequence[str] | None,
    timeout: float,
    make: Callable[[Stub], Awaitable[T]],
    *,
    context: str = "",
) -> T:
    """One call, or several over one connection. `given`: --master; `context`: --context.

    Raises our errors, `Unavailable` naming every address that was tried.
    """
    found = find(context)
    _warn_of_end(found)
    return call_as(found, given, timeout, make)


def call_as(
    found: Found, given: Sequence[str] | None, timeout: float, make: Callable[[Stub], Awaitable[T]]
) -> T:
    """The same with a context at hand, and without warning of its end."""

    async def once() -> T:
        async with _connected(found, given, timeout) as stub, asyncio.timeout(timeout):
            return await make(stub)

    return asyncio.run(once())


def watch(
    given: Sequence[str] | None,
    timeout: float,
    request: wire.WatchRequest,
    show: Callable[[wire.WatchResponse], None],
    *,
    context: str = "",
) -> NoReturn:
    """Show the objects and then every change, for ever. Comes back after a lost connection, with
    a new list: `show` must bear being told what it knows."""
    follow(given, timeout, lambda stub: stub.watch(request), show, context=context)


def stream(
    given: Sequence[str] | None,
    timeout: float,
    make: Callable[[Stub], AsyncIterator[T]],
    show: Callable[[T], None],
    *,
    context: str = "",
) -> None:
    """One call that is answered by many messages, each shown as it comes. Raises as `call`."""
    found = find(context)
    _warn_of_end(found)

    async def once() -> None:
        async with aclosing(_responses(found, given, timeout, make)) as responses:
            async for response in responses:
                show(response)

    asyncio.run(once())


def follow(
    given: Sequence[str] | None,
    timeout: float,
    make: Callable[[Stub], AsyncIterator[T]],
    show: Callable[[T], None],
    *,
    context: str = "",
) -> NoReturn:
    """A call that is answered for ever; made anew after a lost connection."""
    _warn_of_end(find(context))

    async def keep_listening() -> NoReturn:
        connected_once = False
        complain = SayOnce()

        async def listen() -> None:
            nonlocal connected_once
            # The context is read anew: it may have been renewed meanwhile.
            async with aclosing(_responses(find(context), given, timeout, make)) as responses:
                async for response in responses:
                    connected_once = True
                    complain.forget()
                    show(response)
            raise Unavailable("the master ended the watch")

        while True:
            try:
                await isolated(listen())
            except Unavailable as error:
                if not connected_once:
                    raise
                complain(f"{error}; trying again")
            await asyncio.sleep(0.5)

    try:
        asyncio.run(keep_listening())
    except asyncio.CancelledError:  # by Ctrl-C, while grpclib had cancelled something too
        raise KeyboardInterrupt from None


async def _responses(
    found: Found,
    given: Sequence[str] | None,
    timeout: float,
    make: Callable[[Stub], AsyncIterator[T]],
) -> AsyncGenerator[T, None]:
    """What goes wrong with a response, such as no reader of what is printed, is none of this."""
    async with _connected(found, given, timeout) as stub:
        async for response in make(stub):
            yield response


@asynccontextmanager
async def _connected(
    found: Found, given: Sequence[str] | None, timeout: float
) -> AsyncIterator[Stub]:
    """A connection, and what may go wrong with it as our errors."""
    connection = await _dial(found, given, timeout)
    try:
        with _explained(connection, found):
            yield Stub(connection.channel)
    finally:
        connection.close()


@contextmanager
def _explained(connection: Connection, found: Found) -> Iterator[None]:
    try:
        yield
    except _NETWORK_ERRORS as error:
        explained = connection.explain(error)
        if isinstance(explained, CertificateRefused):
            raise CertificateRefused(f"{explained}; {_own_fault(found)}") from error
        raise explained from error


class Line:
    """A connection that several calls share, made anew by `open` after it was lost.

    Calls are to be made in `isolated` tasks: see there.
    """

    def __init__(self, given: Sequence[str] | None, context: str) -> None:
        self._given = given
        self._context = context
        self._open: tuple[Connection, Found] | None = None
        _warn_of_end(find(context))

    async def open(self, timeout: float) -> None:
        """Raises as `call`. The context is read anew: it may have been renewed meanwhile."""
        self.close()
        found = find(self._context)
        self._open = await _dial(found, self._given, timeout), found

    def close(self) -> None:
        if self._open is not None:
            self._open[0].close()
        self._open = None

    async def ask(self, make: Callable[[Stub], Awaitable[T]], timeout: float) -> T:
        connection, found = self._opened()
        with _explained(connection, found):
            async with asyncio.timeout(timeout):
                return await make(Stub(connection.channel))

    async def stream(self, make: Callable[[Stub], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
        connection, found = self._opened()
        with _explained(connection, found):
            async for response in make(Stub(connection.channel)):
                yield response
        raise Unavailable(f"{connection.address} ended the watch")

    def _opened(self) -> tuple[Connection, Found]:
        assert self._open is not None, "open() comes first"
        return self._open


async def _dial(found: Found, given: Sequence[str] | None, timeout: float) -> Connection:
    tls = tls_of(found)
    try:
        return await dial(masters(given, found), timeout=timeout, tls=tls)
    except Unavailable as error:
        if isinstance(error.__cause__, ssl.SSLError):
            raise  # somebody runs there: the message says what is wrong
        raise Unavailable(
            f"{error}; is a master running there? Name another with --master or $PICCOLO_MASTER"
        ) from error
    except PermissionDenied as error:
        raise PermissionDenied(
            f"{error}; {found} is of the cluster {found.context.cluster}: if you mean another one,"
            f" choose its context with --context; else {_ANOTHER}"
        ) from error


def _own_fault(found: Found) -> str:
    """Why a master may have refused our certificate."""
    now, until = datetime.now(UTC), f"{found.context.not_after:%Y-%m-%d %H:%M} UTC"
    if found.context.expired(now):
        return f"{found} expired at {until}; {_ANOTHER}"
    return f"{found} holds until {until} by this machine's clock ({now:%Y-%m-%d %H:%M}); {_ANOTHER}"


def _warn_of_end(found: Found) -> None:
    now = datetime.now(UTC)
    if found.context.expired(now):
        return  # the master will say so
    if found.context.expires_soon(now):
        until = f"{found.context.not_after:%Y-%m-%d %H:%M} UTC"
        say(f"{found} expires at {until}; renew it: piccolo context renew", "yellow")
