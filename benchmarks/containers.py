"""How soon a client sees what a container does."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.faults import BOUND
from benchmarks.figures import Figure, Plan
from benchmarks.ground import PATIENCE, join, make_lab, run_containers
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.process import Limit
from tests.lab.watch import Change

SEEN = 300.0  # ms
CPUS, MEMORY_MB = 0.2, 512


def containers(plan: Plan) -> Iterator[Figure]:
    """A container is started by hand. From the return of `podman run --detach` until a client that
    watches (`piccolo get containers -w`) has printed it as running; a negative value means that it
    was printed before. Podman's log of events is a file here, which Podman itself polls every
    250 ms; with journald, its default under systemd, events come at once.
    """
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        join(lab)
        took = _seen(lab, plan.runs)
    yield Figure("container started → seen by a client", "≤ 300 ms", "ms", took, SEEN)


def weak_machine(plan: Plan) -> Iterator[Figure]:
    """An agent with 20 containers that is held to 20 % of a core and 512 MB by a control group
    (docs: HLD 8.1). A container is started, as in `containers`; the agent is frozen, as in
    `faults`.
    """
    with make_lab(1, containers=True) as lab:
        lab.start_master()
        run_containers(lab, "node1")
        with lab.watch_nodes() as watch:
            agent = lab.start_agent("node1", limit=Limit(CPUS, MEMORY_MB))
            ready = watch.wait_status("node1", "Ready", PATIENCE, agent.started_at).at
            time.sleep(plan.settle)
            frozen = []
            for _ in range(plan.trials):
                begun = time.monotonic()
                agent.freeze()
                lost = watch.wait_status("node1", "NotReady", PATIENCE, begun).at
                frozen.append(lost - begun)
                agent.thaw()
                watch.wait_status("node1", "Ready", PATIENCE, lost)
                time.sleep(random.uniform(1, 3))
        took = _seen(lab, plan.runs)
        if not agent.alive:
            raise LabError(f"the agent did not live with {MEMORY_MB} MB")
    held = "agent with 20 % of a core, 512 MB"
    yield Figure(f"{held}: start → Ready", "", "s", [ready - agent.started_at])
    yield Figure(f"{held}: frozen → NotReady", "worst ≤ 5 s, aim 3 s", "s", frozen, BOUND, "worst")
    yield Figure(f"{held}: container started → seen", "≤ 300 ms", "ms", took, SEEN)


def _seen(lab: Lab, runs: int) -> list[float]:
    """Milliseconds from the return of `podman run` until the client has printed the container."""
    took = []
    with lab.watch("get", "containers", "-w", "-o", "json") as watch:
        watch.wait_synced()
        for number in range(runs):
            time.sleep(random.uniform(0.5, 1.5))
            name = f"seen{number}"
            lab.podman["node1"].run(name, "sleep", "1000000")
            returned = time.monotonic()
            change = watch.wait_for(partial(_runs, name), PATIENCE)
            took.append((change.at - returned) * 1000)
            lab.podman["node1"].rm(name)
    return took


def _runs(name: str, change: Change) -> bool:
    return change.name == name and change.object["state"] == "running"
