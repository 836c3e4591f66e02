"""The cluster's events: what happened, for people to read, bounded by number and age (S5)."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime, timedelta

from piccolo.config.settings import Retention
from piccolo.core.model import Event, Severity
from piccolo.master import keys
from piccolo.master.clock import Clock, StepWatch
from piccolo.master.state_manager import StateManager

log = logging.getLogger(__name__)

_EVER = datetime.min.replace(tzinfo=UTC)
_LEVEL = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


class EventLog:
    def __init__(self, state: StateManager, clock: Clock, retention: Retention) -> None:
        self._state = state
        self._clock = clock
        self._steps = StepWatch(clock)
        self.retention = retention
        kept = sorted(state.group(keys.EVENT))
        self._keys = deque(kept)
        self._next = int(kept[-1].removeprefix(keys.EVENT)) + 1 if kept else 1

    def add(
        self,
        severity: Severity,
        kind: str,
        subject: str,
        reason: str,
        message: str,
        node_name: str = "",
        time: datetime | None = None,
    ) -> str:
        """`time`: when it happened, if that was not now. Returns the event's key."""
        key = keys.event(self._next)
        event = Event(
            key.removeprefix(keys.EVENT),
            time or self._clock.utc(),
            severity,
            kind,
            subject,
            reason,
            message,
            node_name,
        )
        self._next += 1
        self._keys.append(key)
        self._state.observe(key, event)
        log.log(_LEVEL[severity], "%s %s: %s: %s", kind, subject, reason, message)
        self._trim()
        return key

    def _trim(self) -> None:
        age = timedelta(seconds=self.retention.events_max_age)
        oldest_allowed = self._clock.utc() - age if self._steps.steady() else _EVER
        while self._keys:
            oldest = self._state.get(self._keys[0], Event)
            crowded = len(self._keys) > self.retention.events_max
            if oldest is not None and not crowded and oldest.time >= oldest_allowed:
                return
            self._state.observe(self._keys.popleft(), None)

    def newest(self, limit: int = 0, node_name: str = "") -> list[Event]:
        """In the order they happened; `limit` 0: all that are kept."""
        found: list[Event] = []
        for key in reversed(self._keys):
            event = self._state.get(key, Event)
            if event is not None and (not node_name or event.node_name == node_name):
                found.append(event)
                if limit and len(found) >= limit:
                    break
        return found[::-1]
