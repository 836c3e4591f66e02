"""Far more agents than a cluster will have: where the master's limits are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, ROOT, CpuMeter, make_lab, rss_mb
from benchmarks.swarm import PREPARED
from tests.lab.cluster import Lab
from tests.lab.net import Host
from tests.lab.process import Proc
from tests.lab.watch import Change, Watch

AGENTS = 500
IDLE = 60.0  # s
HOST = "crowd"


def crowd(plan: Plan) -> Iterator[Figure]:
    """500 simulated agents in one process of their own (`python -m benchmarks.swarm`): real
    certificates, sessions, pulses and reports, no machines behind them. That process shares this
    machine with the master and the client that watches. All join at once with one token; the time
    counts from when their keys are made, which real machines do each for itself, until the client
    has printed that all are Ready; each run with a new master. Then the process is ended and
    started again: now all have certificates, and only connect. After that, in the last run and
    with no client, the master is watched for 60 s while all agents are idle.
    """
    joined: list[float] = []
    returned: list[float] = []
    cpu = memory = 0.0
    for number in range(plan.runs):
        with make_lab(0) as lab:
            master = lab.start_master()
            host = lab.net.add_host(HOST)
            with lab.watch_nodes() as watch:
                swarm, begun = _start(lab, host)
                joined.append(_all_ready(watch, begun) - begun)
                swarm.terminate()
                gone = time.monotonic()
                _wait_all(watch, "NotReady", gone - 1.0)
                swarm, begun = _start(lab, host)
                returned.append(_all_ready(watch, begun) - begun)
            if number == plan.runs - 1:
                time.sleep(plan.settle)
                meter = CpuMeter(master)
                time.sleep(IDLE)
                cpu, memory = meter.percent(), rss_mb(master)
                _still_ready(lab)
    yield Figure("500 simulated agents: join → all Ready", "≤ 15 s", "s", joined, 15.0)
    yield Figure("500 simulated agents: start again → all Ready", "≤ 15 s", "s", returned, 15.0)
    yield Figure("master's CPU, 500 idle agents", "≤ 30 % of a core", "%", [cpu], 30.0)
    yield Figure("master's memory (RSS), 500 agents", "", "MB", [memory])


def _start(lab: Lab, host: Host) -> tuple[Proc, float]:
    """The agents, and when they began to look for their master."""
    argv = [sys.executable, "-m", "benchmarks.swarm", "--master", lab.address]
    argv += ["--count", str(AGENTS), "--seconds", "3600", "--data", str(host.dir / "data")]
    env = {"PYTHONPATH": str(ROOT), "PICCOLO_TOKEN": lab.join_token()}
    swarm = Proc(lab.site, host, "swarm", argv, env=env)
    swarm.wait_for_output(PREPARED, PATIENCE)
    return swarm, time.monotonic()


def _all_ready(watch: Watch, since: float) -> float:
    return _wait_all(watch, "Ready", since)


def _wait_all(watch: Watch, status: str, since: float) -> float:
    """When the last of the agents had that status."""
    found: set[str] = set()

    def complete(change: Change) -> bool:
        (found.add if change.status == status else found.discard)(change.name)
        return len(found) >= AGENTS

    return watch.wait_for(complete, 4 * PATIENCE, since).at


def _still_ready(lab: Lab) -> None:
    lost = [node["name"] for node in lab.get("nodes") if node["status"] != "Ready"]
    if lost:
        print(f"    {len(lost)} of the {AGENTS} agents are not Ready any more", file=sys.stderr)
