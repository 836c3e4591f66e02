"""Real containers of real Podmans, started by hand, as a client of the master sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from piccolo.core.nodes.liveness import PROFILES
from tests.e2e.asking import condition, eventually
from tests.lab.cluster import Lab
from tests.lab.podman import PodmanNode
from tests.lab.watch import Change, Watch

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.slow]

SEEN = 2.0  # s from a change of a container to a watching client
RUNTIME_LOST = 5.0  # s until a Podman that went away is a condition
RUNTIME_BACK = 20.0  # s until it is used again: the agent looks for it every 15 s at the least
SLEEP = ("sh", "-c", "trap 'exit 3' TERM; sleep 1000 & wait $!")


@dataclass
class Fleet:
    lab: Lab
    containers: Watch
    nodes: Watch

    def podman(self, name: str = "node1") -> PodmanNode:
        return self.lab.podman[name]

    def seen(self, name: str, since: float, within: float = SEEN, **wanted: Any) -> Change:
        """What a watching client is told of a container; fails when it is told too late."""
        change = self.containers.wait_for(
            lambda c: c.name == name and all(c.object.get(k) == v for k, v in wanted.items()),
            within + 5,
            since,
        )
        assert change.at - since <= within, f"{name} {wanted} was seen after {change.at - since} s"
        return change

    def node(self, name: str = "node1") -> dict[str, Any]:
        found: dict[str, Any] = self.lab.get("node", name)
        return found


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Lab(2) as lab:
        lab.start_master()
        lab.start_agents()
        with (
            lab.watch("get", "containers", "-w", "-o", "json") as containers,
            lab.watch_nodes() as nodes,
        ):
            containers.wait_synced()
            yield Fleet(lab, containers, nodes)


def test_the_life_of_a_container(fleet: Fleet) -> None:
    podman = fleet.podman()
    begun = time.monotonic()
    made = podman.run("web", *SLEEP, options=["--label", "tier=front"])
    started = time.monotonic()
    change = fleet.seen("web", begun, started - begun + SEEN, state="running")
    assert change.object["id"] == made
    assert change.object["node"] == "node1"
    assert change.object["labels"]["tier"] == "front"

    podman.stop("web")
    stopped = time.monotonic()
    fleet.seen("web", begun, stopped - begun + SEEN, state="exited", exitCode=3)
    again = time.monotonic()
    podman.start("web")
    fleet.seen("web", again, time.monotonic() - again + SEEN, state="running")
    killing = time.monotonic()
    podman.kill("web")
    fleet.seen("web", killing, time.monotonic() - killing + SEEN, state="exited", exitCode=137)
    removing = time.monotonic()
    podman.rm("web")
    removed = time.monotonic()
    gone = fleet.containers.wait_for(lambda c: (c.type, c.name) == ("DELETED", "web"), 5, removing)
    assert gone.at - removed <= SEEN
    assert fleet.lab.get("containers") == []


def test_containers_of_all_nodes_are_listed_and_selected(fleet: Fleet) -> None:
    for name in fleet.lab.podman:
        fleet.podman(name).run("hello")
    eventually(lambda: len(fleet.lab.get("containers", "-l", ".state=running")) == 2, SEEN)
    assert [c["node"] for c in fleet.lab.get("containers", "--node", "node2")] == ["node2"]
    names = fleet.lab.piccolo("get", "containers", "-o", "name").stdout.split()
    assert names == ["node1/hello", "node2/hello"]
    assert "2/2 containers running" in fleet.lab.piccolo("status").stdout


def test_usage_of_containers(fleet: Fleet) -> None:
    """It comes with the heartbeats."""
    found = eventually(
        lambda: [c["usage"] for c in fleet.lab.get("containers", "--node", "node2") if c["usage"]],
        PROFILES["wired"].heartbeat_interval + 2,
    )
    assert 0 < found[0]["memoryBytes"] < 100 << 20
    assert "node2" in fleet.lab.piccolo("top", "containers").stdout


def test_a_killed_podman_is_a_condition_and_no_dead_node(fleet: Fleet) -> None:
    podman = fleet.podman()
    begun = time.monotonic()
    podman.kill_service()
    lost = fleet.nodes.wait_for(
        lambda c: c.name == "node1" and condition(c.object, "RuntimeReady") is False, 15, begun
    )
    assert lost.at - begun <= RUNTIME_LOST
    assert lost.object["status"] == "Ready"
    # What is known of the containers stays, and podman works without its service.
    assert [c["state"] for c in fleet.lab.get("containers", "--node", "node1")] == ["running"]
    podman.rm("hello")
    podman.run("meanwhile", *SLEEP)

    back = time.monotonic()
    podman.start_service()
    fleet.seen("meanwhile", back, RUNTIME_BACK, state="running")
    fleet.nodes.wait_for(
        lambda c: c.name == "node1" and condition(c.object, "RuntimeReady") is True, 2, back
    )
    eventually(lambda: [c["name"] for c in fleet.lab.get("containers", "--node", "node1")], SEEN)
    assert [c["name"] for c in fleet.lab.get("containers", "--node", "node1")] == ["meanwhile"]
    statuses = {c.status for c in fleet.nodes.since(begun) if c.name == "node1"}
    assert statuses == {"Ready"}
