"""A cluster whose members fail, as one who watches it from the master's host sees it.

PICCOLO and its peers look alike here, so that the same faults can be measured on all of them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from benchmarks.ground import PATIENCE
from tests.lab.cluster import Lab
from tests.lab.errors import LabError
from tests.lab.watch import Watch


class Cluster(Protocol):
    """Runs on all hosts of a lab. Raises `LabError` when it does not do what it should."""

    name: str

    def kill(self, node: str) -> None:
        """`kill -9` of what stands for the node; containers and the machine live on."""

    def start(self, node: str) -> None:
        """Start again what was killed."""

    def reconnect(self, node: str) -> None:
        """The node's cable is back: look at once, where the cluster has a way to ask for it."""

    def wait(self, node: str, alive: bool, since: float) -> float:
        """Wait until the cluster says so of that node; when that was read."""

    def lost(self, since: float) -> int:
        """How often it has called a node lost since then."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """`at` is `time.monotonic()`."""

    at: float
    node: str
    alive: bool


class Sightings:
    """What a cluster was seen to say of its nodes, in order. A thread of the cluster's adds."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._seen: list[Sighting] = []
        self._news = threading.Condition()

    def add(self, node: str, alive: bool) -> None:
        with self._news:
            self._seen.append(Sighting(time.monotonic(), node, alive))
            self._news.notify_all()

    def wait(self, node: str, alive: bool, since: float) -> float:
        def found() -> Sighting | None:
            wanted = (s for s in self._seen if (s.node, s.alive) == (node, alive) and s.at >= since)
            return next(wanted, None)

        with self._news:
            seen = self._news.wait_for(found, PATIENCE)
        if seen is None:
            said = "back" if alive else "lost"
            raise LabError(f"{self._cluster} did not call {node} {said} within {PATIENCE:g} s")
        return seen.at

    def lost(self, since: float) -> int:
        with self._news:
            return sum(not s.alive and s.at >= since for s in self._seen)


class Piccolo:
    """The lab's own master and agents. `watch` follows its nodes on the master's host."""

    name = "PICCOLO"

    def __init__(self, lab: Lab, watch: Watch) -> None:
        self._lab = lab
        self._watch = watch

    def kill(self, node: str) -> None:
        self._lab.agents[node].kill()

    def start(self, node: str) -> None:
        self._lab.start_again(node)

    def reconnect(self, node: str) -> None:
        """Nobody has to ask: the agent looks by itself."""

    def wait(self, node: str, alive: bool, since: float) -> float:
        status = "Ready" if alive else "NotReady"
        return self._watch.wait_status(node, status, PATIENCE, since).at

    def lost(self, since: float) -> int:
        return sum(change.status == "NotReady" for change in self._watch.since(since))
