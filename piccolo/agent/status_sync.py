"""The part of a session that is about what the agent sees: changes go as they come, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable

from piccolo.agent.reporter import Reporter
from piccolo.core.model import Condition
from piccolo.core.report import Delta
from piccolo.rpc import convert, wire

log = logging.getLogger(__name__)


class StatusSync:
    """For one session. `queue` sends a message: `queue(delta=…)`."""

    def __init__(self, reporter: Reporter, queue: Callable[..., object]) -> None:
        self._reporter = reporter
        self._queue = queue

    def begin(self, digest: int, *, need_snapshot: bool) -> None:
        """The master has welcomed us; what it was told of before has `digest`."""
        # Nothing may wait in here, or a change in between would be lost.
        if need_snapshot or digest != self._reporter.report.digest:
            self._snapshot()
        else:
            self._told(Delta(), self._reporter.condition)
        self._reporter.listener = self._told

    def end(self) -> None:
        self._reporter.listener = None

    def on_resync(self, request: wire.ResyncRequest) -> None:
        log.info("the master asks for a snapshot: %s", request.reason)
        self._snapshot()

    def _snapshot(self) -> None:
        report = self._reporter.report
        self._queue(
            snapshot=wire.StatusSnapshot(
                containers_unknown=not self._reporter.known,
                containers=[convert.container_to_wire(c) for c in report.containers.values()],
                conditions=[convert.condition_to_wire(self._reporter.condition)],
                instances=[convert.instance_status_to_wire(s) for s in report.instances.values()],
            )
        )

    def _told(self, delta: Delta, condition: Condition | None) -> None:
        self._queue(
            delta=wire.StatusDelta(
                containers=[convert.container_to_wire(c) for c in delta.changed],
                removed=list(delta.removed),
                conditions=[convert.condition_to_wire(condition)] if condition else [],
                instances=[convert.instance_status_to_wire(s) for s in delta.instances],
                removed_instances=list(delta.removed_instances),
            )
        )
