"""How much one abusive peer slows honest ones."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache
from multiprocessing.connection import Connection as Pipe
from statistics import median
from typing import Any

from h2.exceptions import ProtocolError

from benchmarks.figures import Figure, Plan
from piccolo.core.errors import PermissionDenied
from piccolo.core.security.access import MASTER_NAME
from piccolo.core.security.blocking import Blocklist
from piccolo.rpc.server import Caller
from tests.rpc.ground import Ground, Guarding, Peer, ask, foreign, ours

HONEST = 10
EACH = 3.0  # s of a run
HEAD_START = 0.5  # s that the abuser has
PAUSE = 0.02  # s between two calls of an honest caller
HALF_OPEN = 1000  # at once
AT_ONCE = 8  # attempts of an abuser, where they take time
ABUSER = ("127.0.0.2", 0)  # its address; the honest ones have 127.0.0.1
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)


def abuse(plan: Plan) -> Iterator[Figure]:
    """Ten honest callers with certificates, each on a connection of its own, call 50 times a
    second; in each run of 3 s the median of what their calls take. First alone, then beside one
    process that abuses the server as fast as it can, from another address of this machine, which
    it shares with them (two cores: what the abuser itself computes slows them too). The server is
    the master's gate and gRPC, with services that do nothing and with blocking of sources.
    """
    ours(), foreign()  # the processes inherit them
    for what, abuser in ABUSES.items():
        attempts = multiprocessing.Value("q", 0)
        took = [_measured(abuser, attempts) for _ in range(plan.runs)]
        rate = attempts.value / plan.runs / (EACH + HEAD_START)
        yield Figure(
            f"honest call {what}", "", "ms", took, note=f"{rate:.0f} attempts/s" if abuser else ""
        )


class _Blocking(Guarding):
    """As the master's guard does: whoever fails is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = Blocklist()

    def admit(self, method: str, address: str, certificate: Mapping[str, Any] | None) -> Caller:
        try:
            return super().admit(method, address, certificate)
        except PermissionDenied as error:
            self.handshake_failed(Caller(address).source, str(error))
            raise

    def ended(self, method: str, caller: Caller, error: BaseException | None) -> None:
        pass

    def blocked(self, source: str) -> float:
        return self._blocks.blocked_for(source, time.monotonic())

    def handshake_failed(self, source: str, reason: str) -> None:
        self._blocks.failed(source, time.monotonic())


def _measured(abuser: Abuser | None, attempts: Any) -> float:
    """The median of the honest calls, ms."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with contextlib.ExitStack() as processes:

        def start(target: Callable[..., None], *args: Any) -> None:
            process = context.Process(target=target, args=args, daemon=True)
            process.start()
            processes.callback(process.join)
            processes.callback(process.kill)

        start(_serve, there)
        port = here.recv()
        if abuser is not None:
            start(_abuse, abuser, port, attempts)
            time.sleep(HEAD_START)
        return median(asyncio.run(_honest(port))) * 1000


def _serve(pipe: Pipe) -> None:
    from piccolo.roles.loop import run

    async def serve() -> None:
        ground = Ground(guard=_Blocking())
        async with ground:
            pipe.send(ground.port)
            await asyncio.Event().wait()

    run(serve())


async def _honest(port: int) -> list[float]:
    took: list[float] = []
    end = time.monotonic() + EACH

    async def call(number: int) -> None:
        ground = Ground(port=port)
        async with ground.caller(ours().client(f"honest{number}")) as connection:
            while time.monotonic() < end:
                begun = time.monotonic()
                await ask(connection)
                took.append(time.monotonic() - begun)
                await asyncio.sleep(PAUSE)

    await asyncio.gather(*map(call, range(HONEST)))
    return took


# ---- the abuser ----

Count = Callable[[], None]
Abuser = Callable[[int, Count], Awaitable[None]]


def _abuse(abuser: Abuser, port: int, attempts: Any) -> None:
    def count() -> None:
        attempts.value += 1

    async def again() -> None:
        while True:
            with contextlib.suppress(OSError, ProtocolError):
                await abuser(port, count)
            await asyncio.sleep(0)

    async def several() -> None:
        await asyncio.gather(*(again() for _ in range(AT_ONCE)))

    asyncio.run(several())


_idle: list[asyncio.StreamWriter] = []


@cache
def _known() -> Any:
    return ours().client("abuser")


@cache
def _unknown() -> Any:
    return foreign().client("abuser", trust=ours().authority.pem)


@cache
def _nobody() -> Any:
    return ours().client()


async def _half_open(port: int, count: Count) -> None:
    count()
    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=ABUSER)
    writer.write(HALF_A_HELLO)
    _idle.append(writer)
    if len(_idle) > HALF_OPEN:
        _idle.pop(0).transport.abort()


async def _as_somebody(port: int, tls: Any) -> Peer:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=MASTER_NAME, local_addr=ABUSER
    )
    return Peer(reader, writer)


async def _wrong_certificate(port: int, count: Count) -> None:
    count()
    peer = await _as_somebody(port, _unknown())
    await peer.closed()
    await peer.close()


async def _no_certificate(port: int, count: Count) -> None:
    await _call(port, count, _nobody(), struct.pack(">?I", False, 0), end=True)


async def _two_hundred_megabytes(port: int, count: Count) -> None:
    body = struct.pack(">?I", False, 200_000_000) + bytes(8000)
    await _call(port, count, _known(), body, end=False)


async def _call(port: int, count: Count, tls: Any, body: bytes, *, end: bool) -> None:
    peer = await _as_somebody(port, tls)
    try:
        peer.greet()
        for _ in range(100):
            count()
            peer.h2.send_data(peer.request(), body, end_stream=end)
            peer.flush()
            async with asyncio.timeout(2):
                peer.h2.receive_data(await peer.reader.read(65536) or b"\xff" * 9)
    finally:
        await peer.close()


ABUSES: dict[str, Abuser | None] = {
    "alone": None,
    "beside half-open handshakes": _half_open,
    "beside wrong certificates": _wrong_certificate,
    "beside calls without a certificate": _no_certificate,
    "beside messages of 200 MB": _two_hundred_megabytes,
}
