"""All that is measured, by name, in the order of the document."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.abuse import abuse
from benchmarks.client import client
from benchmarks.containers import containers, weak_machine
from benchmarks.deploying import deploy, fleet, recovery
from benchmarks.faults import faults, outage
from benchmarks.figures import Comparison, Figure, Plan
from benchmarks.ground import NETWORK, PODMAN
from benchmarks.lossy import lossy
from benchmarks.peers.detection import calm, detection
from benchmarks.peers.work import memory, starting
from benchmarks.scale import scale
from benchmarks.starting import agent_start, ten_agents
from benchmarks.steady import busy, idle


class Benchmark(NamedTuple):
    measure: Callable[[Plan], Iterator[Figure] | Iterator[Comparison]]
    needs: str = ""  # see `ground.lacking`; without: it does what it can on any machine

    @property
    def method(self) -> str:
        return inspect.getdoc(self.measure) or ""


BENCHMARKS = {
    "agent-start": Benchmark(agent_start),
    "ten-agents": Benchmark(ten_agents),
    "client": Benchmark(client),
    "faults": Benchmark(faults),
    "outage": Benchmark(outage, NETWORK),
    "containers": Benchmark(containers, PODMAN),
    "weak-machine": Benchmark(weak_machine, PODMAN),
    "deploy": Benchmark(deploy, PODMAN),
    "fleet": Benchmark(fleet, PODMAN),
    "recovery": Benchmark(recovery, PODMAN),
    "idle": Benchmark(idle),
    "busy": Benchmark(busy, PODMAN),
    "lossy": Benchmark(lossy, NETWORK),
    "scale": Benchmark(scale),
    "abuse": Benchmark(abuse),
}
# Beside other programs, which only `./dev bench --peers` installs.
PEERS = {
    "peers-detection": Benchmark(detection, NETWORK),
    "peers-calm": Benchmark(calm, NETWORK),
    "peers-start": Benchmark(starting, PODMAN),
    "peers-memory": Benchmark(memory, PODMAN),
}
ALL = BENCHMARKS | PEERS
