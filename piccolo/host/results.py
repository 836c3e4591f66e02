"""The result file and the log of the readiness check, as other programs expect them (LLD 3.2.3).

A disk that is full or read-only, or a user who may not write there, spoils no check: then it is
said that nothing was written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from piccolo.core.readiness.finding import Finding, Verdict

RESULT = "/var/run/piccolo/node_status"
LOG = "/var/log/piccolo/system_check.log"
MOST = 128 << 10  # bytes of a log; then it is put aside, and the one before is forgotten


@dataclass(frozen=True, slots=True)
class Results:
    """None: it is not wanted."""

    result: Path | None
    log: Path | None

    def begin(self) -> str:
        return _attempt(self.result, lambda path: _replace(path, Verdict.CHECKING))

    def end(self, verdict: Verdict, findings: Iterable[Finding]) -> list[str]:
        """Why something was not written; empty: it was."""
        lines = [
            f"{f.level} {f.id}: {f.seen}" + (f" -> {f.fix}" if f.fix else "") for f in findings
        ]
        lines.append(f"status={verdict}")
        failures = (
            _attempt(self.result, lambda path: _replace(path, verdict)),
            _attempt(self.log, lambda path: _append(path, lines)),
        )
        return [failure for failure in failures if failure]


def _attempt(path: Path | None, write: Callable[[Path], None]) -> str:
    if path is None:
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        return f"{path} was not written: {error.strerror}"
    return ""


def _replace(path: Path, verdict: Verdict) -> None:
    """Whole at any instant: others read it while we write."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(f"status={verdict}\n")
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def _append(path: Path, lines: Iterable[str]) -> None:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size >= MOST:
            path.replace(path.with_name(f"{path.name}.1"))
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.writelines(f"[{now}] {line}\n" for line in lines)
