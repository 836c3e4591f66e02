"""Shares a rate between all who send: bulk never takes the line from what has to be in time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pacer:
    """First come, first served: who asks for one piece at a time gets an equal share."""

    rate: float  # bytes/s of all together
    _free: float = 0.0  # when what was granted will be sent

    def wait(self, size: int, now: float) -> float:
        """In how many seconds that many bytes may be sent."""
        start = max(now, self._free)
        self._free = start + size / self.rate
        return start - now
