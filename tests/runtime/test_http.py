"""The HTTP client against servers that behave well, badly, and not at all."""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from piccolo.core.errors import Unavailable
from piccolo.runtime.http import LINE_LIMIT, HttpClient
from tests.runtime.server import OK, Server, answer, listening, read_request, saying, serving

pytestmark = pytest.mark.both_loops

SHORT = 0.3  # s, the clients' timeout


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
async def client(socket: Path) -> AsyncIterator[HttpClient]:
    client = HttpClient(socket, name="Podman", start="start it", timeout=SHORT)
    yield client
    client.close()


# ---- behaving well ----


async def test_asks_and_hears(socket: Path, client: HttpClient) -> None:
    requests: list[str] = []
    async with listening(socket, serving({"/a%20b": answer(b"hello")}, requests)):
        status, headers, body = await client.request("GET", "/a b", {"q": '{"x":["ä&"]}'})
    assert (status, body) == (200, b"hello")
    assert headers[b"libpod-api-version"] == b"4.3.1"
    assert requests == ["GET /a%20b?q=%7B%22x%22%3A%5B%22%C3%A4%26%22%5D%7D"]


async def test_sends_a_body(socket: Path, client: HttpClient) -> None:
    async with listening(socket, serving({"/a": answer(b"1")})) as server:
        for _ in range(2):
            assert (await client.request("POST", "/a", body=b"{}")).status == 200
            assert (await client.request("POST", "/a", body=b"")).status == 200
        assert (await client.request("GET", "/a")).status == 200
        assert server.connections == 4  # a POST is never risked on a kept connection


async def test_every_status_is_an_answer(socket: Path, client: HttpClient) -> None:
    async with listening(socket, serving({})):
        assert (await client.request("GET", "/nothing")).status == 404


async def test_chunks_and_answers_that_end_with_the_connection(
    socket: Path, client: HttpClient
) -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with listening(socket, saying(chunked)):
        assert (await client.request("GET", "/")).body == b"abcde"
    async with listening(socket, saying(OK + b"\r\nabcde")):
        assert (await client.request("GET", "/")).body == b"abcde"


async def test_informational_answers_are_passed_over(socket: Path, client: HttpClient) -> None:
    async with listening(socket, saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer(b"x"))):
        assert (await client.request("GET", "/")).body == b"x"


async def test_one_connection_is_kept(socket: Path, client: HttpClient) -> None:
    async with listening(socket, serving({"/": answer(b"x" * 200_000)})) as server:
        for _ in range(5):
            assert len((await client.request("GET", "/")).body) == 200_000
        assert (server.connections, server.open) == (1, 1)
        await asyncio.gather(*(client.request("GET", "/") for _ in range(5)))
        await client.request("GET", "/")
        assert server.connections == 5
        client.close()
        await server.left()


async def test_a_slow_request_does_not_hold_up_others(socket: Path, client: HttpClient) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            await asyncio.sleep(0.2 if request[1] == "/slow" else 0)
            writer.write(answer(request[1].encode()))

    async with listening(socket, slow), asyncio.TaskGroup() as tasks:
        tasks.create_task(client.request("GET", "/slow"))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert (await client.request("GET", "/quick")).body == b"/quick"
        assert time.monotonic() - began < 0.1


async def test_nothing_is_kept_after_close(socket: Path, client: HttpClient) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            await asyncio.sleep(0.1)
            writer.write(answer(b"x"))

    async with listening(socket, slow) as server:
        asking = asyncio.ensure_future(client.request("GET", "/"))
        await asyncio.sleep(0.05)
        client.close()
        assert (await asking).body == b"x"
        await server.left()


# ---- behaving badly ----

ENDLESS_HEAD = OK + b"".join(b"X-%d: y\r\n" % n for n in range(20_000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200", "broke off"),
        (OK + b"Content-Length: 100\r\n\r\nabc", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (OK + b"Content-Length: -1\r\n\r\n", "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"\0\xff" * 5000, "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: tcp\r\nConnection: upgrade\r\n\r\n", "not HTTP"),
        (ENDLESS_HEAD, "not HTTP"),
    ],
)
async def test_garbage_is_unavailable(
    socket: Path, client: HttpClient, data: bytes, message: str
) -> None:
    async with listening(socket, saying(data)) as server:
        with pytest.raises(Unavailable, match=message):
            await client.request("GET", "/")
        with pytest.raises(Unavailable, match=message):
            async with client.stream("/") as stream:
                await stream.line()
        await server.left()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", OK, OK + b"Content-Length: 9\r\n\r\nab"])
async def test_a_server_that_hangs(socket: Path, client: HttpClient, said: bytes) -> None:
    async with listening(socket, saying(said, then_close=False)) as server:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"GET /x within 0\.3 s: it hangs"):
            await client.request("GET", "/x")
        assert time.monotonic() - began < 2 * SHORT
        await server.left()


async def test_a_server_that_drips(socket: Path, client: HttpClient) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for byte in answer(b"x" * 1000):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)

    async with listening(socket, drip):
        with pytest.raises(Unavailable, match="it hangs"):
            await client.request("GET", "/")


async def test_a_server_that_never_accepts(socket: Path, client: HttpClient) -> None:
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(socket))
        listener.listen(0)
        asking = (client.request("GET", "/") for _ in range(5))
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(e) for e in found] == [Unavailable] * 5, found


async def test_too_large_an_answer(socket: Path, client: HttpClient) -> None:
    async with listening(socket, serving({"/a": answer(b"x" * 3_000_000)})) as server:
        with pytest.raises(Unavailable, match="GET /a with over 2 MB"):
            await client.request("GET", "/a", {"q": "1"}, limit=2 << 20)
        await server.left()
        assert len((await client.request("GET", "/a", limit=4 << 20)).body) == 3_000_000


async def test_no_socket(client: HttpClient, socket: Path) -> None:
    with pytest.raises(Unavailable, match=f"no socket {socket}; start Podman with: start it"):
        await client.request("GET", "/")


async def test_nobody_listens(socket: Path, client: HttpClient) -> None:
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(socket))
    with pytest.raises(Unavailable, match=r"nobody listens at .*/s; start Podman with: start it"):
        await client.request("GET", "/")


async def test_not_a_socket() -> None:
    client = HttpClient(Path(__file__), name="Podman", start="start it")
    with pytest.raises(Unavailable, match="nobody listens"):
        await client.request("GET", "/")


async def test_too_long_a_path(tmp_path: Path) -> None:
    client = HttpClient(tmp_path / ("x" * 200), name="Podman", start="start it")
    with pytest.raises(Unavailable, match=r"too long|no socket"):
        await client.request("GET", "/")


@pytest.mark.needs_root
def test_no_permission(tmp_path: Path) -> None:
    """In a child, which gives up root."""

    async def refused() -> None:
        with pytest.raises(Unavailable, match=r"no permission to open .*/s: run as root"):
            await HttpClient(tmp_path / "s", name="Podman", start="start it").request("GET", "/")

    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                asyncio.run(refused())
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


# ---- coming and going ----


async def test_a_kept_connection_that_died(socket: Path, client: HttpClient) -> None:
    """Whether its end was noticed before the next request or only by it."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(b"x"))
        await read_request(reader)  # hears the second request, and hangs up

    async with listening(socket, once) as server:
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"x"
        assert server.connections == 3
        await server.stop()
        await server.start()
        assert (await client.request("GET", "/")).body == b"x"


async def test_a_server_that_goes_and_comes_back(socket: Path, client: HttpClient) -> None:
    server = Server(socket, serving({"/": answer(b"x")}))
    for _ in range(3):
        await server.start()
        assert (await client.request("GET", "/")).body == b"x"
        await server.stop()
        with pytest.raises(Unavailable, match="no socket"):
            await client.request("GET", "/")


async def test_an_answer_nobody_asked_for(socket: Path, client: HttpClient) -> None:
    """It must not be taken for the answer to the next request."""
    async with listening(socket, serving({"/": answer(b"1") + answer(b"2")})):
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"1"


# ---- cancellation ----


@pytest.mark.parametrize("said", [b"", b"HTTP", OK + b"Content-Length: 9\r\n\r\nab"])
async def test_a_cancelled_request_closes_its_connection(
    socket: Path, client: HttpClient, said: bytes
) -> None:
    async with listening(socket, saying(said, then_close=False)) as server:
        with pytest.raises(TimeoutError):  # the caller's, not turned into Unavailable
            async with asyncio.timeout(0.1):
                await client.request("GET", "/")
        await server.left()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), client.stream("/") as stream:
                await stream.line()
        await server.left()


# ---- streams ----


async def test_lines(socket: Path, client: HttpClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one\ntw", b"o\n\nth", b"ree", b"\n", b"x" * 300_000 + b"\nlast"):
            await asyncio.sleep(0.02)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async with listening(socket, handle) as server:
        async with client.stream("/") as stream:
            assert stream.status == 200
            assert [await stream.line() for _ in range(5)] == [
                b"one",
                b"two",
                b"",
                b"three",
                b"x" * 300_000,
            ]
            with pytest.raises(Unavailable, match="ended the stream"):
                await stream.line()
        await server.left()


async def test_waiting_for_a_line_has_no_end_and_loses_nothing(
    socket: Path, client: HttpClient
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"\r\n")
        for number in range(200):
            for piece in (b"line ", b"%d" % number, b"\n"):
                writer.write(piece)
                await asyncio.sleep(0.001)
        await asyncio.sleep(2 * SHORT)
        writer.write(b"late\n")
        await reader.read()

    lines: list[bytes] = []
    gave_up = 0
    async with listening(socket, handle), client.stream("/") as stream:
        while not lines or lines[-1] != b"late":
            try:
                async with asyncio.timeout(0.0007):
                    lines.append(await stream.line())
            except TimeoutError:
                gave_up += 1
    assert lines == [*(b"line %d" % n for n in range(200)), b"late"]
    assert gave_up > 200


async def test_a_line_without_end(socket: Path, client: HttpClient) -> None:
    async with listening(socket, saying(OK + b"\r\n" + b"x" * (LINE_LIMIT + 100_000))) as server:
        async with client.stream("/") as stream:
            with pytest.raises(Unavailable, match="a line of over 1 MB"):
                await stream.line()
        await server.left()


async def test_the_text_of_a_refused_stream(socket: Path, client: HttpClient) -> None:
    refused = answer(b'{"message":"no"}', b"HTTP/1.1 500 Oh\r\n")
    async with listening(socket, saying(refused)), client.stream("/") as stream:
        assert (stream.status, await stream.rest()) == (500, b'{"message":"no"}')
    endless = b"HTTP/1.1 500 Oh\r\n\r\n" + b"x" * (LINE_LIMIT + 200_000)
    async with listening(socket, saying(endless)), client.stream("/") as stream:
        assert LINE_LIMIT < len(await stream.rest()) < LINE_LIMIT + 100_000


async def test_a_slow_reader_holds_back_the_server(socket: Path, client: HttpClient) -> None:
    """Else a burst of events would be heaped up in the agent's memory."""
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"x" * 999 + b"\n")
            await writer.drain()
            sent += 1000

    async with listening(socket, handle), client.stream("/") as stream:
        await stream.line()
        await asyncio.sleep(0.2)
        assert 0 < sent < 2_000_000
