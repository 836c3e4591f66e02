"""What is to be looked at when: of thousands of deadlines, those that are due.

Each key has one moment. Setting it costs the logarithm of their number, and finding those that are
due nothing for all the others.
"""

from __future__ import annotations

import heapq


class Deadlines:
    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []  # also moments that hold no longer

    def set(self, key: str, at: float) -> None:
        """Look at `key` at that moment, and not when it was to be looked at before."""
        self._at[key] = at
        heapq.heappush(self._queue, (at, key))
        if len(self._queue) > 2 * len(self._at) + 64:  # mostly moments that hold no longer
            self._queue = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._queue)

    def drop(self, key: str) -> None:
        self._at.pop(key, None)

    def due(self, now: float) -> list[str]:
        """Those whose moment has come, earliest first. They have none afterwards."""
        found = []
        while self._queue and self._queue[0][0] <= now:
            at, key = heapq.heappop(self._queue)
            if self._at.get(key) == at:
                del self._at[key]
                found.append(key)
        return found

    def next(self) -> float | None:
        """The earliest moment of all."""
        while self._queue and self._at.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None
