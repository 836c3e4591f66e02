"""The server against what strangers, broken programs and attackers send, over real sockets and TLS.

Nothing of it may show in the log: `quiet` checks that for every test here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
import statistics
import struct
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError
from h2.events import Event, StreamEnded, StreamReset, TrailersReceived, WindowUpdated
from h2.settings import SettingCodes

from piccolo.core.errors import CertificateRefused, PermissionDenied
from piccolo.core.security.access import MASTER_NAME
from piccolo.rpc import wire
from piccolo.rpc.gate import Limits
from piccolo.rpc.handshake import blame
from tests.rpc.ground import GET_NODE, Ground, Peer, ask, eventually, foreign, ours

pytestmark = pytest.mark.slow  # together half a minute

QUICK = Limits(
    handshake_time=0.3,
    preface_time=0.3,
    idle_time=0.3,
    anonymous_time=0.3,
    message_time=0.3,
)
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
WATCH = "/piccolo.api.v1.ApiServerService/Watch"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert not [text for text in said if not text.startswith("no connections are taken")]


def status_of(events: list[Event]) -> tuple[Status, str]:
    for event in events:
        headers = dict(cast(Any, getattr(event, "headers", None) or ()))
        if b"grpc-status" in headers:
            return Status(int(headers[b"grpc-status"])), headers[b"grpc-message"].decode()
    raise AssertionError(f"no status in {events}")


def ended(event: Event) -> bool:
    return isinstance(event, StreamEnded | StreamReset)


def a_message(size: int) -> bytes:
    return struct.pack(">?I", False, size)


# ---- before and in TLS ----


@pytest.mark.timeout(90)
async def test_half_open_connections_keep_nobody_out(ground: Ground) -> None:
    """1,000 of them, from the address of the honest ones."""
    idle = []

    async def open_half(number: int) -> None:
        reader, writer = await ground.tcp()
        if number % 2:
            writer.write(HALF_A_HELLO)
        idle.append((reader, writer))

    took = []
    async with ground.caller() as old:
        for hundred in range(10):
            await asyncio.gather(*(open_half(n) for n in range(100)))
            begun = time.monotonic()
            assert await ask(old) == "2"
            assert await ground.get(tls=ours().client(f"new-{hundred}")) == "2"
            took.append(time.monotonic() - begun)
    assert statistics.median(took) < 1.0
    assert not ground.guard.failures
    for _, writer in idle:
        writer.transport.abort()


async def test_unfinished_handshakes_end_in_time() -> None:
    async with Ground(QUICK) as ground:
        peers = [await ground.tcp() for _ in range(3)]
        for (_, writer), start in zip(peers, (b"", b"\x16", HALF_A_HELLO), strict=True):
            writer.write(start)
        for reader, writer in peers:
            assert await Peer(reader, writer).closed(3)
            writer.transport.abort()
        assert not ground.guard.failures


async def test_handshakes_that_stall_within_tls_make_room() -> None:
    """Whole ClientHellos, whose senders then say nothing, take all places."""
    hello = client_hello()
    limits = replace(Limits(), handshakes=4, patience=0.2)
    async with Ground(limits) as ground:
        stalled = [await ground.tcp() for _ in range(20)]
        for _, writer in stalled:
            writer.write(hello)
        assert await ground.get() == "2"
        for _, writer in stalled:
            writer.transport.abort()


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    tls = ours().client().wrap_bio(ssl.MemoryBIO(), out, server_hostname=MASTER_NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


async def test_a_hello_may_come_in_pieces(ground: Ground) -> None:
    reader, writer = await ground.tcp()
    for byte in client_hello():
        writer.write(bytes([byte]))
        if byte % 16 == 0:
            await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        assert (await reader.read(1)) == b"\x16"  # the ServerHello
    writer.transport.abort()


@pytest.mark.timeout(120)
async def test_five_hundred_come_at_once_from_one_address_and_stay() -> None:
    # One process is both ends of them all, on machines that do other things: that takes longer.
    async with Ground(replace(Limits(), handshake_time=30)) as ground:
        await five_hundred(ground)


async def five_hundred(ground: Ground) -> None:
    contexts = [ours().client(f"n{n}") for n in range(20)]
    inside = 0
    everybody = asyncio.Event()

    async def come(number: int) -> str:
        nonlocal inside
        tls = contexts[number % len(contexts)]
        async with ground.caller(tls, timeout=60) as connection:
            await ask(connection, timeout=30)  # the other 499 come meanwhile, in this process
            inside += 1
            if inside == 500:
                everybody.set()
            await everybody.wait()
            return await ask(connection, timeout=30)

    assert set(await asyncio.gather(*map(come, range(500)))) == {"2"}


@pytest.mark.parametrize(
    ("sent", "blamed"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", True),
        (b"\x16\x03\x01\xff\xff", True),
        (b"\xff" * 4096, True),
        (b"", False),
        (b"\x16", False),
        (HALF_A_HELLO, False),
    ],
)
async def test_what_is_no_tls_is_told_and_port_scans_are_not(
    ground: Ground, sent: bytes, blamed: bool
) -> None:
    reader, writer = await ground.tcp()
    writer.write(sent)
    if blamed:
        await eventually(lambda: bool(ground.guard.failures))
        assert ground.guard.failures[0][0] == "127.0.0.1"
        assert "does not speak TLS" in ground.guard.failures[0][1]
        assert await Peer(reader, writer).closed()
    writer.transport.abort()
    assert await ground.get() == "2"
    assert bool(ground.guard.failures) is blamed


async def test_tls_1_2_is_refused_and_told(ground: Ground) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        await ground.raw(old)
    await eventually(lambda: bool(ground.guard.failures))
    assert "TLS 1.3" in ground.guard.failures[0][1]


@pytest.mark.parametrize("bad", ["foreign", "expired"])
async def test_bad_certificates_are_told_to_both_sides(ground: Ground, bad: str) -> None:
    if bad == "foreign":
        tls = foreign().client("mia", trust=ours().authority.pem)
    else:
        tls = ours().client("mia", lifetime=timedelta(seconds=-60))
    async with ground.caller(tls) as connection:
        with pytest.raises((StreamTerminatedError, OSError)) as caught:
            await ask(connection)
        await eventually(lambda: isinstance(connection.explain(caught.value), CertificateRefused))
    await eventually(lambda: bool(ground.guard.failures))
    assert "certificate is not accepted" in ground.guard.failures[0][1]


async def test_failed_handshakes_leave_nothing_behind(ground: Ground) -> None:
    tls = foreign().client("mia", trust=ours().authority.pem)
    for _ in range(30):
        peer = await ground.raw(tls)
        assert await peer.closed()
        await peer.close()
    await eventually(lambda: not ground.server._listener._tasks)
    assert len(ground.guard.failures) == 30
    assert not ground.server._server._handlers


async def test_whoever_does_not_trust_us_is_not_blamed(ground: Ground) -> None:
    with pytest.raises(PermissionDenied):
        await ground.get(tls=foreign().client("mia"))
    await asyncio.sleep(0.1)
    assert not ground.guard.failures
    alert = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA]")  # asyncio's clients send none
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert blame(alert) == ""


async def test_from_blocked_sources_only_a_trickle_comes_through(ground: Ground) -> None:
    ground.guard.block = 100.0
    came = await asyncio.gather(*(ground.get() for _ in range(20)), return_exceptions=True)
    through = came.count("2")
    assert 5 <= through <= 10
    await asyncio.sleep(0.5)
    assert await ground.get() == "2"


async def test_without_descriptors_it_does_not_spin(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    listener = ground.server._listener
    tries = 0

    class Full:
        def fileno(self) -> int:
            return listener._sockets[0].fileno()

        def accept(self) -> None:
            nonlocal tries
            tries += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    listener._accept(cast(Any, Full()))
    _, writer = await ground.tcp()  # waits for accept(2)
    await asyncio.sleep(0.2)
    assert tries == 1
    assert "Too many open files" in caplog.text
    writer.transport.abort()
    await asyncio.sleep(0.5)
    assert tries == 2


# ---- connections ----


async def test_silence_after_tls_is_not_for_ever() -> None:
    async with Ground(replace(QUICK, idle_time=60)) as ground:
        peer = await ground.raw()
        assert await peer.closed(2)
        await peer.close()


async def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    async with Ground(QUICK) as ground, ground.caller() as idle, ground.caller() as busy:
        stub = wire.ApiServerServiceStub(busy.channel)
        watch = stub.watch(wire.WatchRequest())
        await anext(aiter(watch))
        assert await ask(idle) == "2"
        await asyncio.sleep(0.15)
        assert await ask(idle) == "2"
        await asyncio.sleep(0.8)
        assert idle.channel._protocol is None or idle.channel._protocol.connection.is_closing()
        assert busy.channel._protocol is not None
        assert not busy.channel._protocol.connection.is_closing()
        await cast(Any, watch).aclose()


async def test_half_headers_do_not_count_as_activity() -> None:
    async with Ground(QUICK) as ground:
        peer = await ground.raw()
        peer.greet()
        peer.request()
        headers = peer.h2.data_to_send()
        end = asyncio.create_task(peer.closed(2))
        for byte in headers[:-1]:
            if not end.done():
                peer.writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
        assert await end
        await peer.close()


async def test_without_a_certificate_nobody_stays_long() -> None:
    async with Ground(replace(QUICK, idle_time=60, preface_time=60)) as ground:
        peer = await ground.raw(ours().client())
        peer.greet()
        assert await peer.closed(2)
        await peer.close()


async def test_without_certificates_a_source_has_so_many_connections() -> None:
    limits = replace(Limits(), anonymous_per_source=2, anonymous_patience=60)
    async with Ground(limits) as ground:
        peers = [await ground.raw(ours().client()) for _ in range(3)]
        assert await peers[2].closed(2)
        assert not await peers[0].closed(0.1)
        assert await ground.get() == "2"
        for peer in peers:
            await peer.close()


async def test_one_certificate_has_so_many_connections() -> None:
    async with Ground(replace(Limits(), per_identity=3)) as ground:
        peers = []
        for _ in range(4):
            peers.append(await ground.raw())
            peers[-1].greet()
            await peers[-1].read(lambda event: True)
        assert await peers[0].closed(2)
        assert not await peers[1].closed(0.1)
        assert await ground.get(tls=ours().client("somebody-else")) == "2"
        for peer in peers:
            await peer.close()


# ---- messages ----


async def test_a_large_message_comes_through_and_larger_ones_do_not(ground: Ground) -> None:
    most = Limits().message - 100
    async with ground.caller() as connection:
        assert await ask(connection, "x" * most) == str(most)
        for size in (4_000, 5_000, 8_185, 9_000, 100_000):
            assert await ask(connection, "x" * size) == str(size)
        with pytest.raises(GRPCError, match="at most 4194304 are taken") as caught:
            await ask(connection, "x" * (Limits().message + 1))
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await ask(connection) == "2"


async def test_many_messages_of_all_sizes_at_once(ground: Ground) -> None:
    async with ground.caller() as connection:
        sizes = [n * 997 for n in range(100)]
        names = await asyncio.gather(*(ask(connection, "x" * size) for size in sizes))
    assert [int(name) for name in names] == sizes


async def test_two_hundred_megabytes_cost_nothing(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    await peer.read(lambda event: True)
    tracemalloc.start()
    stream = peer.request()
    peer.h2.send_data(stream, a_message(200_000_000))
    sent = 0
    while peer.h2.streams[stream].closed is False:
        window = min(peer.h2.local_flow_control_window(stream), 16384)
        if window <= 0:
            break
        peer.h2.send_data(stream, bytes(window))
        sent += window
    peer.flush()
    await peer.read(ended)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    status, message = status_of(peer.events)
    assert status is Status.RESOURCE_EXHAUSTED
    assert message == "the message has 200000000 bytes, at most 4194304 are taken"
    assert await peer.read(lambda event: isinstance(event, StreamReset))
    assert sent < 1_000_000
    assert peak < 10_000_000
    await peer.close()


async def test_large_messages_of_one_certificate_wait_for_each_other(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    streams = [peer.request() for _ in range(3)]
    for stream in streams:
        peer.h2.send_data(stream, a_message(100_000))
    peer.flush()
    with contextlib.suppress(TimeoutError):
        await peer.read(timeout=0.3)
    opened = {event.stream_id for event in peer.events if isinstance(event, WindowUpdated)}
    assert opened - {0} == {streams[0]}
    await peer.close()


async def test_messages_that_are_never_finished_pin_little(ground: Ground) -> None:
    """100 streams, each with most of a large message, in frames of one byte."""
    peer = await ground.raw()
    peer.greet()
    await peer.read(lambda event: True)
    tracemalloc.start()
    streams = [peer.request() for _ in range(100)]
    for stream in streams:
        peer.h2.send_data(stream, a_message(4_000_000))
    peer.flush()
    for _ in range(2000):
        for stream in streams[:5]:
            if peer.h2.local_flow_control_window(stream) > 0:
                peer.h2.send_data(stream, b"x")
        peer.flush()
        await asyncio.sleep(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert await ground.get(tls=ours().client("somebody-else")) == "2"
    await peer.close()


@pytest.mark.parametrize(
    ("body", "end", "status", "says"),
    [
        (b"\x01\0\0\0\x05hello", True, Status.UNIMPLEMENTED, "compressed"),
        (b"", True, Status.INVALID_ARGUMENT, "no message"),
        (b"\0\0\0", True, Status.INVALID_ARGUMENT, "too early"),
        (a_message(10) + b"x", True, Status.INVALID_ARGUMENT, "too early"),
        (a_message(10), True, Status.INVALID_ARGUMENT, "too early"),
        (a_message(6000) + b"x", True, Status.INVALID_ARGUMENT, "too early"),
        (a_message(4) + b"\x0a\x02\xff\xfe", True, Status.INVALID_ARGUMENT, "cannot be decoded"),
        (b"", False, Status.DEADLINE_EXCEEDED, "did not come"),
        (a_message(10) + b"x", False, Status.DEADLINE_EXCEEDED, "did not come"),
        (a_message(100_000) + b"x", False, Status.DEADLINE_EXCEEDED, "did not come"),
    ],
)
async def test_broken_requests_are_explained(
    body: bytes, end: bool, status: Status, says: str
) -> None:
    async with Ground(QUICK) as ground:
        peer = await ground.raw()
        peer.greet()
        peer.h2.send_data(peer.request(), body, end_stream=end)
        peer.flush()
        await peer.read(ended)
        found, message = status_of(peer.events)
        assert found is status
        assert says in message
        await peer.close()


# ---- HTTP/2 ----


async def test_rapid_resets_end_the_connection(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    for _ in range(3000):
        peer.h2.reset_stream(peer.request())
    peer.flush()
    assert await peer.closed()
    await eventually(lambda: not ground.server._server._connections.known)
    assert await ground.get() == "2"
    await peer.close()


async def test_callers_who_change_their_mind_are_welcome(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    for _ in range(200):
        peer.h2.reset_stream(peer.request())
    peer.h2.send_data(peer.request(), a_message(0), end_stream=True)
    peer.flush()
    assert await peer.read(lambda event: isinstance(event, TrailersReceived))
    (served,) = ground.server._server._connections.known
    await eventually(lambda: not cast(Any, served).processor.streams)
    await peer.close()


@pytest.mark.parametrize("kind", ["ping", "settings", "empty", "priority", "window"])
async def test_floods_end_the_connection(ground: Ground, kind: str) -> None:
    peer = await ground.raw()
    peer.greet()
    stream = peer.request()
    for number in range(20_000 if kind == "window" else 2000):
        if kind == "ping":
            peer.h2.ping(struct.pack(">Q", number))
        elif kind == "settings":
            peer.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 4096})
        elif kind == "empty":
            peer.h2.send_data(stream, b"")
        elif kind == "priority":
            peer.h2.prioritize(stream, weight=1 + number % 256)
        else:
            peer.h2.increment_flow_control_window(1)
    peer.flush()
    assert await peer.closed()
    await peer.close()


async def test_headers_are_limited(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    peer.request(GET_NODE, ("x-long", "~" * 20_000))
    peer.flush()
    assert await peer.closed()
    await peer.close()


async def test_headers_without_end_are_limited(ground: Ground) -> None:
    peer = await ground.raw()
    peer.greet()
    await peer.read(lambda event: True)
    peer.writer.write(frame(1, 0, 1, b"\0" * 16_000))
    for _ in range(3):
        peer.writer.write(frame(9, 0, 1, b"\0" * 16_000))
    assert await peer.closed()
    await peer.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@pytest.mark.parametrize(
    "frames",
    [
        frame(0x42, 0, 0, b"unknown"),
        frame(7, 0, 0, bytes(8)),  # GOAWAY
        frame(1, 4, 1, b"\xff\xff\xff"),
        frame(1, 4, 1, b"\x82"),  # a method and nothing else
        frame(3, 0, 99, bytes(4)),
        frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"),
        frame(0, 0, 0, b"data on no stream"),
        frame(9, 4, 1, b"a continuation of nothing"),
        b"\xff" * 400,
    ],
)
async def test_broken_frames_disturb_nobody(ground: Ground, frames: bytes) -> None:
    peer = await ground.raw()
    peer.greet()
    peer.writer.write(frames)
    peer.h2.send_data(peer.request(), a_message(0), end_stream=True)
    peer.flush()
    assert await ground.get() == "2"
    await peer.close()


@pytest.mark.parametrize(
    "header",
    [("x-bin", "not base64 !"), ("grpc-timeout", "0n"), ("grpc-timeout", "soon"), ("x", "\xff")],
)
async def test_odd_headers_disturb_nobody(ground: Ground, header: tuple[str, str]) -> None:
    peer = await ground.raw()
    peer.greet()
    peer.h2.send_data(peer.request(GET_NODE, header), a_message(0), end_stream=True)
    peer.flush()
    await peer.read(ended)
    assert await ground.get() == "2"
    await peer.close()


async def test_random_bytes_for_a_while(ground: Ground) -> None:
    end = time.monotonic() + 1.5
    calls = 0
    async with ground.caller() as honest:
        while time.monotonic() < end:
            peer = await ground.raw()
            if calls % 2:
                peer.greet()
            peer.writer.write(os.urandom(20_000))
            _, plain = await ground.tcp()
            plain.write(os.urandom(2000))
            assert await ask(honest) == "2"
            calls += 1
            await peer.close()
            plain.transport.abort()
    assert calls > 10
