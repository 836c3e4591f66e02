"""`piccolo is-online`, by its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from piccolo.cli.probes import _all_ready
from piccolo.core.errors import NotFound
from piccolo.roles.presence import Presence
from piccolo.roles.service_manager import ServiceManager
from piccolo.rpc import wire
from piccolo.rpc.wire import NodeStatus
from tests.cli.scripted import (
    HANG_UP,
    PICCOLO,
    Cluster,
    ScriptedMaster,
    piccolo,
    refuse,
    saved,
    scripted,
)

# ---- what a cluster needs ----


def nodes(*states: NodeStatus) -> list[wire.Node]:
    return [wire.Node(name=f"n{i}", status=state) for i, state in enumerate(states, 1)]


READY, LOST = NodeStatus.READY, NodeStatus.NOT_READY


@pytest.mark.parametrize(
    ("states", "online", "said"),
    [
        ([READY, READY], True, "2 of 2 nodes Ready"),
        ([READY, LOST], False, "1 of 2 nodes Ready: n2 NotReady"),
        ([NodeStatus.INITIALIZING], False, "0 of 1 nodes Ready: n1 Initializing"),
        ([], False, "0 of 0 nodes Ready"),
        ([READY, NodeStatus.PENDING, NodeStatus.MAINTENANCE, NodeStatus.TERMINATING], True, "1 of"),
        ([NodeStatus.PENDING], False, "0 of 0 nodes Ready"),
        ([LOST] * 7, False, "n5 NotReady and 2 more"),
    ],
)
def test_a_cluster_is_online_when_all_in_service_are(
    states: list[NodeStatus], online: bool, said: str
) -> None:
    found, message = _all_ready(nodes(*states))
    assert found is online
    assert said in message


# ---- the program ----

slow = pytest.mark.slow  # it is started, some times for each test


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def master(cluster: Cluster) -> Iterator[ScriptedMaster]:
    with scripted(cluster.tls()) as found:
        found.answers["get_node"] = lambda _: answer(READY)
        found.answers["get_nodes"] = lambda _: wire.GetNodesResponse(nodes=nodes(READY))
        yield found


def answer(state: NodeStatus, reason: str = "") -> wire.GetNodeResponse:
    return wire.GetNodeResponse(node=wire.Node(name="n1", status=state, reason=reason))


class Asker:
    """Somebody with a context."""

    def __init__(self, home: Path, context: Path | None = None) -> None:
        self.home = home
        self.args = ["--context", str(context)] if context else []

    def __call__(self, *args: str, code: int) -> str:
        """What is said on stdout."""
        environ = {"XDG_RUNTIME_DIR": str(self.home)}
        done = piccolo("is-online", *args, *self.args, home=self.home, **environ)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout if code in (0, 1, 7) else done.stderr


@pytest.fixture
def ask(cluster: Cluster, master: ScriptedMaster, tmp_path: Path) -> Asker:
    return Asker(tmp_path, saved(tmp_path / "c.yaml", cluster.context(master.address)))


@slow
def test_a_node(ask: Asker, master: ScriptedMaster) -> None:
    assert ask("node", "n1", code=0) == "node n1 is online: Ready\n"
    assert master.requests("get_node")[0].node_id == "n1"
    assert ask("node", "n1", "-o", "name", code=0) == "online\n"
    master.answers["get_node"] = lambda _: answer(LOST, "ConnectionLost")
    assert ask("node", "n1", code=1) == "node n1 is not online: NotReady, ConnectionLost\n"
    assert json.loads(ask("node", "n1", "-o", "json", code=1)) == {
        "what": "node n1",
        "online": False,
        "message": "NotReady, ConnectionLost",
    }
    master.answers["get_node"] = refuse(NotFound("there is no node n1"))
    assert "there is no node n1" in ask("node", "n1", code=1)


@slow
def test_the_cluster(ask: Asker, master: ScriptedMaster) -> None:
    assert ask("cluster", code=0) == "the cluster is online: 1 of 1 nodes Ready\n"
    master.answers["get_nodes"] = lambda _: HANG_UP
    assert "the cluster is not online: " in ask("cluster", code=1)
    assert "is a master running there?" in ask("cluster", "--master", "127.0.0.1:1", code=1)


@slow
def test_waiting_until_it_is(ask: Asker, master: ScriptedMaster) -> None:
    answers = iter([answer(LOST), HANG_UP])
    master.answers["get_node"] = lambda _: next(answers, answer(READY))
    assert ask("node", "n1", "--wait", code=0) == "node n1 is online: Ready\n"
    assert len(master.requests("get_node")) == 3
    master.answers["get_node"] = lambda _: answer(LOST)
    assert "is not online" in ask("node", "n1", "--wait", "--timeout", "300ms", code=7)


@slow
@pytest.mark.parametrize("end", [answer(LOST), HANG_UP])
def test_staying_as_long_as_it_is(ask: Asker, master: ScriptedMaster, end: object) -> None:
    answers = iter([answer(READY)])
    master.answers["get_node"] = lambda _: next(answers, end)
    first, last = ask("node", "n1", "--monitor", "-o", "json", code=1).splitlines()
    assert [json.loads(line)["online"] for line in (first, last)] == [True, False]
    assert len(master.requests("get_node")) == 2


@slow
def test_wrong_usage(tmp_path: Path) -> None:
    ask = Asker(tmp_path)
    assert "write `is-online node NAME`" in ask("node", code=2)
    assert "write `is-online node NAME`" in ask("n1", code=2)
    assert "No context says so" in ask("cluster", code=2)


@slow
def test_this_machine_needs_no_context(tmp_path: Path) -> None:
    ask = Asker(tmp_path)
    assert "neither agent nor master runs here" in ask(code=1)
    (tmp_path / "piccolo").mkdir()
    environ = {"RUNTIME_DIRECTORY": str(tmp_path / "piccolo")}
    agent, master = (Presence(r, ServiceManager(), environ) for r in ("agent", "master"))
    master.tell(True, "1 of 1 nodes Ready")
    assert ask(code=0) == "this machine is online: master: 1 of 1 nodes Ready\n"
    agent.tell(False, "looking for the master at h")
    assert "agent: looking for the master at h; master: 1 of 1" in ask(code=1)
    timer = threading.Timer(0.2, agent.tell, (True, "connected to h as n1"))
    timer.start()
    assert "agent: connected to h as n1" in ask("--wait", code=0)
    timer.join()

    watching = subprocess.Popen(
        [PICCOLO, "is-online", "--monitor"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert "is online" in watching.stdout.readline()
    began = time.monotonic()
    agent.close()
    master.close()
    out, _ = watching.communicate(timeout=10)
    assert watching.returncode == 1
    assert "neither agent nor master runs here" in out
    assert time.monotonic() - began < 3
