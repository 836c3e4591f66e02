"""The two clocks of the master, passed in so that tests can turn them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

STEP = 60.0  # s; less is how clocks are corrected
STEADY_AFTER = 86400.0  # s


def _utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    monotonic: Callable[[], float] = time.monotonic  # seconds, for intervals
    utc: Callable[[], datetime] = _utc  # for times that are stored or shown


class StepWatch:
    """Notices steps of the time of day. What is thrown away for its age must not be lost to one: a
    clock that is a year ahead for an hour would take the whole history with it.
    """

    def __init__(self, clock: Clock, settle: float = 0.0) -> None:
        """`settle`: for so many seconds the clock may still be about to be set."""
        self._clock = clock
        self._offset = self._now()
        self._steady_from = clock.monotonic() + settle

    def _now(self) -> float:
        return self._clock.utc().timestamp() - self._clock.monotonic()

    def stepped(self) -> float:
        """By how many seconds since this was asked last; 0: it was not, or hardly."""
        step = self._now() - self._offset
        if abs(step) < STEP:
            return 0.0
        self._offset += step
        self._steady_from = self._clock.monotonic() + STEADY_AFTER
        return step

    def steady(self) -> bool:
        """Whether the clock was not stepped for so long that it can be believed."""
        self.stepped()
        return self._clock.monotonic() >= self._steady_from
