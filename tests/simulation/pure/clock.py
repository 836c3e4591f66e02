"""Virtual time: a heap of what is to happen, in the order of its times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any, Protocol

EPOCH = datetime(2026, 5, 1, tzinfo=UTC)


class Owner(Protocol):
    """Of something that is to happen: once it is dead, nothing of its happens any more."""

    alive: bool


class Clock:
    def __init__(self) -> None:
        self.now = 0.0  # s since the simulation began
        self.steps = 0
        self._heap: list[tuple[float, int, Owner, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, when: float, owner: Owner, what: Callable[..., object], *args: Any) -> None:
        when = max(when, self.now)
        heappush(self._heap, (when, next(self._order), owner, what, args))

    def after(self, delay: float, owner: Owner, what: Callable[..., object], *args: Any) -> None:
        heappush(self._heap, (self.now + delay, next(self._order), owner, what, args))

    def run_until(self, end: float, broken: list[str]) -> None:
        """Everything up to then, or until something is `broken`."""
        heap = self._heap
        while heap and heap[0][0] <= end and not broken:
            self.now, _, owner, what, args = heappop(heap)
            if owner.alive:
                self.steps += 1
                what(*args)
        if not broken:
            self.now = end

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)


class LocalClock:
    """A node's own: its seconds are not quite ours, and its date may be wrong."""

    def __init__(self, clock: Clock, begin: float, rate: float, skew: float) -> None:
        self.skew = skew
        self._clock = clock
        self._begin = begin
        self._rate = rate

    def monotonic(self) -> float:
        return self._begin + self._clock.now * self._rate

    def ours(self, monotonic: float) -> float:
        """When its clock shows this."""
        return (monotonic - self._begin) / self._rate

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self._clock.now + self.skew)
