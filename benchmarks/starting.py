"""How soon an agent is of use after its start."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, leave, make_lab, moments, wait_all

AGENTS = 10


def agent_start(plan: Plan) -> Iterator[Figure]:
    """From the start of `piccolo agent` until a client that watches (`piccolo get nodes -w`) has
    printed that the node is Ready. Each time the node joins anew: before the next run it is
    removed from the cluster. The start-up of the process ends with the first line of its log: by
    then it has read its settings, has become the lean agent by exec, and has imported all it needs.
    """
    whole, startup, rest = [], [], []
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        for _ in range(plan.runs):
            with lab.watch_nodes() as watch:
                agent = lab.start_agent("node1", "--log-format", "json")
                seen = watch.wait_status("node1", "Ready", PATIENCE, since=agent.started_at)
            whole.append(seen.at - agent.started_at)
            startup.append(min(moments(agent).values()))
            rest.append(whole[-1] - startup[-1])
            leave(lab, ["node1"])
    yield Figure("agent: start → Ready, seen by a client", "≤ 1 s (30 s)", "s", whole, 1.0)
    yield Figure("— of that, start-up of the process", "", "s", startup)
    yield Figure("— of that, join, first report, and the way to the client", "", "s", rest)


def ten_agents(plan: Plan) -> Iterator[Figure]:
    """Ten agents are started at once, on this machine, beside ten Podmans and the master; from the
    start of the first until a client that watches has printed that all are Ready. Each time all
    join anew.
    """
    took = []
    with make_lab(AGENTS, containers=True) as lab:
        lab.start_master()
        for _ in range(plan.runs):
            with lab.watch_nodes() as watch:
                begun = time.monotonic()
                for name in lab.nodes:
                    lab.start_agent(name)
                took.append(wait_all(watch, lab.nodes, "Ready", since=begun) - begun)
            leave(lab, lab.nodes)
    yield Figure("10 agents at once: start → all Ready", "≤ 6 s on 2 cores", "s", took, 6.0)
