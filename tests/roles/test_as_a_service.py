"""A master and an agent under a service manager: real processes, with what systemd would give them.

With systemd itself it is tried in tests/machines.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.scripted import piccolo
from tests.roles.services import WATCHDOG, Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="module")
def master(home: Path, address: str) -> Iterator[Service]:
    (home / "master").mkdir()
    (home / "node.yaml").write_text("discovery: any\n")
    given = ["--config", f"{home}/node.yaml", "--data-dir", f"{home}/state", "--listen", address]
    found = Service(home / "master", home / "run-master", "master", *given)
    yield found
    found.close()


@pytest.fixture(scope="module")
def agent(home: Path, address: str) -> Iterator[Service]:
    """It joins as n1, by a token that it finds in its file."""
    (home / "agent").mkdir()
    found = Service(
        home / "agent",
        home / "run-agent",
        *("agent", "--master", address, "--name", "n1", "--data-dir", f"{home}/n1"),
        *("--token-file", f"{home}/token", "--podman-socket", f"{home}/no-podman"),
    )
    yield found
    found.close()


def is_online(home: Path, role: str, *args: str) -> tuple[int, str]:
    environ = {
        "PICCOLO_CONTEXT": f"{home}/state/admin.yaml",
        "XDG_RUNTIME_DIR": f"{home}/run-{role}",
    }
    done = piccolo("is-online", *args, home=home, **environ)
    return done.returncode, done.stdout


def test_a_master_is_ready_when_it_listens(home: Path, master: Service, address: str) -> None:
    master.wait_said("READY=1")
    host, _, port = address.partition(":")
    socket.create_connection((host, int(port)), 1).close()
    assert master.senders == {master.process.pid}
    master.wait_said("STATUS=0 of 0 nodes Ready")
    assert is_online(home, "master") == (
        0,
        "this machine is online: master: 0 of 0 nodes Ready\n",
    )
    assert is_online(home, "master", "cluster")[0] == 1


def test_a_reload_has_a_beginning_and_an_end(home: Path, master: Service) -> None:
    master.process.send_signal(signal.SIGHUP)
    master.wait_said("RELOADING=1")
    master.wait_said("MONOTONIC_USEC=")
    master.wait_said("READY=1")
    (home / "node.yaml").write_text("nonsense: 1\n")
    master.process.send_signal(signal.SIGHUP)
    master.wait_said("RELOADING=1")
    master.wait_said("READY=1")
    (home / "node.yaml").write_text("discovery: any\n")
    assert "<3>the configuration was not reread" in master.log.read_text()


@pytest.fixture(scope="module")
def token(home: Path, master: Service) -> None:
    """In the file where the agent looks for it; then the master is away."""
    environ = {"PICCOLO_CONTEXT": f"{home}/state/admin.yaml"}
    made = piccolo("token", "create", "-o", "json", home=home, **environ)
    (home / "token").touch(mode=0o600)
    (home / "token").write_text(json.loads(made.stdout)["token"])
    master.process.send_signal(signal.SIGSTOP)


def test_an_agent_is_ready_without_its_master_and_tells_of_the_link(
    home: Path, master: Service, token: None, agent: Service, address: str
) -> None:
    agent.wait_said(f"STATUS=looking for the master at {address} (since 20")
    agent.wait_said("READY=1")
    # The process that its manager started: it has become the lean agent since.
    assert agent.senders == {agent.process.pid}
    assert b"piccolo.roles.agent" in Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
    assert is_online(home, "agent")[0] == 1
    master.process.send_signal(signal.SIGCONT)
    agent.wait_said(f"STATUS=connected to {address} as n1")
    master.wait_said("STATUS=1 of 1 nodes Ready")
    assert is_online(home, "agent") == (
        0,
        f"this machine is online: agent: connected to {address} as n1\n",
    )
    assert is_online(home, "master", "cluster")[0] == 0
    assert is_online(home, "master", "node", "n1")[0] == 0


def test_what_hangs_is_not_heard(master: Service, agent: Service) -> None:
    for service in (master, agent):
        assert not service.silent_for(WATCHDOG)
        service.process.send_signal(signal.SIGSTOP)
        try:
            assert service.silent_for(WATCHDOG)
        finally:
            service.process.send_signal(signal.SIGCONT)


def test_lines_in_the_journal_have_a_level(master: Service, agent: Service) -> None:
    for service in (master, agent):
        lines = service.log.read_text().splitlines()
        logged = [line for line in lines if not line.startswith("piccolo ")]
        assert logged
        assert all(re.match(r"<[3467]>\D", line) for line in logged), logged
    assert re.search(r"^<6>session with the master is open$", agent.log.read_text(), re.M)
    assert "piccolo1." not in master.log.read_text()


def test_an_agent_that_the_watchdog_ends_says_where_it_hung(home: Path, agent: Service) -> None:
    """And what it left behind does not make it online."""
    agent.stop(signal.SIGABRT)
    assert re.search(r"Fatal Python error: Aborted\n\n.* \(most recent call", agent.log.read_text())
    code, said = is_online(home, "agent")
    assert (code, "it was killed" in said) == (1, True)


def test_the_end_is_said(home: Path, master: Service) -> None:
    assert json.loads((home / "run-master/piccolo/master.json").read_text())["online"]
    assert master.stop() == 0
    while master.hear():
        pass
    assert master.said[-1] == "STOPPING=1"
    assert os.listdir(home / "run-master/piccolo") == []


def test_an_error_that_ends_a_service_has_a_level(home: Path) -> None:
    (home / "broken").mkdir()
    config = home / "broken/nodeagent.yaml"
    config.write_text("nonsense: 1\n")
    service = Service(home / "broken", home / "run-broken", "agent", "--config", str(config))
    try:
        assert service.process.wait(10) == 2
        assert service.log.read_text().startswith(f"<3>piccolo: {config}")
        assert not service.hear()
    finally:
        service.close()
