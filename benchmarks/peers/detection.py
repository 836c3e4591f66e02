"""How soon others see what PICCOLO sees, and how often they see what is not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

from benchmarks.figures import Comparison, Plan
from benchmarks.ground import join
from benchmarks.peers import docker, serf
from benchmarks.peers.cluster import Cluster, Piccolo
from benchmarks.peers.serf import Serf
from benchmarks.peers.swarm import Swarm
from tests.lab.cluster import Lab

NODES = 4
LOSS = 20.0  # %
CALM = 3.0  # s between two faults
LACKING = {Serf.name: serf.missing, Swarm.name: docker.missing}  # why a peer cannot run here
KILLED, CUT = "killed (kill -9) → called lost", "cable cut, both ways → called lost"


def detection(plan: Plan) -> Iterator[Comparison]:
    """A master and four nodes; on each of the five hosts the agents of all who are compared run
    side by side, each with its default settings, so that a cut cable hits all of them at the same
    moment. In turn, one node at a time, the agents of a node are killed (of Swarm: dockerd), or its
    cable is cut; the time counts until the other end has said that the node is lost: a client that
    watches PICCOLO, Serf's agent on the master's host in its log, Swarm's manager in the list of
    its nodes, which is asked every 20 ms. Then all is mended, and the next fault begins when all
    three call all nodes alive.
    """
    took: dict[str, dict[str, list[float]]] = {KILLED: {}, CUT: {}}
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(NODES, podman=False))
        clusters = _clusters(lab, stack)
        for number in range(plan.trials):
            node = f"node{number % NODES + 1}"
            for what, fault in ((KILLED, _killed), (CUT, _cut)):
                time.sleep(CALM + random.uniform(0, 1))
                for cluster, seconds in zip(clusters, fault(lab, clusters, node), strict=True):
                    took[what].setdefault(cluster.name, []).append(seconds)
    for what, seen in took.items():
        yield from _compared(f"agent {what}" if what == KILLED else what, "s", seen)


def calm(plan: Plan) -> Iterator[Comparison]:
    """The same five hosts; on the cables of the four nodes 20 % of the packets are lost in each
    direction, each packet by its own lot. Counted is how often each has called a node lost that
    was alive.
    """
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(NODES, podman=False))
        clusters = _clusters(lab, stack)
        begun = time.monotonic()
        for node in lab.nodes:
            lab.net.loss(node, LOSS)
        time.sleep(plan.steady)
        lost = {cluster.name: [float(cluster.lost(begun))] for cluster in clusters}
    minutes = f"{plan.steady / 60:g} min"
    yield from _compared(f"false alarms, {NODES} nodes, {LOSS:.0f} % lost, {minutes}", "", lost)


def _clusters(lab: Lab, stack: ExitStack) -> Sequence[Cluster]:
    """PICCOLO, and those peers that can run here."""
    lab.start_master()
    join(lab)
    clusters: list[Cluster] = [Piccolo(lab, stack.enter_context(lab.watch_nodes()))]
    if not serf.missing():
        clusters.append(Serf(lab))
    if not docker.missing():
        clusters.append(stack.enter_context(closing(Swarm(lab))))
    return clusters


def _killed(lab: Lab, clusters: Sequence[Cluster], node: str) -> list[float]:
    begun = []
    for cluster in clusters:
        begun.append(time.monotonic())
        cluster.kill(node)
    return _seen(clusters, node, begun, lambda cluster: cluster.start(node))


def _cut(lab: Lab, clusters: Sequence[Cluster], node: str) -> list[float]:
    begun = time.monotonic()
    lab.net.cut(node)

    def mend(cluster: Cluster) -> None:
        lab.net.heal(node)
        cluster.reconnect(node)

    return _seen(clusters, node, [begun] * len(clusters), mend)


def _seen(
    clusters: Sequence[Cluster],
    node: str,
    begun: Sequence[float],
    mend: Callable[[Cluster], None],
) -> list[float]:
    """Wait until all have seen the fault, mend it, wait until all have seen that; seconds to see
    the fault, of each.
    """
    took = [c.wait(node, False, at) - at for c, at in zip(clusters, begun, strict=True)]
    mended = time.monotonic()
    for cluster in clusters:
        mend(cluster)
    for cluster in clusters:
        cluster.wait(node, True, mended)
    return took


def _compared(what: str, unit: str, seen: dict[str, list[float]]) -> Iterator[Comparison]:
    for peer, lacking in LACKING.items():
        if why := lacking():
            yield Comparison(what, peer, unless=why)
        else:
            yield Comparison(what, peer, unit, seen[Piccolo.name], seen[peer])
