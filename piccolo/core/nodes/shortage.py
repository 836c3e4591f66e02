"""Resource shortage (HLD 6.2, N10): a node that runs out of memory or disk is not Ready.

A shortage must last before it counts, and be over for as long before it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from piccolo.core.model import Usage
from piccolo.core.nodes.states import Fault


@dataclass(frozen=True, slots=True)
class Thresholds:
    memory_available_percent: float = 5.0  # less is a shortage
    disk_used_percent: float = 95.0  # more is a shortage
    duration: float = 30.0  # seconds, both ways


class ShortageDetector:
    """Of one node. Feed it every usage sample; it answers with what changed."""

    __slots__ = ("_active", "_since", "thresholds")

    def __init__(self, thresholds: Thresholds, active: Iterable[Fault] = ()) -> None:
        """`active`: the shortages that held when this was last known."""
        self.thresholds = thresholds
        self._active = set(active)
        self._since: dict[Fault, float] = {}  # when the opposite of the present verdict began

    def sample(self, usage: Usage, now: float) -> dict[Fault, str | None]:
        """Faults that began (with their message) or ended (None) by this sample."""
        t = self.thresholds
        short = {
            Fault.MEMORY_SHORTAGE: usage.memory_available_percent < t.memory_available_percent,
            Fault.DISK_SHORTAGE: usage.disk_used_percent > t.disk_used_percent,
        }
        changed: dict[Fault, str | None] = {}
        for fault, is_short in short.items():
            if is_short == (fault in self._active):
                self._since.pop(fault, None)
                continue
            if now - self._since.setdefault(fault, now) < t.duration:
                continue
            del self._since[fault]
            if is_short:
                self._active.add(fault)
                changed[fault] = _explain(fault, usage, t)
            else:
                self._active.discard(fault)
                changed[fault] = None
        return changed


def _explain(fault: Fault, usage: Usage, t: Thresholds) -> str:
    if fault is Fault.MEMORY_SHORTAGE:
        return (
            f"{usage.memory_available_percent:.1f} % of memory available, below"
            f" {t.memory_available_percent:g} % for {t.duration:g} s"
        )
    return (
        f"{usage.disk_used_percent:.1f} % of the disk used, above {t.disk_used_percent:g} %"
        f" for {t.duration:g} s"
    )
