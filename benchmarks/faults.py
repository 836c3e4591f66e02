"""How soon a fault is seen, and its end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, join, make_lab, wait_all
from piccolo.core.nodes.liveness import PROFILES
from tests.lab.cluster import Lab
from tests.lab.net import Network

BOUND = 5.0  # s
TARGET = "worst ≤ 5 s, aim 3 s"
RETURN = 3.0 + PROFILES["wired"].backoff_cap  # s
RETURN_TARGET = "worst ≤ 3 s + one back-off of 5 s"
SPREAD = 2.0  # s over which the faults of a round begin
CALM = 3.0  # s between two rounds
OUTAGE = 20.0  # s

# node → what happens to it, as the table calls it
FAULTS = {
    "node1": "agent killed (kill -9)",
    "node2": "agent frozen (SIGSTOP)",
    "node3": "cable cut, both ways",
    "node4": "cable cut, towards the node",
    "node5": "cable cut, from the node",
}


def faults(plan: Plan) -> Iterator[Figure]:
    """Five nodes, each with a fault of its own. In a round each fault begins at a random moment of
    two seconds; the time counts until a client that watches has printed NotReady. When all are
    seen, the faults end, and the time counts until the client has printed Ready. Cables are cut by
    dropping all packets on a bridge between the hosts: nobody is told. A one-way cut drops one
    direction only. The killed agent's end is the start of a new process.
    """
    with make_lab(len(FAULTS)) as lab:
        lab.start_master()
        join(lab)
        begin, end = _switches(lab)
        seen: dict[str, list[float]] = {name: [] for name in FAULTS}
        healed: dict[str, list[float]] = {name: [] for name in FAULTS}
        with lab.watch_nodes() as watch:
            for _ in range(plan.trials):
                time.sleep(CALM)
                begun = _spread(begin)
                for name, at in begun.items():
                    seen[name].append(watch.wait_status(name, "NotReady", PATIENCE, at).at - at)
                ended = {}
                for name, act in end.items():
                    ended[name] = time.monotonic()
                    act()
                for name, at in ended.items():
                    healed[name].append(watch.wait_status(name, "Ready", PATIENCE, at).at - at)
    why = "" if isinstance(lab.net, Network) else "needs root"
    for name, what in FAULTS.items():
        yield Figure(f"{what} → NotReady", TARGET, "s", seen[name], BOUND, "worst", unless=why)
    cables = [took for name in ("node3", "node4", "node5") for took in healed[name]]
    yield _returned("cable back at once → Ready", cables, why)
    yield _returned("agent thawed at once → Ready", healed["node2"])
    yield _returned("agent started again after kill -9 → Ready", healed["node1"])


def outage(plan: Plan) -> Iterator[Figure]:
    """Five nodes lose their cables for 20 s, long enough that the agents give up their sessions
    and pause between attempts; then each gets it back, one a second. From then until a client that
    watches has printed Ready.
    """
    took = []
    with make_lab(len(FAULTS)) as lab:
        lab.start_master()
        join(lab)
        with lab.watch_nodes() as watch:
            for _ in range(max(1, plan.trials // len(FAULTS))):
                begun = time.monotonic()
                for name in FAULTS:
                    lab.net.cut(name)
                wait_all(watch, FAULTS, "NotReady", since=begun)
                time.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
                heal: dict[str, Act] = {name: partial(lab.net.heal, name) for name in FAULTS}
                healed = _spread(heal, len(FAULTS))
                for name, at in healed.items():
                    took.append(watch.wait_status(name, "Ready", PATIENCE, at).at - at)
                time.sleep(CALM)
    yield _returned("cable back after 20 s → Ready", took)


def _returned(what: str, seconds: list[float], unless: str = "") -> Figure:
    return Figure(what, RETURN_TARGET, "s", seconds, RETURN, "worst", unless=unless)


Act = Callable[[], None]


def _switches(lab: Lab) -> tuple[dict[str, Act], dict[str, Act]]:
    """What begins and what ends each fault that this lab can make."""

    def kill() -> None:
        lab.agents["node1"].kill()

    def start_again() -> None:
        lab.start_agent("node1")

    frozen = lab.agents["node2"]
    begin: dict[str, Act] = {"node1": kill, "node2": frozen.freeze}
    end: dict[str, Act] = {"node1": start_again, "node2": frozen.thaw}
    if isinstance(lab.net, Network):
        net = lab.net
        begin["node3"] = partial(net.cut, "node3")
        begin["node4"] = partial(net.cut, "node4", "in")
        begin["node5"] = partial(net.cut, "node5", "out")
        end |= {name: partial(net.heal, name) for name in ("node3", "node4", "node5")}
    return begin, end


def _spread(acts: Mapping[str, Act], seconds: float = SPREAD) -> dict[str, float]:
    """Do each at a random moment; return when."""
    begun = time.monotonic()
    done = {}
    for moment, name in sorted((random.uniform(0, seconds), name) for name in acts):
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        done[name] = time.monotonic()
        acts[name]()
    return done
