"""What a check found, and what all findings together mean.

Ids, levels and verdicts are stable: scripts rely on them, and `packaging/node_ready_check.sh`, for
machines without Python, has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, but something is not as it should be
    ERROR = "error"  # it does not work


class Verdict(StrEnum):
    """The words of the result file."""

    CHECKING = "checking"  # nothing is known yet
    READY = "ready"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    id: str
    level: Level
    seen: str  # what is the case
    fix: str = ""  # what to do about it; empty when all is well
    checked: bool = True  # False: it could not be looked at


def ok(id: str, seen: str) -> Finding:
    return Finding(id, Level.OK, seen)


def unknown(id: str, why: str) -> Finding:
    """Nothing that could not be looked at makes a machine unready."""
    return Finding(id, Level.OK, f"not checked: {why}", checked=False)


def warning(id: str, seen: str, fix: str) -> Finding:
    return Finding(id, Level.WARNING, seen, fix)


def error(id: str, seen: str, fix: str) -> Finding:
    return Finding(id, Level.ERROR, seen, fix)


def verdict(findings: Iterable[Finding]) -> Verdict:
    levels = {finding.level for finding in findings}
    if Level.ERROR in levels:
        return Verdict.FAILED
    return Verdict.WARNING if Level.WARNING in levels else Verdict.READY
