"""How a container ended, whether it stays so, and the pause before it is started again.

The first restart comes at once: most ends are rare, and a pause would only prolong the outage.
Further ones in a row come after pauses that double from `Restart.backoff_initial` to
`backoff_max`, half of each left to chance. A container that ran for a minute, and for longer than
the pause before, has recovered: its next end is the first of a new row. So even one that dies
again and again after a good while is restarted at once, at most every minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from signal import Signals

from piccolo.core.backoff import pause
from piccolo.core.workloads.workload import Restart, RestartPolicy

LOOP = 3  # restarts in a row, from which on it is a crash loop
STEADY = 60.0  # s

_TAIL_BYTES = 2048


@dataclass(frozen=True, slots=True)
class End:
    """`reason`: one word where something went wrong; empty with exit code 0."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""

    @property
    def well(self) -> bool:
        return not self.reason


OOM_KILLED, CRASHED = "OOMKilled", "Crashed"
UNHEALTHY = "Unhealthy"  # a probe said so, and we stopped it
INTERRUPTED = "Interrupted"  # by a power cut or isolation: how it would have ended is unknown
ISOLATED = "Isolated"  # and we stopped it
REMOVED = "Removed"  # by somebody else, while it ran


@dataclass(frozen=True, slots=True)
class Record:
    """What must outlive a power cut: which containers must not be started a second time.

    Written only for workloads that are to end (policy Never or OnFailure), to spare the flash.
    """

    hash: str = ""  # of the instance that it speaks of
    started: tuple[str, ...] = ()  # with policy Never, before the start
    ended: Mapping[str, End] = field(default_factory=dict)  # and stay so


def end_of(exit_code: int, oom_killed: bool, error: str) -> End:
    """An end that the container brought about, or somebody outside."""
    if oom_killed:
        return End(exit_code, OOM_KILLED, f"ran out of memory (exit code {exit_code})")
    text = f"ended with exit code {exit_code}{_signal(exit_code)}"
    if error:
        text += f": {error[:300]}"
    return End(exit_code, CRASHED if exit_code else "", text)


def _signal(exit_code: int) -> str:
    try:
        return f" ({Signals(exit_code - 128).name})" if exit_code > 128 else ""
    except ValueError:
        return ""


def stays(end: End, policy: RestartPolicy) -> bool:
    """Whether it is left ended."""
    if policy is RestartPolicy.ON_FAILURE:
        return end.well
    return policy is RestartPolicy.NEVER


def with_lines(message: str, lines: Sequence[str]) -> str:
    """The message, and below it the last lines of the log, 2 kB of them at most."""
    kept: list[str] = []
    left = _TAIL_BYTES
    for line in reversed(lines):
        left -= len(line.encode("utf-8", "replace")) + 1
        if left < 0:
            break
        kept.insert(0, line)
    return "\n".join([f"{message}; last lines:", *kept]) if kept else message


@dataclass(slots=True)
class Restarts:
    """The restarts of one container in a row."""

    row: int = 0
    pause: float = 0.0  # the last one

    def ended(self, ran: float, settings: Restart, chance: float) -> float:
        """The pause before the next start, after a run of `ran` seconds."""
        if ran >= max(STEADY, self.pause):
            self.row = 0
        self.row += 1
        self.pause = 0.0
        if self.row > 1:
            self.pause = pause(
                self.row - 1, chance, base=settings.backoff_initial, cap=settings.backoff_max
            )
        return self.pause
