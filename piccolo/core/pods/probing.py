"""Is a container well? The probes of one run of it, counted (documents: `containers.Probe`).

Pure: times are monotonic seconds and come in. The caller asks `due(now)`, says `asked`, makes the
check, and says what came of it by `answered`; a check that nobody could make says nothing.

* Until the startup probe is well, the others wait. Startup and liveness that fail too often end in
  `failed`: the container is to be restarted. Readiness decides `ready`, and nothing else.
* The first check comes `delay` after the start. Until a container was well for the first time, it
  is asked again after 1/4 s, 1/2 s, 1 s … besides, so that nobody waits a whole interval for one
  that needed a moment; those answers count only when they are good.
* The second interval is shortened by chance, so that containers started together are not all
  asked in the same instant ever after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from piccolo.core.workloads.containers import Probe, Probes

_EAGER = 0.25  # s
_SHORTEST = 0.1  # s, of an interval: a probe must not keep a core busy
_SPREAD = 1.0  # s, over which containers found running are asked for the first time


class ProbeKind(StrEnum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(slots=True)
class _Series:
    """The answers to one probe."""

    probe: Probe
    well: bool
    due: float
    counts_from: float  # failures of checks made before are not counted
    chance: float | None  # of the interval that is shortened; None: it was
    eager: float  # the next pause until it was well once; inf: never mind
    asked_at: float | None = None  # a check is on its way
    successes: int = 0  # in a row
    failures: int = 0
    message: str = ""  # of the first failure in the row

    def answered(self, well: bool | None, message: str, now: float) -> None:
        asked_at = self.asked_at if self.asked_at is not None else now
        self.asked_at = None
        interval = max(self.probe.interval, _SHORTEST)
        counts = asked_at >= self.counts_from
        if counts:
            if self.chance is not None:
                interval *= 0.5 + 0.5 * self.chance
                self.chance = None
            self.counts_from = asked_at + interval
        if well:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= self.probe.successes:
                self.well, self.eager, self.message = True, inf, ""
        elif well is False:
            self.successes = 0
            self.message = self.message or message
            self.failures += counts
            if self.failures >= self.probe.failures:
                self.well = False
        self.due = max(now, min(self.counts_from, now + self.eager))
        self.eager *= 2


class Probing:
    """One run of a container, from `now` on; `found`: it was running already."""

    __slots__ = ("_series",)

    def __init__(self, probes: Probes, now: float, chance: float, *, found: bool = False) -> None:
        wanted: Mapping[ProbeKind, Probe | None] = {
            ProbeKind.STARTUP: probes.startup,
            ProbeKind.LIVENESS: probes.liveness,
            ProbeKind.READINESS: probes.readiness,
        }
        self._series: dict[ProbeKind, _Series] = {}
        for kind, probe in wanted.items():
            if probe is None:
                continue
            lives = kind is ProbeKind.LIVENESS
            due = now + (chance * _SPREAD if found else probe.delay)
            self._series[kind] = _Series(probe, lives, due, due, chance, inf if lives else _EAGER)

    @property
    def needs_address(self) -> bool:
        """Whether a check goes to the container's own address."""
        checks = [s.probe.http or s.probe.tcp for s in self._series.values()]
        return any(check is not None and not check.host for check in checks)

    @property
    def started(self) -> bool:
        """Whether the startup probe was well, where there is one."""
        return ProbeKind.STARTUP not in self._series or self._series[ProbeKind.STARTUP].well

    @property
    def ready(self) -> bool:
        readiness = self._series.get(ProbeKind.READINESS)
        return self.started and not self.failed and (readiness is None or readiness.well)

    @property
    def failed(self) -> str:
        """Why the container is to be restarted; empty: it is not."""
        for kind in (ProbeKind.STARTUP, ProbeKind.LIVENESS):
            series = self._series.get(kind)
            if series is not None and not series.well and series.failures >= series.probe.failures:
                return f"its {kind} probe failed {series.failures} times in a row: {series.message}"
        return ""

    @property
    def complaint(self) -> str:
        """Why it is not ready, as far as probes say so; the same text while they fail."""
        kind = ProbeKind.READINESS if self.started else ProbeKind.STARTUP
        series = self._series.get(kind)
        if self.failed or series is None or series.well or not series.message:
            return self.failed
        return f"its {kind} probe fails: {series.message}"

    def due(self, now: float) -> list[tuple[ProbeKind, Probe]]:
        """The checks to be made now."""
        return [(k, s.probe) for k, s in self._waiting() if s.due <= now]

    @property
    def next_at(self) -> float:
        """When a check is due, if nothing is answered until then."""
        return min((series.due for _, series in self._waiting()), default=inf)

    def _waiting(self) -> list[tuple[ProbeKind, _Series]]:
        if self.failed:
            return []
        eligible = (
            [ProbeKind.LIVENESS, ProbeKind.READINESS] if self.started else [ProbeKind.STARTUP]
        )
        found = [(kind, self._series[kind]) for kind in eligible if kind in self._series]
        return [(kind, series) for kind, series in found if series.asked_at is None]

    def asked(self, kind: ProbeKind, now: float) -> None:
        self._series[kind].asked_at = now

    def answered(self, kind: ProbeKind, well: bool | None, message: str, now: float) -> None:
        """`well` None: the check could not be made, which is not the container's fault."""
        self._series[kind].answered(well, message, now)
