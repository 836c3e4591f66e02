"""The ground a lab stands on: its directory, its id, its undo log and its reaper.

Guarantees that everything begun through it is gone after `close()`, or after the death of the
process that made it. How, stands in `tests.lab.reaper`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self

from tests.lab import reaper
from tests.lab.errors import LabError

CLOSE_SECONDS = 30.0
_LEADS_ASTRAY = {
    *(
        "PICCOLO_MASTER",
        "PICCOLO_CONTEXT",
        "PICCOLO_TOKEN",
        "MASTER_NODE_IP",
        "GRPC_PORT",
        "CONTAINER_HOST",
    ),
    *("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER"),
}


class Site:
    """One lab's ground. `id` is unique on this machine; `dir` is private and short, for sockets.

    Raises `LabError` when there is no place for it.
    """

    def __init__(self) -> None:
        started = reaper.start_time(os.getpid())
        self.id = secrets.token_hex(3)
        try:
            base = reaper.base_dir()
            with reaper.base_lock(base):
                reaper.sweep(base)
                self.dir = base / self.id
                self.dir.mkdir(mode=0o700)
                (self.dir / "owner").write_text(f"{os.getpid()} {started}")
        except OSError as error:
            raise LabError(f"no place for a lab: {error}") from error
        with (self.dir / "reaper.log").open("w") as log:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", reaper.__file__, self.dir, str(os.getpid()), str(started)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
            )
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def reaper_pid(self) -> int:
        return self._reaper.pid

    def undo(
        self, *argv: str, env: dict[str, str] | None = None, stage: int = reaper.GROUND
    ) -> None:
        """Write down how to unmake something. Call it before making it."""
        entry = reaper.Undo(list(argv), env or {}, stage)
        with (self.dir / "undo.jsonl").open("a") as log:
            log.write(json.dumps(asdict(entry)) + "\n")

    def environment(self) -> dict[str, str]:
        """Ours, without what would lead programs to another cluster, and with the lab's mark."""
        kept = {name: value for name, value in os.environ.items() if name not in _LEADS_ASTRAY}
        return {**kept, reaper.MARK: self.id}

    def adopt(self, child: subprocess.Popen[bytes]) -> None:
        """Remember a child of ours, so that `close()` leaves no zombie."""
        self._children.append(child)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 30.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool to its end. `timeout` in seconds. Raises `LabError` when it fails."""
        try:
            done = subprocess.run(
                argv,
                input=input,
                stdin=None if input is not None else subprocess.DEVNULL,
                env={**self.environment(), **(env or {})},
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise LabError(f"{argv[0]} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"no end within {timeout:g} s: {' '.join(argv)}") from error
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def close(self) -> None:
        """Remove everything. May be called again. Raises `LabError` when something is left."""
        if self._reaper.stdin and not self._reaper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.close()
        try:
            self._reaper.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()
        if self.dir.exists():  # the reaper was killed
            reaper.remove(self.dir)
        while self._children:
            self._children.pop().wait()
        if self.dir.exists():
            raise LabError(f"{self.dir} could not be removed: see what is mounted or open there")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
