"""What Podman answers, or something else at its socket: lists, streams, HTTP itself."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from piccolo.agent.workloads.prober import Finding, check
from piccolo.config.document import Document
from piccolo.config.manifests.probes import ProbeSpec
from piccolo.config.validation import validate
from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.core.report import Report
from piccolo.core.workloads.containers import HttpCheck, Probe
from piccolo.rpc import convert
from piccolo.runtime.http import HttpClient
from piccolo.runtime.podman import libpod, libpod_answers, oom, refusals
from piccolo.runtime.podman.multiplex import LINE_CHARS, Frames, LastLines, shown
from tests.fuzz.inputs import any_bytes, any_text, spoilt_bytes
from tests.fuzz.target import target
from tests.runtime.fake import FakeRuntime
from tests.runtime.recorded import EVENT, INSPECT, LIST, STATS, dump
from tests.runtime.spoilt import spoilt
from tests.runtime.test_libpod_answers import INSPECTION

_VERSIONS = st.sampled_from(["4.3.1", "4.4.0", "5.0", "", "4.", "four"])


def _answers(recorded: Any) -> st.SearchStrategy[bytes]:
    return spoilt(recorded) | spoilt_bytes([dump(recorded)])


def _refusing(call: Callable[[], Any]) -> Any:
    """What Podman says is read, or it is `Unavailable`: nobody else is to blame."""
    try:
        return call()
    except Unavailable:
        raise
    except PiccoloError as error:
        raise AssertionError(f"not Unavailable: {error!r}") from error


@target(_answers(LIST), quick=40)
def podman_list(body: bytes) -> None:
    """The list of containers; what is read can be reported to the master."""
    found = [row.container for row in _refusing(lambda: libpod.containers(body))]
    assert Report(containers=found).digest < 2**64
    for container in found:
        bytes(convert.container_to_wire(container))


@target(st.tuples(_answers(STATS), _VERSIONS, st.floats(0, 1e6)), quick=40)
def podman_stats(given: tuple[bytes, str, float]) -> None:
    """The use of resources; what is read can be reported."""
    body, version, now = given
    samples = _refusing(lambda: libpod.samples(body, version))
    for usage in libpod.CpuMeter().usage(samples or (), now):
        bytes(convert.container_usage_to_wire(usage))


@target(_answers(EVENT))
def podman_events(line: bytes) -> None:
    """A line of the stream of events."""
    _refusing(lambda: libpod.happening(line))


@target(_answers(INSPECTION) | _answers(INSPECT), quick=40)
def podman_inspections(body: bytes) -> None:
    """One container looked at, with or without what we ask for."""
    _refusing(lambda: libpod.restarts(body))
    inspection = _refusing(lambda: libpod_answers.inspection(body))
    str(inspection.detail).encode()
    oom.killed(inspection.detail.id, datetime.now(UTC), "/dev/null")


_OTHERS = (
    libpod_answers.made,
    libpod_answers.image,
    libpod_answers.pulled,
    libpod_answers.pods,
    libpod_answers.pod,
    libpod_answers.volumes,
    libpod_answers.volume_labels,
    libpod_answers.command,
)
_POD = {"Id": "p", "Labels": {}, "Containers": [{"Id": "c"}], "InfraContainerID": "i", "Name": "n"}
_EXEC = {"Running": True, "ExitCode": 0, "Pid": 1, "ID": "x"}


@target(st.tuples(st.sampled_from(_OTHERS), _answers(_POD) | _answers([_POD]) | _answers(_EXEC)))
def podman_answers(given: tuple[Callable[[bytes], Any], bytes]) -> None:
    """Pods, images, volumes, commands."""
    _refusing(lambda: given[0](given[1]))


@target(st.tuples(st.integers(100, 599), _answers({"message": "no such image", "cause": "x"})))
def podman_refusals(given: tuple[int, bytes]) -> None:
    """Errors, and what they mean to us."""
    status, body = given
    libpod.is_gone(status, body)
    libpod.refusal(status, body).encode()
    str(refusals.refused("it", libpod.complaint(body))).encode()


@target(st.lists(any_bytes | st.binary(min_size=8, max_size=8), max_size=6))
def container_output(pieces: list[bytes]) -> None:
    """Frames of output, in any pieces: the same as in one, bounded, and fit for a terminal."""
    frames, whole = Frames(), Frames()
    output = b"".join(map(frames.feed, pieces))
    assert output == whole.feed(b"".join(pieces))
    last = LastLines(3)
    for piece in pieces:
        last.feed(piece)
    lines = last.take()
    assert len(lines) <= 4
    assert all(len(line) <= LINE_CHARS and shown(line) == line for line in lines)


# ---- HTTP ----

_HTTP = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n3\r\nab\n\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 500 no\r\nConnection: close\r\n\r\nwords\nand lines\n",
    b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n\1\0\0\0\0\0\0\2hi",
]


async def _exchange(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s"
        server = await asyncio.start_unix_server(serve, path)
        client = HttpClient(path, name="Podman", start="start it", timeout=5)
        try:
            with suppress(Unavailable):
                await client.request("GET", "/x", limit=1000)
            with suppress(Unavailable):
                async with client.stream("/x") as stream:
                    for _ in range(100):
                        await stream.line()
        finally:
            client.close()
            server.close()
            await server.wait_closed()


@target(spoilt_bytes(_HTTP) | any_bytes, quick=30)
def http_answers(answer: bytes) -> None:
    """Any bytes as an answer to a request, and to one for a stream."""
    asyncio.run(_exchange(answer))


async def _probe(asked: HttpCheck, answer: bytes) -> Finding:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        return await check(FakeRuntime(), "id", Probe(replace(asked, port=port)), "127.0.0.1")
    finally:
        server.close()
        await server.wait_closed()


@target(spoilt_bytes(_HTTP) | any_bytes, quick=15)
def probe_answers(answer: bytes) -> None:
    """Any bytes as a container's answer to a probe."""
    finding = asyncio.run(_probe(HttpCheck(0), answer))
    assert finding.well is not None
    finding.message.encode()


_ODD = any_text.map(lambda text: f"/{text}") | st.sampled_from(["/ü", "/a b", "/\r\nx: y"])


@target(
    st.tuples(_ODD, st.dictionaries(any_text, any_text, max_size=2)),
    quick=15,
    found=[("/ü", {}), ("/a b", {}), ("/", {"x": "a\r\nb"})],
)
def probe_requests(given: tuple[str, dict[str, str]]) -> None:
    """Any path and headers that a document may ask a probe for."""
    path, headers = given
    asked = HttpCheck(0, path, headers=headers)
    finding = asyncio.run(_probe(asked, _HTTP[0]))
    assert finding.well is not False
    spec = {"port": 1, "path": path, "headers": headers}
    document = Document("m", {"http": spec})
    validate(ProbeSpec, document)
    assert finding.well, "it was accepted, but cannot be asked for"


@target(any_text)
def podman_words(text: str) -> None:
    """Podman's complaints, whatever they are."""
    refusals.reason(text)
