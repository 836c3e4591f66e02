"""Gathers what is denied over and over, so that a flood cannot push all else out of the trail.

Of denials alike (same actor, host, action and reason) the first is passed on at once. Those that
follow within `WINDOW` become one, with their number, when the window is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from piccolo.core.security.audit import Entry

WINDOW = 10.0  # s
MAX_WINDOWS = 256  # of attackers who make each denial differ, the oldest is given up

_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Window:
    ends: float
    count: int = 0
    last: Entry | None = None

    def gathered(self) -> list[Entry]:
        return [] if self.last is None else [replace(self.last, count=self.count)]


class Repeats:
    """`now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._windows: dict[_Key, _Window] = {}  # the one that ends first is the first

    def add(self, entry: Entry, now: float) -> list[Entry]:
        """A denial. Returns what is to be written now; call `over` before."""
        key = (entry.actor, entry.source.rpartition(":")[0], entry.action, entry.reason)
        window = self._windows.get(key)
        if window is not None:
            window.count += 1
            window.last = entry
            return []
        given_up = []
        if len(self._windows) >= MAX_WINDOWS:
            given_up = self._windows.pop(next(iter(self._windows))).gathered()
        self._windows[key] = _Window(now + WINDOW)
        return [*given_up, entry]

    def over(self, now: float) -> list[Entry]:
        """What was gathered in windows that are over by now."""
        found: list[Entry] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > now:
                break
            del self._windows[key]
            found += window.gathered()
        return found

    def next(self) -> float | None:
        """When the next window is over; None: there is none."""
        return next((w.ends for w in self._windows.values()), None)

    def all(self) -> list[Entry]:
        """Everything, as nothing more will come."""
        return self.over(float("inf"))
