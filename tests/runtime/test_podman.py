"""Podman's side of the contract that needs a particular answer: from a server that plays Podman,
and from a real one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket
from urllib.parse import parse_qs, unquote

import pytest

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.runtime.podman import Podman, find_socket
from tests.lab.podman import HELLO
from tests.runtime.contract import Follower, following
from tests.runtime.recorded import (
    BROKEN_LOG,
    CREATED,
    EVENT,
    EXITED,
    HEALTH_EVENT,
    INSPECT,
    LIST,
    RUNNING,
    STATS,
    dump,
)
from tests.runtime.server import OK, Handler, answer, listening, read_request, saying, serving
from tests.runtime.worlds import PodmanWorld

API = "/v4.0.0/libpod"
ERROR = b"HTTP/1.1 500 Internal Server Error\r\n"


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "podman.sock"


@pytest.fixture
async def podman(socket: Path) -> AsyncIterator[Podman]:
    podman = Podman(socket, timeout=1.0)
    yield podman
    await podman.close()


def inspected(id: str, restarts: int) -> tuple[str, bytes]:
    return f"{API}/containers/{id}/json", answer(dump({**INSPECT, "RestartCount": restarts}))


# ---- a server that plays Podman ----


async def test_version_comes_from_a_ping(socket: Path, podman: Podman) -> None:
    async with listening(socket, serving({f"{API}/_ping": answer(b"OK")})):
        assert await podman.version() == "4.3.1"


async def test_something_else_that_speaks_http(socket: Path, podman: Podman) -> None:
    other = answer(b"OK", b"HTTP/1.1 200 OK\r\n")
    async with listening(socket, serving({f"{API}/_ping": other})):
        with pytest.raises(Unavailable, match="is not Podman"):
            await podman.version()


async def test_restarts_are_asked_once_per_run(socket: Path, podman: Podman) -> None:
    requests: list[str] = []
    answers = {
        f"{API}/containers/json": answer(dump(LIST)),
        **dict([inspected(EXITED["Id"], 3), inspected(RUNNING["Id"], 0)]),
    }
    async with listening(socket, serving(answers, requests)):
        for _ in range(3):
            assert {c.name: c.restarts for c in await podman.list()} == {"a": 3, "c": 0, "d": 0}
        assert len(requests) == 3 + 2  # the one that never ran is not inspected

        answers |= dict([inspected(EXITED["Id"], 4)])
        assert [c.restarts for c in await podman.list()] == [3, 0, 0]
        # Whoever names it knows that it changed, and later lists agree.
        assert [c.restarts for c in await podman.list([EXITED["Id"]])] == [4]
        assert [c.restarts for c in await podman.list()] == [4, 0, 0]

        answers |= dict([inspected(EXITED["Id"], 5)])
        again = {**EXITED, "StartedAt": EXITED["StartedAt"] + 1}
        answers[f"{API}/containers/json"] = answer(dump([again]))
        assert [c.restarts for c in await podman.list()] == [5]


async def test_nothing_is_kept_of_containers_that_are_gone(socket: Path, podman: Podman) -> None:
    requests: list[str] = []
    here, gone = answer(dump([EXITED])), answer(dump([]))
    answers = dict([inspected(EXITED["Id"], 3)])
    async with listening(socket, serving(answers, requests)):
        for said in (here, here, gone, here):
            answers[f"{API}/containers/json"] = said
            await podman.list()
    assert sum(EXITED["Id"] in request for request in requests) == 2


async def test_asking_for_nothing_asks_nobody(podman: Podman) -> None:
    assert await podman.list(frozenset()) == []


async def test_later_podmans_are_not_inspected(socket: Path, podman: Podman) -> None:
    requests: list[str] = []
    row = {**EXITED, "Restarts": 2}
    async with listening(
        socket, serving({f"{API}/containers/json": answer(dump([row]))}, requests)
    ):
        assert [c.restarts for c in await podman.list()] == [2]
    assert len(requests) == 1


async def test_a_container_removed_while_listing_is_left_out(socket: Path, podman: Podman) -> None:
    answers = {
        f"{API}/containers/json": answer(dump(LIST)),
        **dict([inspected(RUNNING["Id"], 0)]),
    }
    async with listening(socket, serving(answers)):
        assert [c.name for c in await podman.list()] == ["c", "d"]


async def test_a_container_in_the_midst_of_its_removal_is_left_out(
    socket: Path, podman: Podman
) -> None:
    gone = b'{"cause":"no such container","message":"container x does not exist in database: no'
    gone += b' such container","response":500}'
    answers = {
        f"{API}/containers/json": answer(dump(LIST)),
        f"{API}/containers/{EXITED['Id']}/json": answer(gone, ERROR),
        **dict([inspected(RUNNING["Id"], 0)]),
    }
    async with listening(socket, serving(answers)):
        assert [c.name for c in await podman.list()] == ["c", "d"]
        answers[f"{API}/containers/{RUNNING['Id']}/json"] = answer(b'{"cause":"disk"}', ERROR)
        with pytest.raises(Unavailable, match="HTTP 500: disk"):
            await podman.list([RUNNING["Id"]])


async def test_few_ids_are_filtered_by_podman_many_by_us(socket: Path, podman: Podman) -> None:
    requests: list[str] = []
    rows = [{**CREATED, "Id": f"{n:064x}"} for n in range(500)]
    async with listening(socket, serving({f"{API}/containers/json": answer(dump(rows))}, requests)):
        few, many = ([str(row["Id"]) for row in rows[:n]] for n in (3, 100))
        # Podman takes ids as prefixes or patterns; what we did not ask for is not returned.
        assert [c.id for c in await podman.list(few)] == few
        assert [c.id for c in await podman.list(many)] == many
    queries = [parse_qs(request.partition("?")[2]) for request in requests]
    assert json.loads(queries[0]["filters"][0]) == {"id": few}
    assert queries[1] == {"all": ["true"]}


@pytest.mark.parametrize("call", ["list", "usage", "version"])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        (answer(b'{"message":"database is locked"}', ERROR), "HTTP 500: database is locked"),
        (answer(b"<html>", ERROR), "HTTP 500: <html>"),
        (b"", "without an answer"),
    ],
)
async def test_what_podman_says_is_passed_on(
    socket: Path, podman: Podman, call: str, said: bytes, message: str
) -> None:
    async with listening(socket, saying(said)):
        with pytest.raises(Unavailable, match=message):
            await getattr(podman, call)()


@pytest.mark.parametrize("body", [b"", b"{", b"[7]", b'{"Stats":1}', b'"x"', b"\xff"])
async def test_nonsense_is_unavailable(socket: Path, podman: Podman, body: bytes) -> None:
    async with listening(socket, saying(answer(body))):
        with pytest.raises(Unavailable, match="see that it is Podman"):
            await podman.list()
        with pytest.raises(Unavailable, match="see that it is Podman"):
            await podman.usage()


async def test_usage_is_a_rate(socket: Path, podman: Podman) -> None:
    later = json.loads(json.dumps(STATS))
    later["Stats"][0]["CPUNano"] += 10**9
    answers = {f"{API}/containers/stats": answer(dump(STATS))}
    async with listening(socket, serving(answers)):
        assert {u.id: round(u.cpu_percent) for u in await podman.usage()} == {"aaaa": 2, "bbbb": 99}
        answers[f"{API}/containers/stats"] = answer(dump(later))
        await asyncio.sleep(0.5)
        server, client = await podman.usage()
    assert 100 < server.cpu_percent < 210
    assert client.cpu_percent == 0
    assert (server.network_rx_bytes, server.network_tx_bytes) == (5359, 5250305)


async def test_usage_is_asked_again_when_a_container_ended_meanwhile(
    socket: Path, podman: Podman
) -> None:
    torn = dump({"Error": {}, "Stats": None})

    async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (torn, torn, dump(STATS), *[torn] * 9):
            if await read_request(reader) is not None:
                writer.write(answer(body))

    async with listening(socket, moody):
        assert len(await podman.usage()) == 2
        with pytest.raises(Unavailable, match="come and go"):
            await podman.usage()


def event(id: str, action: str) -> bytes:
    return dump({**EVENT, "Action": action, "status": action, "Actor": {"ID": id}}) + b"\n"


def telling(*pieces: bytes | float, targets: list[str] | None = None) -> Handler:
    """A stream of events, with pauses, that then stays open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (request := await read_request(reader)) is None:
            return
        if targets is not None:
            targets.append(request[1])
        writer.write(OK + b"\r\n")
        await asyncio.sleep(0.15)
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                writer.write(piece)
        await reader.read()

    return handle


async def told(podman: Podman, seconds: float = 0.6) -> list[frozenset[str]]:
    """All sets that come within so many seconds."""
    sets: list[frozenset[str]] = []
    async with aclosing(podman.changes()) as changes:
        try:
            async with asyncio.timeout(seconds):
                async for ids in changes:
                    sets.append(ids)
        except TimeoutError:
            pass
    return sets


async def test_a_burst_is_one_set(socket: Path, podman: Podman) -> None:
    targets: list[str] = []
    burst = b"".join(event(f"{n % 50}", "start") for n in range(2000))
    async with listening(socket, telling(burst, 0.6, event("x", "died"), targets=targets)):
        first, *sets = await told(podman, 1.2)
    assert first == frozenset()
    assert sets[-1] == {"x"}
    assert frozenset().union(*sets[:-1]) == {str(n) for n in range(50)}
    assert len(sets) <= 4  # one, if the machine is not busy
    assert unquote(targets[0]) == f'{API}/events?stream=true&filters={{"type":["container"]}}'


async def test_events_that_change_nothing_are_not_told(socket: Path, podman: Podman) -> None:
    noise = b"".join(event("a", action) for action in ("exec", "exec_died", "mount", "attach"))
    async with listening(socket, telling(noise, b"\n\n", event("b", "rename"))):
        assert await told(podman) == [frozenset(), {"b"}]


async def test_a_health_check_is_told_again_after_its_result(socket: Path, podman: Podman) -> None:
    """Podman 4.3 tells `health_status` when the check begins."""
    check = dump({**HEALTH_EVENT, "Actor": {"ID": "a"}}) + b"\n"
    async with listening(socket, telling(check, 0.1, event("a", "exec_died"))):
        assert await told(podman, 0.9) == [frozenset(), {"a"}, {"a"}]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (BROKEN_LOG, "ended the event stream: invalid character"),
        (b"rubbish\n", "see that it is Podman"),
        (b"[]\n", "see that it is Podman"),
        (b'{"Actor":{"ID":7}}\n', "see that it is Podman"),
    ],
)
async def test_a_stream_that_breaks(
    socket: Path, podman: Podman, said: bytes, message: str
) -> None:
    async with listening(socket, telling(event("a", "start"), 0.1, said)) as server:
        changes = podman.changes()
        assert [await anext(changes), await anext(changes)] == [frozenset(), {"a"}]
        with pytest.raises(Unavailable, match=message):
            await anext(changes)
        await server.left()


async def test_a_stream_that_is_refused(socket: Path, podman: Podman) -> None:
    async with listening(socket, saying(answer(b'{"message":"no journal"}', ERROR))):
        with pytest.raises(Unavailable, match="HTTP 500: no journal"):
            await anext(podman.changes())


async def test_500_containers(socket: Path, podman: Podman) -> None:
    """Nobody has so many; it must not stop the agent's heartbeats all the same."""
    rows = [{**RUNNING, "Id": f"{n:064x}", "Labels": {"app": f"app-{n}"}} for n in range(500)]
    answers = dict(inspected(str(row["Id"]), 1) for row in rows)
    answers[f"{API}/containers/json"] = answer(dump(rows))
    async with listening(socket, serving(answers)):
        assert sum(c.restarts for c in await podman.list()) == 500
        began, used = time.monotonic(), time.process_time()
        assert len(await podman.list()) == 500
        took, used = time.monotonic() - began, time.process_time() - used
    assert used < 0.25, f"{used * 1e3:.0f} ms of processor time, {took * 1e3:.0f} ms"


# ---- where the socket is ----


@contextmanager
def listener(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True)
    with Socket(AF_UNIX) as socket:
        socket.bind(str(path))
        yield path


def test_find_no_socket(tmp_path: Path) -> None:
    assert find_socket({}, tmp_path) is None
    path = tmp_path / "run/podman/podman.sock"
    path.parent.mkdir(parents=True)
    path.write_text("no socket")
    assert find_socket({}, tmp_path) is None


def test_find_the_systems_socket_before_the_users(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    with listener(tmp_path / "run/user/7/podman/podman.sock") as own:
        assert find_socket(environ, tmp_path) == own
        with listener(tmp_path / "run/podman/podman.sock") as system:
            assert find_socket(environ, tmp_path) == system


def test_find_the_socket_that_is_named(tmp_path: Path) -> None:
    with listener(tmp_path / "run/podman/podman.sock"):
        found = find_socket({"CONTAINER_HOST": "unix:///somewhere/p.sock"}, tmp_path)
    assert found == Path("/somewhere/p.sock")  # there or not: the error will name it


@pytest.mark.parametrize("host", ["ssh://root@a/run/podman.sock", "tcp://:8080", "unix://a", "/a"])
def test_a_podman_elsewhere_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="CONTAINER_HOST"):
        find_socket({"CONTAINER_HOST": host}, tmp_path)


@pytest.mark.parametrize(
    ("socket", "command"),
    [
        ("/run/podman/podman.sock", "systemctl enable --now podman.socket"),
        ("/run/user/1000/podman/podman.sock", "systemctl --user enable --now podman.socket"),
        ("/srv/p.sock", "podman system service --time 0 unix:///srv/p.sock"),
    ],
)
async def test_a_missing_socket_says_how_to_start_it(socket: str, command: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await Podman(Path(socket)).list()
    assert str(caught.value).endswith(f"start Podman with: {command}")


# ---- real Podman ----


@pytest.mark.needs_root
@pytest.mark.needs_podman
async def test_traffic_is_told_from_the_containers_side(podman_world: PodmanWorld) -> None:
    megabytes = 3
    serve = f"dd if=/dev/zero of=/tmp/big bs=1M count={megabytes} && exec httpd -f -p 80 -h /tmp"
    options = ["--ip=10.88.0.7"]
    run = podman_world.node.run
    server = await asyncio.to_thread(
        run, "server", "sh", "-c", serve, network="podman", options=options
    )
    fetch = "until wget -qO /dev/null http://10.88.0.7/big; do sleep 0.1; done; exec sleep 1000"
    client = await asyncio.to_thread(run, "client", "sh", "-c", fetch, network="podman")
    async with asyncio.timeout(10):
        while True:
            usage = {u.id: u for u in await podman_world.runtime.usage()}
            # The two are read one after the other, while the bytes flow.
            moved = usage[client].network_rx_bytes, usage[server].network_tx_bytes
            if min(moved) > megabytes << 20:
                break
            await asyncio.sleep(0.1)
    assert usage[client].network_tx_bytes < 1 << 20
    assert usage[server].network_rx_bytes < 1 << 20


@pytest.mark.needs_root
@pytest.mark.needs_podman
async def test_a_podman_that_hangs(podman_world: PodmanWorld) -> None:
    id = await podman_world.run("web")
    impatient = Podman(podman_world.node.socket, timeout=0.5)
    assert await impatient.version()
    await asyncio.to_thread(podman_world.node.pause_service)
    try:
        for ask in (impatient.list, impatient.version, impatient.changes().__anext__):
            with pytest.raises(Unavailable, match=r"within 0\.5 s: it hangs"):
                await ask()
    finally:
        await asyncio.to_thread(podman_world.node.resume_service)
    assert [c.id for c in await impatient.list()] == [id]
    await impatient.close()


@pytest.mark.needs_root
@pytest.mark.needs_podman
async def test_a_change_is_seen_soon(podman_world: PodmanWorld) -> None:
    """From the return of `podman run` to a listing that has it. Podman itself polls the file of
    its events every 250 ms; with journald it would be sooner.
    """

    def runs(follower: Follower, id: str) -> bool:
        return id in follower.seen and follower.seen[id].state == "running"

    delays = []
    async with following(podman_world.runtime) as follower:
        for number in range(5):
            id = await podman_world.run(f"web{number}")
            began = time.monotonic()
            await follower.until(partial(runs, follower, id))
            delays.append(time.monotonic() - began)
            await asyncio.sleep(0.07)
    assert statistics.median(delays) < 0.3, delays


@pytest.mark.slow
@pytest.mark.needs_root
@pytest.mark.needs_podman
async def test_listing_while_containers_come_and_go(podman_world: PodmanWorld) -> None:
    async def turmoil() -> None:
        for number in range(8):  # Podman's own commands may fail here
            name = f"a{number}"
            options = ["--detach", "--network=none", f"--name={name}", "--restart=on-failure:2"]
            await podman_world.podman("run", *options, HELLO, "sh", "-c", "exit 3", check=False)
            await podman_world.podman("rm", "--force", "--time=0", name, check=False)

    id = await podman_world.run("web")
    async with asyncio.TaskGroup() as tasks:
        busy = tasks.create_task(turmoil())
        while not busy.done():
            for container in await podman_world.runtime.list():
                assert container.name
                assert container.state
            assert id in {usage.id for usage in await podman_world.runtime.usage()}
