"""The server against good and bad clients, over real sockets and TLS, on both event loops."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from piccolo.web.http import Answer, _part
from piccolo.web.pacing import Pacer
from piccolo.web.server import LIMITS
from tests.rpc.ground import eventually, foreign
from tests.web.shop import Key, Shop, bundle, run

pytestmark = pytest.mark.slow  # together some ten seconds, as both event loops do it all

BUNDLE = "/piccolo-linux-amd64.tar.gz"
GET = b"GET %s HTTP/1.1\r\nHost: 10.0.0.1:50052\r\n%s\r\n"
QUICK = replace(LIMITS, handshake_time=0.3, preface_time=0.3, idle_time=0.3)
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever strangers do, nothing but what was served is in the log."""
    caplog.set_level(logging.INFO)
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert [text for text in said if not text.startswith(("GET '/", "HEAD '/"))] == []


def get(path: str, *headers: str) -> bytes:
    return GET % (path.encode(), "".join(f"{h}\r\n" for h in headers).encode())


def status(answer: bytes) -> int:
    return int(answer[9:12])


# ---- what is asked and answered ----


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("", (200, 0, 10)),
        ("bytes=0-", (206, 0, 10)),
        ("bytes=3-5", (206, 3, 6)),
        ("bytes=3-99", (206, 3, 10)),
        ("bytes=9-", (206, 9, 10)),
        ("bytes=10-", (416, 0, 0)),
        ("bytes=-4", (206, 6, 10)),
        ("bytes=-99", (206, 0, 10)),
        ("bytes=-0", (416, 0, 0)),
        *((text, (200, 0, 10)) for text in ("bytes=-", "bytes=5-3", "bytes=0-1,3-4", "lines=1-2")),
        ("bytes=" + "9" * 4000 + "-", (200, 0, 10)),
    ],
)
def test_ranges(asked: str, sent: tuple[int, int, int]) -> None:
    answer = Answer(200, b"0123456789", tag='"abc"')
    headers = {"range": asked} if asked else {}
    assert _part(answer, 10, headers) == sent
    assert _part(answer, 10, headers | {"if-range": '"abc"'}) == sent
    assert _part(answer, 10, headers | {"if-range": '"older"'}) == (200, 0, 10)
    assert _part(answer, 10, headers | {"if-none-match": 'W/"x", "abc"'}) == (304, 0, 0)
    assert _part(answer, 10, headers | {"if-none-match": '"older"'}) == sent
    assert _part(Answer(200, b"0123456789"), 10, headers) == (200, 0, 10)


def test_a_rate_is_shared() -> None:
    pacer = Pacer(100)
    assert [pacer.wait(50, 7.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert pacer.wait(50, 8.0) == 0.5
    assert pacer.wait(50, 60.0) == 0.0  # nothing is saved up
    assert pacer.wait(50, 60.0) == 0.5


async def test_what_there_is_and_nothing_else(shop: Shop) -> None:
    (shop.directory / "secret").write_text("not served")
    known = await shop.bundles.find()
    for path in (
        *("/", "/install.sh/", "/secret", "/../secret", "/./install.sh", "/%69nstall.sh"),
        *("//install.sh", "/..%2fsecret", f"{BUNDLE}/", "*", "https://x/install.sh"),
        "/piccolo-linux-arm64.tar.gz",
        "/piccolo-linux-arm64.tar.gz.sha256",
        f"/{known.offered['amd64'].path.name}",
    ):
        answer = await shop.say(get(path))
        assert status(answer) == 404, path
        assert b"not served" not in answer
    for path in ("/install.sh", BUNDLE, f"{BUNDLE}.sha256", f"{BUNDLE}?x=/../secret"):
        assert status(await shop.say(get(path))) == 200, path


async def test_the_head_alone(shop: Shop) -> None:
    whole = await shop.say(get(BUNDLE))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert hashlib.sha256(body).hexdigest().encode() in head  # the tag
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    alone = await shop.say(get(BUNDLE).replace(b"GET", b"HEAD", 1))
    dated = [line for line in head.split(b"\r\n") if not line.startswith(b"Date:")]
    assert [x for x in alone.split(b"\r\n") if x and not x.startswith(b"Date:")] == dated


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"POST /install.sh HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /install.sh HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /install.sh HTTP/1.1\r\n\r\n", 400),  # without a host
        (b"GET /install.sh HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /install.sh HTTP/1.0\r\n\r\n", 400),
        (b"GET /install.sh HTTP/1.0\r\nHost: 10.0.0.1\r\n\r\n", 200),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 431),
    ],
)
async def test_what_is_no_proper_request(shop: Shop, said: bytes, code: int) -> None:
    assert status(await shop.say(said)) == code


@pytest.mark.parametrize(
    "host", ["'$(reboot)'", "a;b", "`x`", "a b", "[::1", "[::1%eth0]", "é", ""]
)
async def test_a_host_that_is_none_gets_no_script(shop: Shop, host: str) -> None:
    said = b"GET /install.sh HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n"
    answer = await shop.say(said)
    assert status(answer) == 400
    assert b"#!" not in answer


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("198.51.100.7:8443", ("master='198.51.100.7'", "port='8443'")),
        ("Master.Example", ("master='master.example'", "port='443'")),
        ("[2001:DB8::1]:50052", ("master='2001:db8::1'", "host='[2001:db8::1]'")),
    ],
)
async def test_the_script_names_the_master_as_it_was_reached(
    shop: Shop, host: str, lines: tuple[str, ...]
) -> None:
    text = (await shop.say(f"GET /install.sh HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).decode()
    for line in lines:
        assert f"\n{line}\n" in text


async def test_without_a_bundle_there_is_no_script(tmp_path: Path) -> None:
    async with Shop(tmp_path / "missing") as shop:
        for path in ("/install.sh", BUNDLE, f"{BUNDLE}.sha256"):
            assert status(await shop.say(get(path))) == 404
        shop.put()
        assert status(await shop.say(get("/install.sh"))) == 200


# ---- downloads ----


async def test_curl_resumes_what_broke_off(shop: Shop, tmp_path: Path) -> None:
    content = shop.put(filling=os.urandom(1 << 20)).read_bytes()
    target = tmp_path / "got"
    target.write_bytes(content[:300_001])
    done = await shop.curl(BUNDLE, "-f", "-C", "-", "-o", str(target))
    assert done.code == 0, done.err
    assert target.read_bytes() == content
    ends = await shop.curl(BUNDLE, "-f", "-r", "-5")
    assert ends.out == content[-5:]


async def test_what_is_being_read_stays_what_it_was(tmp_path: Path) -> None:
    """A new bundle is moved into the place of the one that somebody downloads."""
    async with Shop(tmp_path / "bundles", rate=20e6) as shop:
        path = shop.put(filling=os.urandom(2 << 20))
        content = path.read_bytes()
        reader, writer = await shop.connect()
        writer.write(get(BUNDLE))
        await reader.readuntil(b"\r\n\r\n")
        bundle(tmp_path / "new", filling=b"new").replace(path)
        assert await reader.readexactly(len(content)) == content
        writer.transport.abort()
        found = await shop.bundles.find()
        answer = await shop.say(get(f"{BUNDLE}.sha256"))
        assert found.offered["amd64"].sha256.encode() in answer


async def test_what_becomes_shorter_while_it_is_read_breaks_off(tmp_path: Path) -> None:
    """Nobody takes half of it for the whole."""
    async with Shop(tmp_path / "bundles", rate=20e6) as shop:
        path = shop.put(filling=os.urandom(2 << 20))
        reader, writer = await shop.connect()
        writer.write(get(BUNDLE))
        await reader.readuntil(b"\r\n\r\n")
        os.truncate(path, 1 << 20)
        with suppress(OSError):
            assert len(await reader.read(-1)) <= 1 << 20
        writer.transport.abort()
        await eventually(lambda: not shop.server._tasks)


async def test_all_together_keep_to_the_rate(tmp_path: Path) -> None:
    async with Shop(tmp_path / "bundles", rate=2e6) as shop:
        shop.put(filling=os.urandom(400_000))
        begun = time.monotonic()
        answers = await asyncio.gather(*(shop.say(get(BUNDLE)) for _ in range(4)))
        took = time.monotonic() - begun
    assert [status(answer) for answer in answers] == [200] * 4
    assert took >= (sum(map(len, answers)) - (64 << 10)) / 2e6 - 0.1


# ---- keeping everything else going ----


async def test_the_event_loop_stays_responsive(shop: Shop) -> None:
    """Five at once without a limited rate, which is the worst."""
    shop.put(filling=os.urandom(10 << 20))
    await shop.bundles.find()
    pauses: list[float] = []

    async def look() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - before)

    watching = asyncio.create_task(look())
    try:
        done = await asyncio.gather(*(shop.curl(BUNDLE, "-f", "-o", "/dev/null") for _ in range(5)))
    finally:
        watching.cancel()
    assert [d.code for d in done] == [0] * 5
    assert sorted(pauses)[len(pauses) * 99 // 100] < 0.1


@asynccontextmanager
async def crowd(
    shop: Shop, count: int, said: bytes, source: str = "127.0.0.1"
) -> AsyncIterator[None]:
    """So many who complete TLS, say that, and nothing more."""
    opened = []
    try:
        for _ in range(count):
            with suppress(OSError):
                opened.append(await shop.connect(source))
                opened[-1][1].write(said)
        yield
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_thousand_slow_connections_cost_little_and_keep_nobody_out(shop: Shop) -> None:
    opened: list[socket.socket] = []
    try:
        for number in range(1000):
            opened.append(sock := socket.socket())
            sock.bind((f"127.0.0.{number % 4 + 2}", 0))
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(("127.0.0.1", shop.port))
            if number % 50 == 0:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert 0 < len(shop.server._listener._lobby) <= LIMITS.lobby
        begun = time.monotonic()
        assert status(await shop.say(get("/install.sh"))) == 200
        assert time.monotonic() - begun < 1
    finally:
        for sock in opened:
            sock.close()


async def test_whoever_is_slow_after_tls_makes_room(shop: Shop) -> None:
    half = b"GET /install.sh HTTP/1.1\r\nHost: "
    connections = shop.server._connections.anonymous
    async with crowd(shop, 40, half), crowd(shop, 40, half, "127.0.0.2"):
        assert len(connections) <= LIMITS.anonymous
        assert connections.of("127.0.0.1") <= LIMITS.anonymous_per_source
        answer = await shop.say(get("/install.sh"), source="127.0.0.3")
        assert status(answer) == 200
    await eventually(lambda: not shop.server._tasks)


async def test_whoever_is_refused_is_told_to_come_back(tmp_path: Path) -> None:
    """Downloads keep their places: one more from the same address has to wait."""
    limits = replace(LIMITS, anonymous_per_source=2)
    async with Shop(tmp_path / "bundles", limits, rate=1e5) as shop:
        shop.put(filling=os.urandom(1 << 20))
        async with crowd(shop, 2, get(BUNDLE)):
            downloads = shop.server._connections.anonymous
            await eventually(lambda: [member.waits for member in downloads] == [True] * 2)
            answer = await shop.say(b"")
            assert status(answer) == 503
            assert b"Retry-After" in answer
            assert status(await shop.say(get("/install.sh"), source="127.0.0.2")) == 200


async def test_every_wait_has_an_end(tmp_path: Path) -> None:
    async with Shop(tmp_path / "bundles", QUICK) as shop:
        shop.put(filling=os.urandom(8 << 20))
        begun = time.monotonic()
        assert await shop.say(b"GET /install.sh") == b""
        assert time.monotonic() - begun < 2
        # Who does not read.
        _, writer = await shop.connect()
        writer.write(get(BUNDLE))
        await eventually(lambda: len(shop.server._tasks) == 1)
        await eventually(lambda: not shop.server._tasks)
        writer.transport.abort()
        # Who does not even begin with TLS.
        reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
        assert await reader.read() == b""
        writer.close()


async def test_the_end_of_the_server_cuts_off_who_is_served(tmp_path: Path) -> None:
    async with Shop(tmp_path / "bundles", rate=1e5) as shop:
        shop.put(filling=os.urandom(1 << 20))
        reader, writer = await shop.connect()
        writer.write(get(BUNDLE))
        await reader.readuntil(b"\r\n\r\n")
    with suppress(OSError):
        assert len(await reader.read(-1)) < 1 << 20
    writer.transport.abort()
    await asyncio.sleep(0)


# ---- TLS ----


async def test_a_wrong_pin_and_a_wrong_authority(shop: Shop, tmp_path: Path) -> None:
    for pin, code in ((shop.key.pin, 0), (Key().pin, 90)):
        assert (await shop.curl("/install.sh", "-f", pin=pin)).code == code
    trusted = tmp_path / "ca.crt"
    where = ["--connect-to", f"piccolo-master:{shop.port}:127.0.0.1:{shop.port}"]
    url = f"https://piccolo-master:{shop.port}/install.sh"
    for authority, code in ((shop.key.authority, 0), (foreign().authority, 60)):
        trusted.write_text(authority.pem)
        done = await run("curl", "-fsS", "--cacert", str(trusted), *where, url)
        assert done.code == code
    assert shop.guard.failures == []


async def test_a_renewed_certificate_is_taken_up(shop: Shop) -> None:
    seen = []
    for key in (shop.key, Key()):
        shop.server.tls = key.tls()
        _, writer = await shop.connect()
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.transport.abort()
    assert seen[0] != seen[1]


async def test_who_has_no_tls_1_3_is_told_to_the_guard(shop: Shop) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", shop.port, ssl=old)
    await eventually(lambda: bool(shop.guard.failures))


async def test_no_descriptor_is_left_open(shop: Shop) -> None:
    ranges = ("Range: bytes=5-9", "Range: bytes=9999999-")

    async def served() -> None:
        for said in (get(BUNDLE), *(get(BUNDLE, r) for r in ranges)):
            await shop.say(said)
        await shop.say(get(BUNDLE).replace(b"GET", b"HEAD", 1))
        await eventually(lambda: not shop.server._tasks)
        await asyncio.sleep(0.02)

    await served()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await served()
    assert len(os.listdir("/proc/self/fd")) == before
