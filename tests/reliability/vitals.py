"""What running programs take, looked at again and again: memory, file descriptors, threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.process import Proc
from tests.reliability.trend import Point

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(slots=True)
class Life:
    """One process from its first to its last sample."""

    name: str
    memory: list[Point] = field(default_factory=list)  # KiB
    descriptors: list[Point] = field(default_factory=list)
    threads: list[Point] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.memory[-1][0] - self.memory[0][0] if self.memory else 0.0


class Vitals:
    """Samples in a thread of its own, from the beginning of the `with` block to its end."""

    def __init__(self, programs: Callable[[], Mapping[str, Proc]], every: float) -> None:
        """`programs`: those that there are now, by name; `every`: seconds between two samples."""
        self._programs = programs
        self._every = every
        self._lives: dict[tuple[str, int], Life] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def longest(self, name: str) -> Life:
        """Of all processes of that name; an empty life if there was none."""
        lives = [life for life in self._lives.values() if life.name == name]
        return max(lives, key=lambda life: life.seconds, default=Life(name))

    def _run(self) -> None:
        while not self._end.is_set():
            for name, proc in self._programs().items():
                if proc.alive:
                    with contextlib.suppress(OSError):  # it has just ended
                        self._sample(name, proc.pid)
            self._end.wait(self._every)

    def _sample(self, name: str, pid: int) -> None:
        at, folder = time.monotonic(), Path(f"/proc/{pid}")
        memory = int((folder / "statm").read_text().split()[1]) * _PAGE_KB
        descriptors = len(os.listdir(folder / "fd"))
        threads = len(os.listdir(folder / "task"))
        life = self._lives.setdefault((name, pid), Life(name))
        life.memory.append((at, memory))
        life.descriptors.append((at, descriptors))
        life.threads.append((at, threads))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
