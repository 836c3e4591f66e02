"""Gathers events that come together into one set of ids.

A `podman run` is three events, a `podman system prune` hundreds; each set costs a listing. Pure:
`now` is a monotonic time in seconds that the caller gives, `due()` says when to come back.
"""

from __future__ import annotations

from collections import deque

QUIET = 0.010  # s without another event: the burst is over
LONGEST = 0.040  # s that the first event of a burst waits
SETTLE = 0.250  # s that a late event waits, see `later`


class Burst:
    """Ids and when they are due."""

    __slots__ = ("_first", "_ids", "_last", "_later")

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._first = self._last = 0.0
        self._later: deque[tuple[float, str]] = deque()

    def add(self, id: str, now: float) -> None:
        """It changed."""
        if not self._ids:
            self._first = now
        self._last = now
        self._ids.add(id)

    def later(self, id: str, now: float) -> None:
        """It is about to change: tell it once the change is sure to be done."""
        self._later.append((now + SETTLE, id))

    def due(self) -> float | None:
        """When `take` has something to give; None: never, without another event."""
        prompt = min(self._first + LONGEST, self._last + QUIET) if self._ids else None
        later = self._later[0][0] if self._later else None
        return prompt if later is None else later if prompt is None else min(prompt, later)

    def take(self, now: float) -> frozenset[str]:
        """All that has come so far, and what is due of that which had to wait."""
        taken, self._ids = self._ids, set()
        while self._later and self._later[0][0] <= now:
            taken.add(self._later.popleft()[1])
        return frozenset(taken)
