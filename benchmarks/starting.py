"""How soon an agent is of use after its start."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, leave, make_lab, moments, wait_all
from tests.lab.cluster import Lab
from tests.lab.process import Proc
from tests.lab.watch import Watch

AGENTS = 10


def agent_start(plan: Plan) -> Iterator[Figure]:
    """From the start of `piccolo agent` until a client that watches (`piccolo get nodes -w`) has
    printed that the node is Ready. First the node joins: it has a token and nothing else, makes its
    key and gets its certificate. Then its agent is stopped, and started again with what it has. For
    the next run the node is removed from the cluster, and its data directory too. The start-up of
    the process ends with the first line of its log: by then it has read its settings, has become
    the lean agent by exec, and has imported all it needs.
    """
    joined, startup, rest, again = [], [], [], []
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        lab.join_token()
        for _ in range(plan.runs):
            with lab.watch_nodes() as watch:
                agent, took = _ready(lab, watch)
                joined.append(took)
                startup.append(min(moments(agent).values()))
                rest.append(took - startup[-1])
                agent.terminate()
                watch.wait_status("node1", "NotReady", PATIENCE, since=agent.started_at + took)
                again.append(_ready(lab, watch)[1])
            leave(lab, ["node1"])
            shutil.rmtree(lab.nodes["node1"].dir / "data")
    yield Figure(
        "agent: start → joined and Ready, seen by a client", "≤ 1 s (30 s)", "s", joined, 1.0
    )
    yield Figure("— of that, start-up of the process, with the node's key", "", "s", startup)
    yield Figure("— of that, join, first report, and the way to the client", "", "s", rest)
    yield Figure("agent: start → Ready again", "≤ 1 s (30 s)", "s", again, 1.0)


def _ready(lab: Lab, watch: Watch) -> tuple[Proc, float]:
    """Start the agent; the seconds until the client has printed that the node is Ready."""
    agent = lab.start_agent("node1", "--log-format", "json")
    seen = watch.wait_status("node1", "Ready", PATIENCE, since=agent.started_at)
    return agent, seen.at - agent.started_at


def ten_agents(plan: Plan) -> Iterator[Figure]:
    """Ten agents are started at once, on this machine, beside ten Podmans and the master; from the
    start of the first until a client that watches has printed that all are Ready. Each time all
    join anew.
    """
    took = []
    with make_lab(AGENTS, containers=True) as lab:
        lab.start_master()
        lab.join_token()
        for _ in range(plan.runs):
            with lab.watch_nodes() as watch:
                begun = time.monotonic()
                for name in lab.nodes:
                    lab.start_agent(name)
                took.append(wait_all(watch, lab.nodes, "Ready", since=begun) - begun)
            leave(lab, lab.nodes)
    yield Figure("10 agents at once: start → all Ready", "≤ 6 s on 2 cores", "s", took, 6.0)
