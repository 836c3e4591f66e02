"""Simulated agents by the hundred on one master, measured at one size."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.fanout import fan_out
from benchmarks.ground import PATIENCE, ROOT, CpuMeter, make_lab, network_bytes, rss_mb
from benchmarks.swarm import PREPARED
from tests.lab.cluster import Lab
from tests.lab.net import Host, Network
from tests.lab.process import Proc
from tests.lab.watch import Change, Watch

HOST = "crowd"
SOURCES = "198.18.128.0/17"  # of the lab's network: a part of it that no host has
LOOPBACK_SOURCES = "127.99.0.0/16"
FAULTY = 5  # real agents beside the simulated ones, whose cables are cut
WATCHERS = 10
SPREAD = 2.0  # s over which the faults of a round begin
CALM = 3.0  # s between two rounds
ASKED = 5  # times that a client asks for all nodes


@dataclass(slots=True)
class Measured:
    """What was seen with `size` simulated agents. Times in seconds, memory in MB."""

    size: int
    alone: float = 0.0  # the master's memory before the first agent
    joined: list[float] = field(default_factory=list)
    returned: list[float] = field(default_factory=list)
    detected: list[float] = field(default_factory=list)
    fanned_out: list[float] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    memory: float = 0.0
    cpu: float = 0.0  # percent of a core
    network: float | None = None  # bytes a second and agent; None: there is no cable to look at
    false_alarms: int = 0  # agents that were not Ready while nothing happened


def measure(
    size: int, *, runs: int, settle: float, idle: float, trials: int, returns: bool = True
) -> Measured:
    """All figures of one size. Raises `LabError` when not all agents become Ready."""
    seen = Measured(size)
    for number in range(runs):
        with make_lab(FAULTY) as lab:
            master = lab.start_master()
            host = lab.net.add_host(HOST)
            sources = sources_of(lab, host)
            seen.alone = rss_mb(master)
            with lab.watch_nodes() as watch:
                swarm, begun = start(lab, host, size, sources)
                seen.joined.append(wait_all(watch, size, "Ready", begun) - begun)
                if returns:
                    swarm.terminate()
                    gone = time.monotonic()
                    wait_all(watch, size, "NotReady", gone - 1.0)
                    swarm, begun = start(lab, host, size, sources)
                    seen.returned.append(wait_all(watch, size, "Ready", begun) - begun)
            if number == runs - 1:
                time.sleep(settle)
                _at_rest(lab, master, host, idle, seen)
                seen.detected = _detection(lab, trials)
                seen.fanned_out = fan_out(lab, lab.names[0], WATCHERS, trials)
                seen.listed = [_list_all(lab) for _ in range(ASKED)]
    return seen


def sources_of(lab: Lab, host: Host) -> str:
    """A network of addresses that are all the host's: each agent speaks from one of its own."""
    if not isinstance(lab.net, Network):
        return LOOPBACK_SOURCES
    lab.site.run([*host.prefix(), "ip", "route", "add", "local", SOURCES, "dev", "lo"])
    return SOURCES


def start(lab: Lab, host: Host, size: int, sources: str) -> tuple[Proc, float]:
    """The agents, and when they began to look for their master."""
    argv = [sys.executable, "-m", "benchmarks.swarm", "--master", lab.address]
    argv += ["--count", str(size), "--seconds", "3600", "--data", str(host.dir / "data")]
    argv += ["--sources", sources]
    env = {"PYTHONPATH": str(ROOT), "PICCOLO_TOKEN": lab.join_token()}
    swarm = Proc(lab.site, host, "swarm", argv, env=env)
    swarm.wait_for_output(PREPARED, PATIENCE)
    return swarm, time.monotonic()


def wait_all(watch: Watch, size: int, status: str, since: float) -> float:
    """When the last of the agents had that status."""
    found: set[str] = set()

    def complete(change: Change) -> bool:
        (found.add if change.status == status else found.discard)(change.name)
        return len(found) >= size

    return watch.wait_for(complete, 4 * PATIENCE, since).at


def _at_rest(lab: Lab, master: Proc, host: Host, seconds: float, seen: Measured) -> None:
    cabled = isinstance(lab.net, Network)
    carried, begun = network_bytes(lab, host) if cabled else 0, time.monotonic()
    meter = CpuMeter(master)
    time.sleep(seconds)
    seen.cpu, seen.memory = meter.percent(), rss_mb(master)
    if cabled:
        rate = (network_bytes(lab, host) - carried) / (time.monotonic() - begun)
        seen.network = rate / seen.size
    seen.false_alarms = sum(node["status"] != "Ready" for node in lab.get("nodes"))


def _detection(lab: Lab, trials: int) -> list[float]:
    """How long it took until a client that watches knew of agents that fell silent."""
    took: list[float] = []
    lab.start_agents()
    with lab.watch_nodes() as watch:
        while len(took) < trials:
            time.sleep(CALM)
            begun = _silence(lab, lab.names)
            for name, at in begun.items():
                took.append(watch.wait_status(name, "NotReady", PATIENCE, at).at - at)
            healed = time.monotonic()
            lab.faults.heal()
            for name in begun:
                watch.wait_status(name, "Ready", PATIENCE, healed)
    return took


def _silence(lab: Lab, names: Iterable[str]) -> dict[str, float]:
    """Cut each cable, or freeze the agent where there are none, at a random moment; when."""
    begun, done = time.monotonic(), {}
    moments: Sequence[tuple[float, str]] = sorted((random.uniform(0, SPREAD), n) for n in names)
    for moment, name in moments:
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        done[name] = time.monotonic()
        if isinstance(lab.net, Network):
            lab.faults.cut(name)
        else:
            lab.faults.freeze(name)
    return done


def _list_all(lab: Lab) -> float:
    begun = time.monotonic()
    lab.piccolo("get", "nodes")
    return time.monotonic() - begun
