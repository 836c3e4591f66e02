"""Talking to the master from the command line: where it is, one call, or a watch that lasts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from grpclib import GRPCError
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.cli.output import say
from piccolo.core.address import GRPC_PORT, Address, parse_address
from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.rpc import wire
from piccolo.rpc.client import Connection, dial
from piccolo.rpc.errors import from_rpc
from piccolo.rpc.isolated import isolated

T = TypeVar("T")
Stub = wire.ApiServerServiceStub

_NETWORK_ERRORS = (GRPCError, StreamTerminatedError, ProtocolError, OSError, TimeoutError)


def masters(given: Sequence[str] | None) -> list[Address]:
    """The addresses to try: from the command line, the environment, the context file, or here.

    Raises `InvalidSpec` for one that is not an address.
    """
    texts = list(given or ())
    if not texts and (named := os.environ.get("PICCOLO_MASTER", "")):
        texts = [named]
    if not texts:
        texts = _from_context_file()
    parts = [p.strip() for text in texts for p in text.split(",") if p.strip()]
    try:
        return [parse_address(p, GRPC_PORT) for p in parts or ["127.0.0.1"]]
    except InvalidSpec as error:
        source = "--master" if given else "$PICCOLO_MASTER or the context file"
        raise InvalidSpec(f"{source}: {error}") from None


async def _dial(addresses: Sequence[Address], timeout: float) -> Connection:
    try:
        return await dial(addresses, timeout=timeout)
    except Unavailable as error:
        raise Unavailable(
            f"{error}; is a master running there? Name another with --master or $PICCOLO_MASTER"
        ) from error


def context_file() -> Path:
    """$PICCOLO_CONTEXT, or `piccolo/context.yaml` in the user's configuration directory."""
    if named := os.environ.get("PICCOLO_CONTEXT"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "piccolo" / "context.yaml"


def _from_context_file() -> list[str]:
    path = context_file()
    if not path.exists():
        if "PICCOLO_CONTEXT" in os.environ:
            raise InvalidSpec(f"$PICCOLO_CONTEXT names {path}, which does not exist")
        return []
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InvalidSpec(f"cannot read the context file {path}: {error}") from error
    listed = found.get("masters") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(m, str) for m in listed) or not listed:
        raise InvalidSpec(f'the context file {path} must say "masters: [HOST:PORT, …]"')
    return listed


def call(given: Sequence[str] | None, timeout: float, make: Callable[[Stub], Awaitable[T]]) -> T:
    """One call. Raises our errors, `Unavailable` naming every address that was tried."""

    async def once() -> T:
        connection = await _dial(masters(given), timeout)
        try:
            async with asyncio.timeout(timeout):
                return await make(Stub(connection.channel))
        except _NETWORK_ERRORS as error:
            raise from_rpc(error, f"the master at {connection.address}") from error
        finally:
            connection.close()

    return asyncio.run(once())


def watch(
    given: Sequence[str] | None,
    timeout: float,
    request: wire.WatchRequest,
    show: Callable[[wire.WatchResponse], None],
) -> NoReturn:
    """Show the objects and then every change, for ever. Comes back after a lost connection, with
    a new list: `show` must bear being told what it knows."""

    async def follow() -> NoReturn:
        addresses = masters(given)
        connected_once = False

        async def listen() -> None:
            nonlocal connected_once
            async for response in _responses(addresses, timeout, request):
                connected_once = True
                show(response)

        while True:
            try:
                await isolated(listen())
            except Unavailable as error:
                if not connected_once:
                    raise
                say(f"{error}; trying again")
            await asyncio.sleep(0.5)

    try:
        asyncio.run(follow())
    except asyncio.CancelledError:  # by Ctrl-C, while grpclib had cancelled something too
        raise KeyboardInterrupt from None


async def _responses(
    addresses: Sequence[Address], timeout: float, request: wire.WatchRequest
) -> AsyncIterator[wire.WatchResponse]:
    connection = await _dial(addresses, timeout)
    try:
        async for response in Stub(connection.channel).watch(request):
            yield response
        raise Unavailable(f"the master at {connection.address} ended the watch")
    except _NETWORK_ERRORS as error:
        raise from_rpc(error, f"the master at {connection.address}") from error
    finally:
        connection.close()
