"""What agents and the master take while nothing, or much, happens."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import (
    CpuMeter,
    disk_bytes,
    join,
    make_lab,
    network_bytes,
    rss_mb,
    run_containers,
    written_bytes,
)
from tests.lab.net import Network
from tests.lab.podman import API, PodmanNode

NODES = 10
CELLULAR = "node9"
FULL = "node10"
KB, MB = 1024, 1024 * 1024


def idle(plan: Plan) -> Iterator[Figure]:
    """Ten nodes, each with its own Podman, for ten minutes in which nothing happens, after half a
    minute to settle. Eight are wired and run no containers, one has the cellular link profile, and
    one runs 20 containers that sleep. Memory is the RSS of the process and its children at the end
    (pages shared between them count for each). CPU is user and system time, children included.
    Network is what the agent's cable carried in both directions, Ethernet headers included, in
    bytes a second on average. Disk is what the master wrote, and what its data directory grew by,
    extrapolated to an hour.
    """
    with make_lab(NODES, containers=True) as lab:
        master = lab.start_master()
        plain = [name for name in lab.nodes if name not in (CELLULAR, FULL)]
        if lab.podman:
            run_containers(lab, FULL)
        join(lab, [*plain, FULL])
        join(lab, [CELLULAR], "--link", "cellular")
        time.sleep(plan.settle)
        cabled = isinstance(lab.net, Network)
        carried = {n: network_bytes(lab, h) for n, h in lab.nodes.items()} if cabled else {}
        cpu = {name: CpuMeter(agent) for name, agent in lab.agents.items()}
        master_cpu = CpuMeter(master)
        data = lab.master.dir / "data"
        written, grown, begun = written_bytes(master), disk_bytes(data), time.monotonic()
        time.sleep(plan.steady)
        took = time.monotonic() - begun
        hours = took / 3600
        used = {name: meter.percent() for name, meter in cpu.items()}
        memory = {name: rss_mb(agent) for name, agent in lab.agents.items()}
        rate = {n: (network_bytes(lab, lab.nodes[n]) - was) / took for n, was in carried.items()}
        written = written_bytes(master) - written
        grown = disk_bytes(data) - grown
        master_memory, master_used = rss_mb(master), master_cpu.percent()
    no_podman = "" if lab.podman else "needs root and Podman"
    no_cable = "" if cabled else "needs root"
    with_20 = [FULL] if lab.podman else []
    plain_used = [used[name] for name in plain]
    yield Figure("agent's CPU, idle", "≤ 0.5 % (1 %)", "%", plain_used, 0.5)
    full_used = [used[name] for name in with_20]
    yield Figure("agent's CPU, 20 containers at rest", "", "%", full_used, unless=no_podman)
    yield Figure("agent's memory (RSS), no containers", "", "MB", [memory[n] for n in plain])
    full_memory = [memory[name] for name in with_20]
    target = "≤ 40 MB, aim 34 (50 MB)"
    what = "agent's memory (RSS), 20 containers"
    yield Figure(what, target, "MB", full_memory, 40.0, unless=no_podman)
    wired = [rate[name] / KB for name in plain if name in rate]
    yield Figure("agent's network, idle", "≤ 1 KB/s", "KB/s", wired, 1.0, unless=no_cable)
    cellular = [rate[CELLULAR]] if rate else []
    what, target = "agent's network, idle, cellular profile", "≤ 100 B/s (100 KB/s)"
    yield Figure(what, target, "B/s", cellular, 100.0, unless=no_cable)
    yield Figure("master's memory (RSS), 10 nodes, SQLite", "≤ 70 MB", "MB", [master_memory], 70.0)
    yield Figure("master's CPU, 10 idle nodes", "", "%", [master_used])
    hourly = written / MB / hours
    yield Figure("master writes to disk, 10 idle nodes", "≤ 1 MB/h", "MB/h", [hourly], 1.0)
    yield Figure("master's data grows, 10 idle nodes", "", "MB/h", [grown / MB / hours])


def busy(plan: Plan) -> Iterator[Figure]:
    """One node with 20 containers, each of which changes once a second for ten minutes: in turn,
    50 ms apart, they are paused and unpaused through Podman's socket. CPU of the agent, user and
    system, children included; Podman's own is not the agent's.
    """
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        names = run_containers(lab, "node1")
        join(lab)
        agent = lab.agents["node1"]
        _change(lab.podman["node1"], names, min(plan.settle, 10.0))
        meter = CpuMeter(agent)
        rate = _change(lab.podman["node1"], names, plan.steady)
        used, memory = meter.percent(), rss_mb(agent)
    note = f"{rate:.1f} changes/s were made"
    what = "agent's CPU, 20 containers, each changing every second"
    yield Figure(what, "≤ 5 %", "%", [used], 5.0, note=note)
    yield Figure("agent's memory (RSS) after that", "≤ 40 MB (50 MB)", "MB", [memory], 40.0)


def _change(node: PodmanNode, names: list[str], seconds: float) -> float:
    """Change each container once a second; return how many changes a second there really were."""
    begun = time.monotonic()
    done = 0
    while (now := time.monotonic()) < begun + seconds:
        due = begun + done / len(names)
        if now < due:
            time.sleep(due - now)
        turn, number = divmod(done, len(names))
        verb = "unpause" if turn % 2 else "pause"
        node.api("POST", f"{API}/containers/{names[number]}/{verb}")
        done += 1
    for name in (
        names[done % len(names) :] if done // len(names) % 2 else names[: done % len(names)]
    ):
        node.api("POST", f"{API}/containers/{name}/unpause")
    return done / (time.monotonic() - begun)
