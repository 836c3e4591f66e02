"""Rounds of a simulated master, as `master.rounds`: one after the other, with a rest between them
that only what is urgent cuts short."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tests.simulation.pure.clock import Clock, Owner

Done = Callable[[float | None], None]  # with the seconds until the next round is due in any case


class Rounds:
    def __init__(
        self, clock: Clock, owner: Owner, once: Callable[[Done], None], rest: float
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._once = once
        self._rest = rest
        self._rested_at = 0.0
        self._busy = False
        self._next = inf
        self._number = 0

    def poke(self, *, urgent: bool = False) -> None:
        """There is something to do."""
        self._due(self._clock.now if urgent else max(self._clock.now, self._rested_at))

    def _due(self, at: float) -> None:
        if at < self._next:
            self._next = at
            if not self._busy:
                self._schedule()

    def _schedule(self) -> None:
        self._number += 1
        if self._next < inf:
            self._clock.at(self._next, self._owner, self._round, self._number)

    def _round(self, number: int) -> None:
        if number == self._number and not self._busy:
            self._busy, self._next = True, inf
            self._once(self._over)

    def _over(self, wait: float | None) -> None:
        now = self._clock.now
        self._busy = False
        self._rested_at = now + self._rest
        if wait is not None:
            self._next = min(self._next, now + max(wait, self._rest))
        self._schedule()
