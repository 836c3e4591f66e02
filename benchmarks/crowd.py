"""Far more agents than a cluster will have: where the master's limits are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, ROOT, CpuMeter, make_lab, rss_mb
from tests.lab.cluster import Lab
from tests.lab.process import Proc
from tests.lab.watch import Change, Watch

AGENTS = 500
IDLE = 60.0  # s
HOST = "crowd"


def crowd(plan: Plan) -> Iterator[Figure]:
    """500 simulated agents in one process of their own (`python -m benchmarks.swarm`): real
    sessions, pulses and reports, no machines behind them. From the start of that process, which
    shares this machine with the master and the client that watches, until the client has printed
    that all are Ready; each run with a new master. Then, in the last run and with no client, the
    master is watched for 60 s while all agents are idle.
    """
    took: list[float] = []
    cpu = memory = 0.0
    for number in range(plan.runs):
        with make_lab(0) as lab:
            master = lab.start_master()
            host = lab.net.add_host(HOST)
            with lab.watch_nodes() as watch:
                argv = [sys.executable, "-m", "benchmarks.swarm", "--master", lab.address]
                argv += ["--count", str(AGENTS), "--seconds", "3600"]
                swarm = Proc(lab.site, host, "swarm", argv, env={"PYTHONPATH": str(ROOT)})
                took.append(_all_ready(watch) - swarm.started_at)
            if number == plan.runs - 1:
                time.sleep(plan.settle)
                meter = CpuMeter(master)
                time.sleep(IDLE)
                cpu, memory = meter.percent(), rss_mb(master)
                _still_ready(lab)
    yield Figure("500 simulated agents: start → all Ready", "≤ 15 s", "s", took, 15.0)
    yield Figure("master's CPU, 500 idle agents", "≤ 30 % of a core", "%", [cpu], 30.0)
    yield Figure("master's memory (RSS), 500 agents", "", "MB", [memory])


def _all_ready(watch: Watch) -> float:
    ready: set[str] = set()

    def complete(change: Change) -> bool:
        (ready.add if change.status == "Ready" else ready.discard)(change.name)
        return len(ready) >= AGENTS

    return watch.wait_for(complete, 4 * PATIENCE).at


def _still_ready(lab: Lab) -> None:
    lost = [node["name"] for node in lab.get("nodes") if node["status"] != "Ready"]
    if lost:
        print(f"    {len(lost)} of the {AGENTS} agents are not Ready any more", file=sys.stderr)
