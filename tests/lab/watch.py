"""What a program prints as JSON, line by line, each with the time at which it was read.

For `piccolo get … -w -o json`: one `{"type": …, "object": …}` per change (HLD 6.1 objects).
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.lab.process import Proc

SHOWN_CHANGES = 12


@dataclass(frozen=True, slots=True)
class Change:
    """A line that was read. `at` is `time.monotonic()` in seconds."""

    at: float
    type: str  # ADDED | MODIFIED | DELETED | SYNCED | RESYNC
    object: dict[str, Any]  # empty for SYNCED and RESYNC

    @property
    def name(self) -> str:
        return str(self.object.get("name", ""))

    @property
    def status(self) -> str:
        return str(self.object.get("status", ""))


class Watch:
    """Reads the lines of a program whose output is a pipe, in a thread of its own."""

    def __init__(self, proc: Proc) -> None:
        self.changes: list[Change] = []
        self._news = threading.Condition()
        self.proc = proc
        self._reader = threading.Thread(target=self._read, name=self.proc.name, daemon=True)
        self._reader.start()

    def wait_for(
        self, wanted: Callable[[Change], bool], timeout: float, since: float = -math.inf
    ) -> Change:
        """The first change wanted that was read at `since` or later, waited for if need be.

        Raises `LabError` after `timeout` seconds, or when the program ends.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        with self._news:
            while True:
                for change in self.changes[seen:]:
                    if change.at >= since and wanted(change):
                        return change
                seen = len(self.changes)
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise self.proc.error(self._story(timeout))
                self._news.wait(min(left, 1.0))

    def wait_status(
        self, name: str, status: str, timeout: float, since: float = -math.inf
    ) -> Change:
        """Wait until the node has that status; see `wait_for`."""
        return self.wait_for(lambda c: (c.name, c.status) == (name, status), timeout, since)

    def wait_deleted(self, name: str, timeout: float) -> Change:
        """Wait until it is gone; see `wait_for`."""
        return self.wait_for(lambda c: (c.type, c.name) == ("DELETED", name), timeout)

    def wait_synced(self, timeout: float = 10.0) -> Change:
        """Wait until the list as it was at the beginning is complete."""
        return self.wait_for(lambda c: c.type == "SYNCED", timeout)

    def since(self, moment: float) -> list[Change]:
        """What was read from that moment on."""
        with self._news:
            return [change for change in self.changes if change.at >= moment]

    def close(self) -> None:
        self.proc.kill()
        self.proc.wait()
        self._reader.join()

    def _read(self) -> None:
        stdout = self.proc.popen.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                at = time.monotonic()
                with contextlib.suppress(ValueError):  # a line torn by a kill
                    parsed = json.loads(line)
                    with self._news:
                        self.changes.append(Change(at, parsed["type"], parsed.get("object") or {}))
                        self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _story(self, timeout: float) -> str:
        now = time.monotonic()
        last = [
            f"{c.at - now:+.1f} s {c.type} {c.name} {c.status}"
            for c in self.changes[-SHOWN_CHANGES:]
        ]
        what = "printed nothing" if not last else "printed last: " + "; ".join(last)
        return f"did not print what was waited for within {timeout:g} s, but {what}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
