"""What only time can show: a minute of a bad network, of a Podman that hangs, of nothing at all.

Their minutes pass at the same time, while other tests run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import BACK, eventually
from tests.e2e.stories import story
from tests.lab.cluster import Lab
from tests.lab.watch import Change

pytestmark = [pytest.mark.needs_root, pytest.mark.slow, pytest.mark.timeout(150)]

LOSS = 20  # %
LOSSY = 60.0  # s
BUSY = (
    "discovery: any\nheartbeat: {interval: 5}\n"  # the shortest: so that 15 s of none are too many
)
HANGING = 22.0  # s: heartbeats must not wait for Podman so long
IDLE = 30.0  # s
IDLE_WRITES = 16 * 1024  # bytes in that time, of master and agents each


@dataclass
class Told:
    """What a watching client was told of the nodes, and what else a story measured."""

    changes: list[Change]
    seen: dict[str, Any] = field(default_factory=dict)

    def lost(self) -> list[str]:
        return [f"{c.name}: {c.object['reason']}" for c in self.changes if c.status == "NotReady"]


@story
def lossy() -> Told:
    with Lab(3, podman=False) as lab:
        lab.start_master()
        lab.start_agents()
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            for name in lab.names:
                lab.net.loss(name, LOSS)
            time.sleep(LOSSY)
            told = Told(watch.since(begun))
        for name in lab.names:
            lab.net.heal(name)
        eventually(lambda: all(n["link"]["connected"] for n in lab.get("nodes")), BACK)
        return told


@story
def hanging() -> Told:
    with Lab(1) as lab:
        lab.start_master(config=BUSY)
        lab.start_agents()
        lab.podman["node1"].run("before")
        with lab.watch_nodes() as watch:
            eventually(lambda: lab.get("containers"), 3)
            begun = time.monotonic()
            lab.podman["node1"].pause_service()
            time.sleep(HANGING)
            told = Told(watch.since(begun))
            told.seen["node"] = lab.get("node", "node1")
            told.seen["health"] = lab.piccolo("health", "node1").stdout
            lab.podman["node1"].resume_service()
            lab.podman["node1"].run("after")
            # A request that hangs is given up after 20 s, and a new attempt may take 15 s to come.
            eventually(lambda: len(lab.get("containers", "-l", ".state=running")) == 2, 40)
        return told


@story
def idle() -> Told:
    with Lab(3) as lab:
        for podman in lab.podman.values():
            podman.run("hello")
        master = lab.start_master()
        lab.start_agents()
        programs = {"master": master, **lab.agents}
        data = {host.name: host.dir / "data" for host in (lab.master, *lab.nodes.values())}
        with lab.watch_nodes() as watch:
            eventually(lambda: all(n["usage"] for n in lab.get("nodes")), 15)
            time.sleep(5.0)
            begun = time.monotonic()
            written = {name: write_bytes(program.pid) for name, program in programs.items()}
            sizes = {name: size_of(folder) for name, folder in data.items()}
            time.sleep(IDLE)
            told = Told(watch.since(begun))
            told.seen["before"] = written["master"]
            told.seen["written"] = {n: write_bytes(p.pid) - written[n] for n, p in programs.items()}
            told.seen["grown"] = {n: size_of(folder) - sizes[n] for n, folder in data.items()}
            lab.piccolo("label", "node", "node1", "not=idle")
            told.seen["label"] = write_bytes(master.pid) - written["master"]
        return told


def write_bytes(pid: int) -> int:
    """What a process has caused to be written to a disk: proc(5) io."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_bad_network_is_not_a_dead_node(lossy: Told) -> None:
    """Every fifth packet lost, in each direction, on three nodes."""
    assert lossy.lost() == []


@pytest.mark.needs_podman
def test_a_podman_that_hangs_is_not_a_dead_node(hanging: Told) -> None:
    assert hanging.lost() == []
    assert [c.object for c in hanging.changes if c.object["link"]["suspect"]] == []
    assert hanging.seen["node"]["status"] == "Ready"
    assert hanging.seen["node"]["link"]["datagrams"]
    assert "node1: healthy" in hanging.seen["health"]


@pytest.mark.needs_podman
def test_an_idle_cluster_writes_next_to_nothing(idle: Told) -> None:
    """Flash wears out. Heartbeats, pulses and usage stay in memory."""
    assert idle.changes == []
    assert max(idle.seen["written"].values()) <= IDLE_WRITES, idle.seen
    assert max(idle.seen["grown"].values()) <= IDLE_WRITES, idle.seen
    assert idle.seen["before"] > 0  # so they are counted
    assert idle.seen["label"] > 0
