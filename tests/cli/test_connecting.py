"""As whom and to whom the client speaks: over real TLS, and every way in which that can fail."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from piccolo.core.errors import PermissionDenied
from piccolo.core.security.access import Principal, Role, spiffe_id
from piccolo.rpc import wire
from tests.cli.scripted import (
    CLUSTER,
    HANG_UP,
    PICCOLO,
    Cluster,
    ScriptedMaster,
    now,
    piccolo,
    refuse,
    saved,
    scripted,
)

pytestmark = pytest.mark.slow  # each test starts the program, some several times


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def other() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        found.answers["get_nodes"] = lambda _: wire.GetNodesResponse()
        yield found


def get_nodes(context: Path, *args: str, code: int = 0) -> str:
    done = piccolo("get", "nodes", "--context", str(context), *args, home=context.parent)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_client_shows_its_certificate(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    get_nodes(saved(tmp_path / "c.yaml", cluster.context(master.address)))
    [(_, _, certificate)] = master.asked
    assert certificate is not None
    uri = spiffe_id(CLUSTER, Principal(Role.ADMIN, "factory"))
    assert certificate["subjectAltName"] == (("URI", uri),)


def test_a_master_of_another_cluster_learns_nothing(
    other: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    path = saved(tmp_path / "c.yaml", other.context(master.address))
    error = get_nodes(path, code=6)
    assert f"{master.address} is the master of another cluster, or its authority was repl" in error
    assert str(path) in error
    assert "--context" in error
    assert master.asked == []


def test_an_authority_that_was_replaced_is_trusted_by_its_cross_signature(tmp_path: Path) -> None:
    """A client that was away while the authority was rotated."""
    old, new = Cluster(), Cluster()
    context = old.context()
    crossed = old.authority.cross_sign(new.authority, now())
    tls = new.tls(trusted=new.authority.pem + old.authority.pem, cross=crossed)
    with scripted(tls) as master:
        master.answers["get_nodes"] = lambda _: wire.GetNodesResponse()
        get_nodes(saved(tmp_path / "c.yaml", context, masters=(master.address,)))
        assert len(master.asked) == 1


def test_our_certificate_has_expired(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    context = cluster.context(master.address, life=timedelta(minutes=-1))
    error = get_nodes(path := saved(tmp_path / "c.yaml", context), code=6)
    assert "does not take our certificate: it has expired" in error
    assert f"({path}) expired at {context.not_after:%Y-%m-%d %H:%M} UTC" in error
    assert "piccolo context create" in error


def test_our_certificate_is_of_an_authority_that_was_retired(
    cluster: Cluster, other: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    ours, theirs = cluster.context(master.address), other.context()
    path = saved(tmp_path / "c.yaml", ours, certificate=theirs.certificate, key=theirs.key)
    error = get_nodes(path, code=6)
    assert "does not take our certificate: it is of another authority" in error
    assert "by this machine's clock (20" in error


def test_a_refusal_by_the_master_itself_is_told_as_it_is(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    master.answers["get_nodes"] = refuse(PermissionDenied("the certificate was revoked by admin"))
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    assert get_nodes(path, code=6) == "piccolo: the certificate was revoked by admin\n"


@pytest.mark.parametrize(
    ("at", "said"),
    [(now() + timedelta(days=2), "is not valid yet"), (now() - timedelta(days=2), "has expired")],
)
def test_a_clock_that_is_wrong(cluster: Cluster, tmp_path: Path, at: datetime, said: str) -> None:
    with scripted(cluster.tls(at=at, life=timedelta(days=1))) as master:
        error = get_nodes(saved(tmp_path / "c.yaml", cluster.context(master.address)), code=4)
    assert said in error
    assert f"this machine's clock, which says {now():%Y-%m-%d}" in error
    assert "is a master running there?" not in error


def test_a_certificate_that_is_no_masters(cluster: Cluster, tmp_path: Path) -> None:
    """Whoever has a certificate of the cluster could otherwise pretend to be its master."""
    with scripted(cluster.tls(name="elsewhere")) as master:
        error = get_nodes(saved(tmp_path / "c.yaml", cluster.context(master.address)), code=6)
    assert "is no PICCOLO master" in error
    assert master.asked == []


def test_a_server_without_tls(cluster: Cluster, tmp_path: Path) -> None:
    def answer() -> None:  # as HTTP/2 without TLS begins: SETTINGS (RFC 9113, 3.4)
        connection, _ = plain.accept()
        with connection:
            connection.sendall(b"\0\0\0\4\0\0\0\0\0")
            connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as plain:
        answering = threading.Thread(target=answer)
        answering.start()
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        error = get_nodes(saved(tmp_path / "c.yaml", cluster.context(address)), code=4)
        answering.join(5)
    assert "does not speak TLS 1.3" in error
    assert "an older master" in error


def test_a_server_that_says_nothing(cluster: Cluster, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        path = saved(tmp_path / "c.yaml", cluster.context(address))
        error = get_nodes(path, "--timeout", "0.3", code=4)
    assert f"{address} did not answer in time" in error


def test_the_first_master_that_answers_is_used(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    get_nodes(saved(tmp_path / "c.yaml", cluster.context("127.0.0.1:1", master.address)))
    assert len(master.asked) == 1


def test_the_addresses_may_be_others_than_the_contexts(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context("127.0.0.1:1"))
    get_nodes(path, "--master", master.address)
    by_environment = piccolo(
        "get", "nodes", home=tmp_path, PICCOLO_MASTER=master.address, PICCOLO_CONTEXT=str(path)
    )
    assert by_environment.returncode == 0
    assert len(master.asked) == 2


def test_a_certificate_that_ends_soon_is_announced_on_stderr(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    context = cluster.context(master.address, life=timedelta(days=13))
    path = saved(tmp_path / "c.yaml", context, not_before=now() - timedelta(days=300))
    done = piccolo("get", "nodes", "-o", "json", "--context", str(path), home=tmp_path)
    assert done.stdout == "[]\n"
    assert f"expires at {context.not_after:%Y-%m-%d %H:%M} UTC; renew it: piccolo context" in (
        done.stderr
    )
    saved(path, cluster.context(master.address))
    assert "expires" not in get_nodes(path)


def test_a_watch_goes_on_with_the_context_as_it_is_then(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    """A watch lasts for weeks, and its context is renewed meanwhile."""
    synced = wire.WatchResponse(type=wire.ChangeType.SYNCED)
    master.answers["watch"] = lambda _: [synced]  # and the stream ends: the client comes back
    path = saved(tmp_path / "c.yaml", cluster.context(master.address, name="before"))

    def seen(name: str) -> bool:
        subjects = [c["subjectAltName"][0][1] for _, _, c in list(master.asked) if c]
        return any(subject.endswith(f"/{name}") for subject in subjects)

    with watching(path) as program:
        until(lambda: seen("before"))
        saved(path, cluster.context(master.address, name="after"))
        until(lambda: seen("after"))
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 130


def test_what_is_tried_again_is_complained_of_once(
    cluster: Cluster, master: ScriptedMaster, tmp_path: Path
) -> None:
    answers: list[object] = [[wire.WatchResponse(type=wire.ChangeType.SYNCED)]]
    master.answers["watch"] = lambda _: answers.pop() if answers else HANG_UP
    path = saved(tmp_path / "c.yaml", cluster.context(master.address))
    argv = [str(PICCOLO), "get", "nodes", "-w", "--context", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
        try:
            until(lambda: len(master.requests("watch")) >= 4)
        finally:
            program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=10)
    lines = err.decode().splitlines()
    assert lines[0] == "piccolo: the master ended the watch; trying again"
    assert sum("closed the connection" in line for line in lines) == 1


@contextmanager
def watching(context: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [str(PICCOLO), "get", "nodes", "-w", "--context", str(context)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        try:
            yield program
        finally:
            program.kill()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_key_that_does_not_belong_to_the_certificate(cluster: Cluster, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(), key=cluster.context().key)
    said = f"{path}: the certificate and its key cannot be used: they do not belong together;"
    assert said in get_nodes(path, code=2)


def test_what_is_no_authority(cluster: Cluster, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.yaml", cluster.context(), ca="nobody")
    assert f"{path}: these are no certificates of an authority;" in get_nodes(path, code=2)
    saved(tmp_path / "c.yaml", cluster.context(), ca="")
    assert f"{path}: the certificate of the authority is missing;" in get_nodes(path, code=2)
