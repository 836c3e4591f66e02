"""What the benchmarks stand on: the best lab that this machine can hold, and readings of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import podman
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.net import Host
from tests.lab.process import Proc
from tests.lab.watch import Watch

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # s to wait for anything at all; what takes longer has failed

NETWORK = "network"
PODMAN = "podman"


def lacking(need: str) -> list[str]:
    """What this machine lacks for it; `need` is "", `NETWORK`, or `PODMAN`, which implies it."""
    if not need:
        return []
    return Lab.missing(with_podman=need == PODMAN)


def make_lab(nodes: int, *, containers: bool = False) -> Lab:
    """A lab, with a Podman per node if wanted and possible; on loopback if nothing else is."""
    if Lab.missing(with_podman=False):
        return LoopbackLab(nodes)
    return Lab(nodes, podman=containers and not podman.missing())


def join(lab: Lab, names: Iterable[str] | None = None, *extra: str) -> None:
    """Start these agents, or all, and wait until they are Ready."""
    names = list(lab.nodes if names is None else names)
    with lab.watch_nodes() as watch:
        for name in names:
            lab.start_agent(name, *extra)
        wait_all(watch, names, "Ready")


def wait_all(watch: Watch, names: Iterable[str], status: str, since: float = 0.0) -> float:
    """Wait until each of the nodes had that status; return when the last one had it."""
    return max(watch.wait_status(name, status, PATIENCE, since).at for name in names)


def leave(lab: Lab, names: Iterable[str]) -> None:
    """Take nodes out of the cluster; their agents end, and join anew when they are started."""
    for name in names:
        lab.piccolo("remove", "node", name)
        lab.agents.pop(name).wait(PATIENCE)


def run_containers(lab: Lab, node: str, count: int = 20) -> list[str]:
    """Start containers that do nothing; return their names."""
    names = [f"c{number}" for number in range(1, count + 1)]
    for name in names:
        lab.podman[node].run(name, "sleep", "1000000")
    return names


@dataclass(slots=True)
class CpuMeter:
    """The processor time of a program, its children included, from now on."""

    proc: Proc
    _cpu: float = 0.0
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._cpu, self._at = self.proc.cpu_seconds(), time.monotonic()

    def percent(self) -> float:
        """Of one core, on average."""
        return (self.proc.cpu_seconds() - self._cpu) / (time.monotonic() - self._at) * 100


def rss_mb(proc: Proc) -> float:
    return proc.rss_kb() / 1024


def network_bytes(lab: Lab, host: Host) -> int:
    """What a host's cable has carried, both directions, Ethernet headers included."""
    command = [*host.prefix(), "ip", "-s", "-j", "link", "show", "dev", "eth0"]
    counters = json.loads(lab.site.run(command).stdout)[0]["stats64"]
    return int(counters["rx"]["bytes"]) + int(counters["tx"]["bytes"])


def written_bytes(proc: Proc) -> int:
    """What the program caused to be written to disk: proc(5), /proc/PID/io, write_bytes."""
    lines = Path(f"/proc/{proc.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def disk_bytes(directory: Path) -> int:
    """What the files of a directory take on disk."""
    found = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            found += os.lstat(os.path.join(folder, file)).st_blocks * 512
    return found


def moments(proc: Proc) -> dict[str, float]:
    """The messages that a program has logged with `--log-format json`: seconds since its start."""
    from datetime import datetime

    begun = time.time() - (time.monotonic() - proc.started_at)
    found: dict[str, float] = {}
    for line in proc.output().splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["time"]).timestamp() - begun
            found.setdefault(entry["message"], at)
    return found
