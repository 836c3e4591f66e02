"""Makes the check of a probe: HTTP, TCP, or a command in the container.

Every check ends within the probe's timeout, and one that does not end by then failed. Only the
head of an answer is read, 64 kB of it at most: whoever is asked may not fill our memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import NamedTuple

import h11

from piccolo import __version__
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.workloads.containers import HttpCheck, Probe, TcpCheck
from piccolo.runtime.base import Runtime

_HEAD = 64 << 10  # bytes
_SAID = 200  # characters of what a command wrote


class Finding(NamedTuple):
    """`well` None: the check could not be made, for which the container is not to blame."""

    well: bool | None
    message: str = ""


async def check(runtime: Runtime, id: str, probe: Probe, address: str) -> Finding:
    """`address`: the container's own, empty if it has none."""
    try:
        if probe.exec is not None:
            return await _command(runtime, id, probe.exec.command, probe.timeout)
        async with asyncio.timeout(probe.timeout):
            if probe.http is not None:
                return await _http(probe.http, probe.http.host or address)
            if probe.tcp is not None:
                return await _tcp(probe.tcp, probe.tcp.host or address)
    except TimeoutError:
        return Finding(False, f"no answer within {probe.timeout:g} s")
    except (ValueError, h11.LocalProtocolError) as error:  # no request can say that
        return Finding(None, f"the probe's host, path or headers cannot be asked for: {error}")
    return Finding(True)


async def _command(runtime: Runtime, id: str, command: tuple[str, ...], timeout: float) -> Finding:
    try:
        result = await runtime.exec(id, command, timeout)
    except Unavailable as error:
        return Finding(None, str(error))
    except PiccoloError as error:
        return Finding(False, f"{command[0]} could not be run: {error}")
    if result.exit_code == 0:
        return Finding(True)
    said = result.output.strip()[-_SAID:]
    text = f"{command[0]} ended with exit code {result.exit_code}"
    return Finding(False, f"{text}: {said}" if said else text)


async def _tcp(asked: TcpCheck, host: str) -> Finding:
    try:
        async with _connection(host, asked.port):
            return Finding(True)
    except OSError as error:
        return _unreachable(host, asked.port, error)


async def _http(asked: HttpCheck, host: str) -> Finding:
    try:
        async with _connection(host, asked.port, tls=asked.tls) as (reader, writer):
            status = await _status(reader, writer, asked, host)
    except OSError as error:
        return _unreachable(host, asked.port, error)
    except h11.RemoteProtocolError as error:
        return Finding(False, f"{host}:{asked.port} does not speak HTTP: {error}")
    return Finding(200 <= status < 400, f"HTTP {status} from {asked.path}")


async def _status(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: HttpCheck, host: str
) -> int:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
    given = {name.lower(): value for name, value in asked.headers.items()}
    usual = {
        "host": f"[{host}]:{asked.port}" if ":" in host else f"{host}:{asked.port}",
        "user-agent": f"piccolo/{__version__}",
        "accept": "*/*",
        "connection": "close",
    }
    request = h11.Request(method="GET", target=asked.path, headers=[*{**usual, **given}.items()])
    writer.write((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    while not isinstance(event := http.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_HEAD))
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("it closed the connection without an answer")
    return event.status_code


@asynccontextmanager
async def _connection(
    host: str, port: int, *, tls: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    if not host:
        raise OSError("the container has no address: probe it by exec, or name a host")
    reader, writer = await asyncio.open_connection(
        host, port, ssl=_trusting() if tls else None, limit=_HEAD
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@cache
def _trusting() -> ssl.SSLContext:
    """Verifies nothing: what is asked is the container next to us, by its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unreachable(host: str, port: int, error: Exception) -> Finding:
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Finding(False, f"{host}:{port}: {what}" if host else what)
