"""Clocks that can be set, for one program each: by faketime(1)."""

from __future__ import annotations

from pathlib import Path

# Its edition for programs with threads: in the other one, threads that ask for the time at once
# get each other's half-read clock file. None: it is not installed.
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
RIGHT = "+0"


class Clock:
    """Of one program, which can be set while it runs: faketime(1)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        if not self._file.exists():
            self.set(RIGHT)

    def set(self, to: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{to}\n")
        fresh.rename(self._file)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # It fakes the deadline of pthread_cond_timedwait all the same (seen in 0.9.10): always
            # long past, so that Python's threads spin for the interpreter's lock instead of
            # waiting, and on a loaded machine a start takes 10 s. This tells it how long to wait:
            # sys.getswitchinterval().
            "FAKETIME_WAIT_MS": "5",
        }

    @staticmethod
    def traces(pid: int) -> list[str]:
        """The files that a program leaves when it is killed: shm_overview(7), sem_overview(7)."""
        return [f"/dev/shm/faketime_shm_{pid}", f"/dev/shm/sem.faketime_sem_{pid}"]
