"""Workloads that must not run on a node that is cut off (`onIsolation: Stop`).

By this node's own clock, and a monotonic one: from the last sign of the master's, or from the
agent's start. So whoever starts such a workload elsewhere knows when it has ended here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from piccolo.core.workloads.instances import Instance
from piccolo.core.workloads.workload import OnIsolation


class Isolation:
    def __init__(self) -> None:
        self._since: float | None = time.monotonic()  # None: the master is there

    def connected(self) -> None:
        self._since = None

    def alone(self, since: float) -> None:
        """`since`: monotonic, when the master was heard last."""
        self._since = since

    def why(self, instance: Instance) -> str | None:
        """Why it must not run now; None: it may."""
        if self._left(instance) > 0:
            return None
        after = instance.workload.on_isolation.after
        return f"this node has been without the master for {after:g} s (onIsolation: Stop)"

    def next(self, instances: Iterable[Instance]) -> float | None:
        """Seconds until the next of them must stop; None: none has to."""
        left = [seconds for i in instances if 0 < (seconds := self._left(i)) < float("inf")]
        return min(left, default=None)

    def _left(self, instance: Instance) -> float:
        rule = instance.workload.on_isolation
        if self._since is None or rule.action is not OnIsolation.STOP:
            return float("inf")
        return self._since + rule.after - time.monotonic()
