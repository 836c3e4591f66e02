"""The checks of probes, on real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from piccolo.agent.workloads.prober import check
from piccolo.core.errors import Unavailable
from piccolo.core.workloads.containers import ExecCheck, HttpCheck, Probe, TcpCheck
from tests.runtime.fake import Command, FakeRuntime

_Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]

RUNTIME = FakeRuntime()


@asynccontextmanager
async def listening(talk: _Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port. Whoever talks is ended with the test."""
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def answering(answer: bytes, seen: list[bytes] | None = None) -> _Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(answer)
        await writer.drain()

    return talk


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


def http(port: int, **more: object) -> Probe:
    return Probe(http=HttpCheck(port, **more), timeout=0.2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "well"), [(200, True), (204, True), (301, True), (399, True), (404, False)]
)
async def test_an_answer_from_200_to_399_is_well(status: int, well: bool) -> None:
    seen: list[bytes] = []
    answer = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 9\r\n\r\n".encode()
    async with listening(answering(answer, seen)) as port:
        probe = http(port, path="/healthz?deep=1", headers={"X-Who": "me", "Host": "app"})
        finding = await check(RUNTIME, "id", probe, "127.0.0.1")
    assert finding == (well, f"HTTP {status} from /healthz?deep=1")
    assert seen[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\n")
    assert b"x-who: me" in seen[0].lower()
    assert seen[0].lower().count(b"host: ") == 1
    assert b"host: app" in seen[0].lower()


async def test_what_comes_before_the_answer_is_not_the_answer() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 500 Oh\r\n\r\n"
    async with listening(answering(answer)) as port:
        assert (await check(RUNTIME, "id", http(port), "127.0.0.1")).message == "HTTP 500 from /"


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (hang, "no answer within 0.2 s"),
        (answering(b""), "does not speak HTTP: "),
        (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), "illegal status line"),
        (babble, "Receive buffer too long"),
    ],
    ids=["hangs", "closes", "no HTTP", "never ends"],
)
async def test_whatever_else_it_does_the_check_ends_and_fails(talk: _Talk, said: str) -> None:
    async with listening(talk) as port:
        finding = await check(RUNTIME, "id", http(port), "127.0.0.1")
    assert finding.well is False
    assert said in finding.message


async def test_nobody_listens() -> None:
    async with listening(hang) as port:
        pass
    for probe in (http(port), Probe(tcp=TcpCheck(port))):
        finding = await check(RUNTIME, "id", probe, "127.0.0.1")
        assert finding.well is False
        assert f"127.0.0.1:{port}" in finding.message


async def test_a_connection_that_is_accepted_is_well() -> None:
    async with listening(hang) as port:
        named = Probe(tcp=TcpCheck(port, host="127.0.0.1"))
        assert (await check(RUNTIME, "id", named, "192.0.2.1")).well
        assert (await check(RUNTIME, "id", Probe(tcp=TcpCheck(port)), "127.0.0.1")).well
        nowhere = await check(RUNTIME, "id", Probe(tcp=TcpCheck(port)), "")
    assert nowhere.well is False
    assert "no address" in nowhere.message


async def test_the_certificate_is_not_verified(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))
    async with listening(answering(b"HTTP/1.1 200 OK\r\n\r\n"), context) as port:
        assert (await check(RUNTIME, "id", http(port, tls=True), "127.0.0.1")).well


def _certificate(directory: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "pair.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_a_command_is_well_with_exit_code_0() -> None:
    runtime = FakeRuntime()
    id = runtime.run("web.0.main")
    probe = Probe(exec=ExecCheck(("check", "it")), timeout=0.05)
    assert await check(runtime, id, probe, "") == (True, "")
    runtime.commands["check"] = Command(3, "x" * 500 + "the end\n")
    finding = await check(runtime, id, probe, "")
    assert finding.well is False
    assert finding.message.startswith("check ended with exit code 3: xxx")
    assert finding.message.endswith("the end")
    assert len(finding.message) < 300
    runtime.commands["check"] = Command(takes=60.0)
    assert await check(runtime, id, probe, "") == (False, "no answer within 0.05 s")


async def test_a_runtime_that_is_away_says_nothing_about_the_container() -> None:
    runtime = FakeRuntime()
    id = runtime.run("web.0.main")
    runtime.fail("exec", Unavailable("Podman is away"))
    probe = Probe(exec=ExecCheck(("check",)))
    assert await check(runtime, id, probe, "") == (None, "Podman is away")
    runtime.end("web.0.main")
    assert (await check(runtime, id, probe, "")).well is False
