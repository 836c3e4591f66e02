"""Programs on the hosts of a lab: started, frozen, killed and measured like real ones.

Each runs in a session of its own with its output in a log file, and dies with the lab.
`kill` hits the program alone, as `kill -9` in a terminal does; `freeze` and `thaw` hit its
children too, as a stalled machine would.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.lab.cgroup import Cgroup
from tests.lab.errors import LabError
from tests.lab.net import Host
from tests.lab.site import Site

TAIL_LINES = 15
FREEZE_SECONDS = 5.0
_ENDED = (FileNotFoundError, ProcessLookupError)  # what /proc says of a process that is gone
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Limit:
    """What a program may use at most: processors (0.5 is half of one) and memory in MiB."""

    cpus: float | None = None
    memory_mb: int | None = None


class Proc:
    """A running program. Its log is `<host dir>/<name>.log`, continued by the next of that name."""

    def __init__(
        self,
        site: Site,
        host: Host,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        limit: Limit | None = None,
        stdout: IO[bytes] | int | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.log = host.dir / f"{name}.log"
        self.started_at = time.monotonic()
        prefix = host.prefix()
        if limit is not None:
            group = Cgroup(site, f"{host.name}-{name}", limit.cpus, limit.memory_mb)
            prefix = [*group.prefix(), *prefix]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            try:
                self.popen = subprocess.Popen(
                    [*prefix, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log if stdout is None else stdout,
                    stderr=log,
                    env={**site.environment(), **(env or {})},
                    cwd=host.dir,  # conmon leaves a file there when a container has no memory
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise LabError(f"{error.filename} is not installed") from error
        site.adopt(self.popen)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self.popen.poll()

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send the program a signal; nothing happens when it has ended."""
        self.popen.send_signal(sig)

    def terminate(self, timeout: float = 10.0) -> int:
        """Ask it to end (SIGTERM) and wait; return its exit code."""
        self.kill(signal.SIGTERM)
        return self.wait(timeout)

    def freeze(self) -> None:
        """Stop it; returns when it stands still, to its last thread."""
        self._signal_all(signal.SIGSTOP)
        deadline = time.monotonic() + FREEZE_SECONDS
        while any(state not in "TZX" for state in self._states()):
            if time.monotonic() > deadline:
                raise self.error("does not stand still")
            time.sleep(0.002)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end, in seconds; return the exit code. Raises `LabError` if it runs on."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise self.error(f"still runs after {timeout:g} s") from error

    def output(self) -> str:
        """What this run has written to its log so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_for_output(self, text: str, timeout: float = 10.0) -> None:
        """Wait until the log holds `text`. Raises `LabError` when it ends, or takes too long."""
        deadline = time.monotonic() + timeout
        while text not in self.output():
            if not self.alive and text not in self.output():
                raise self.error(f"ended ({self.exit_code}) before it wrote {text!r}")
            if time.monotonic() > deadline:
                raise self.error(f"did not write {text!r} within {timeout:g} s")
            time.sleep(0.01)

    def rss_kb(self) -> int:
        """Resident memory in KiB, with all its children; pages they share count for each."""
        total = 0
        for pid in self._family():
            with contextlib.suppress(*_ENDED):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
        return total

    def cpu_seconds(self) -> float:
        """Processor time used so far, with its children, the ended ones that were awaited too."""
        ticks = 0
        for pid in self._family():  # utime, stime, and of awaited children cutime, cstime: proc(5)
            ticks += sum(int(word) for word in _stat(pid)[11:15])
        return ticks / _TICKS

    def error(self, what: str) -> LabError:
        """An error about this program, with the end of its log."""
        tail = "\n".join(self.output().splitlines()[-TAIL_LINES:])
        return LabError(f"{self.name} on {self.host.name} {what}; its log ends:\n{tail}")

    def _signal_all(self, sig: int) -> None:
        if self.alive:
            os.killpg(self.pid, sig)

    def _states(self) -> Iterator[str]:
        """Of all threads of its process group: field 3 of proc(5) stat."""
        for pid in self._family():
            with contextlib.suppress(*_ENDED):
                if os.getpgid(pid) == self.pid:
                    for task in os.listdir(f"/proc/{pid}/task"):
                        yield from _stat(int(task))[:1]

    def _family(self) -> Iterator[int]:
        """The program and all below it; none when it has ended."""
        if not self.alive:
            return
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := _stat(int(entry))):
                children.setdefault(int(stat[1]), []).append(int(entry))
        found = [self.pid]
        for pid in found:
            found += children.get(pid, [])
        yield from (pid for pid in found if _stat(pid))


def _stat(pid: int) -> list[str]:
    """The fields of proc(5) stat from the third, the state, on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except _ENDED:
        return []
