"""A master that says what a test tells it to, over real TLS, beside the program under test."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from piccolo.core.security.access import MASTER_NAME, Principal, Role, spiffe_id
from piccolo.rpc import wire
from piccolo.rpc.server import Caller, GrpcServer
from piccolo.security.authority import Authority, Request, Signed
from piccolo.security.context import Context, save
from piccolo.security.request import make_key, make_request
from piccolo.security.tls import server_context
from tests.cli import warm
from tests.cli.warm import PICCOLO as PICCOLO

CLUSTER = "0b5c1f5e-0f5f-4a52-9a9b-6f3c1d0a7c11"
YEAR = timedelta(days=365)
HANG_UP = object()  # an answer: the connection is lost


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def piccolo(*args: str, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """The program, of a user whose home directory is `home`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PICCOLO_", "XDG_"))}
    return warm.run(*args, env=env | {"HOME": str(home), **environ})


class Cluster:
    """An authority, and what it signs."""

    def __init__(self, made: datetime | None = None) -> None:
        self.authority = Authority.create("factory", made or now() - timedelta(days=3))

    def sign(self, csr: str, role: str, name: str, life: timedelta = YEAR) -> Signed:
        uri = spiffe_id(CLUSTER, Principal(Role(role), name))
        return self.authority.sign_client(Request(csr).key, uri, now(), life)

    def context(
        self, *masters: str, role: str = "admin", name: str = "factory", life: timedelta = YEAR
    ) -> Context:
        key = make_key()
        signed = self.sign(make_request(key), role, name, life)
        return Context(
            name=name,
            cluster=CLUSTER,
            role=role,
            masters=masters or ("127.0.0.1:1",),
            not_before=signed.not_before,
            not_after=signed.not_after,
            ca=self.authority.pem,
            certificate=signed.pem,
            key=key,
        )

    def tls(
        self,
        at: datetime | None = None,
        life: timedelta = YEAR,
        *,
        trusted: str = "",
        cross: str = "",
        name: str = MASTER_NAME,
    ) -> ssl.SSLContext:
        """Of its master, whose certificate was signed then; `name`: for one that is none."""
        key = make_key()
        public, at = Request(make_request(key)).key, at or now()
        if name == MASTER_NAME:
            signed = self.authority.sign_master(public, ["127.0.0.1"], at, life)
        else:
            uri = spiffe_id(CLUSTER, Principal(Role.ADMIN, name))
            signed = self.authority.sign_client(public, uri, at, life)
        return server_context(trusted or self.authority.pem, signed.pem + cross, key)


class Scripted(wire.ApiServerServiceBase):
    """Answers each call with `answers[METHOD](request)`, METHOD as `create_token`: a message, a
    list or an asynchronous iterator for a stream, or HANG_UP. `asked` has the methods, the
    requests, and the certificates of the callers.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.asked: list[tuple[str, Any, dict[str, Any] | None]] = []
        self.peers: list[Any] = []  # the addresses they came from

    def __mapping__(self) -> dict[str, Any]:
        handlers = super().__mapping__()
        return {
            path: handler._replace(func=self._answer(path)) for path, handler in handlers.items()
        }

    def _answer(self, path: str) -> Callable[[Any], Any]:
        camel = path.rpartition("/")[2]
        method = "".join(f"_{c.lower()}" if c.isupper() else c for c in camel).lstrip("_")

        async def handle(stream: Any) -> None:
            request = await stream.recv_message()
            self.asked.append((method, request, stream.peer.cert()))
            self.peers.append(stream.peer.addr())
            answer = self.answers[method](request)
            if answer is HANG_UP:
                stream._stream._transport.abort()
                return
            if isinstance(answer, AsyncIterator):
                async for message in answer:
                    await stream.send_message(message)
                return
            for message in answer if isinstance(answer, list) else [answer]:
                await stream.send_message(message)

        return handle

    def requests(self, method: str) -> list[Any]:
        return [request for name, request, _ in self.asked if name == method]


class _Everybody:
    """A guard that lets everybody in whom TLS lets in."""

    def admit(self, method: str, address: str, certificate: Any) -> Caller:
        return Caller(address)

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None: ...

    def blocked(self, source: str) -> float:
        return 0.0

    def handshake_failed(self, source: str, reason: str) -> None: ...


class ScriptedMaster(Scripted):
    """Listens on a port of its own, in a thread with an event loop of its own."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self.address = ""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        server = GrpcServer([self], _Everybody(), self._tls)
        self.address = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
        self._listening.set()
        await self._stop.wait()
        await server.close()

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def scripted(tls: ssl.SSLContext) -> Iterator[ScriptedMaster]:
    master = ScriptedMaster(tls)
    master.start()
    try:
        yield master
    finally:
        master.stop()


def refuse(error: Exception) -> Callable[[Any], Any]:
    """An answer that is an error."""

    def answer(_: Any) -> Any:
        raise error

    return answer


def saved(path: Path, context: Context, **changes: Any) -> Path:
    """The context in a file, with what is to be different."""
    save(path, replace(context, **changes))
    return path
