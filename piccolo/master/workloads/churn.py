"""Notices plans that go round in circles, and slows them down.

A plan that was carried out leads to another one or to none. One that comes again and again is a
mistake of the planner, or two parties undo each other's work: it must not keep the cluster busy.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from piccolo.core.backoff import pause

FREE = 4  # so often in a row may the same be done: people do change their minds
_LONGEST = 60.0  # s
_FORGET = 3 * _LONGEST


@dataclass(slots=True)
class _Done:
    count: int
    at: float


class Churn:
    """`now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._done: dict[Hashable, _Done] = {}

    def wait(self, what: Hashable, now: float) -> float:
        """After how many seconds it may be done again; 0: now."""
        done = self._done.get(what)
        if done is None or done.count < FREE:
            return 0.0
        rest = pause(done.count - FREE + 1, 1.0, base=1.0, cap=_LONGEST)
        return max(0.0, done.at + rest - now)

    def done(self, what: Hashable, now: float) -> int:
        """It was done; returns how often."""
        self._done = {k: d for k, d in self._done.items() if now - d.at < _FORGET}
        known = self._done.pop(what, None)
        self._done[what] = _Done(known.count + 1 if known else 1, now)
        return self._done[what].count
