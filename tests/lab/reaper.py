"""Removes a lab, whoever ends it and however.

A lab lives in one directory (`<temp>/piccolo-lab-<uid>/<id>`). Everything it starts carries the
environment variable `PICCOLO_LAB=<id>`, which children inherit; everything else it makes is
written, before it is made, into `undo.jsonl` as the command that unmakes it. So a lab can be
removed by a process that knows nothing about networks or Podman, and there is one removal only:

* `close()` closes a pipe, the reaper sees its end and removes the lab;
* the owner dies (`kill -9` too): the reaper sees it by its pidfd and removes the lab;
* the reaper was killed as well: the next lab on this machine removes what is left (`sweep`).

Only processes that carry the lab's mark are killed, and they are held by pidfd from the look at
the mark to the signal, so that a reused pid cannot be hit. Containers carry a mark of their own:
they are removed by Podman first, and killed only if it failed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MARK = "PICCOLO_LAB"
CONTAINER_MARK = "PICCOLO_LAB_CONTAINER"
CONTAINERS, GROUND = range(2)  # stages of removal: the ground goes when nothing stands on it
UNDO_SECONDS = 10.0  # for all undo commands of a stage together
KILL_SECONDS = 5.0
CONTAINER_GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Undo:
    """A command that unmakes something."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    stage: int = GROUND


def base_dir() -> Path:
    """The directory of all labs of this user; refused when someone else could write there."""
    base = Path(tempfile.gettempdir()) / f"piccolo-lab-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or base.is_symlink():
        raise PermissionError(f"{base} must be yours and writable by you only: remove it")
    return base


@contextlib.contextmanager
def base_lock(base: Path) -> Iterator[None]:
    """Labs are begun and swept one at a time."""
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when there is no such process.

    Field 22 of proc(5) stat: together with the pid it names a process for good.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def remove(lab: Path) -> None:
    """Remove all of a lab. May be called again, or by two at once."""
    _end_marked(MARK, lab.name, grace=0)
    _undo(lab, CONTAINERS)
    _end_marked(CONTAINER_MARK, lab.name, grace=CONTAINER_GRACE_SECONDS)  # conmon still tidies up
    _undo(lab, GROUND)
    _unmount_below(lab)
    shutil.rmtree(lab, ignore_errors=True)


def sweep(base: Path) -> list[str]:
    """Remove the labs whose owner is gone, under `base_lock`; return their ids."""
    gone = []
    for lab in filter(Path.is_dir, base.iterdir()):
        try:
            pid, started = (int(word) for word in (lab / "owner").read_text().split())
        except (OSError, ValueError):  # its owner died as it began, or its removal was cut short
            pid = started = -1
        if start_time(pid) != started:
            remove(lab)
            gone.append(lab.name)
    return gone


def _end_marked(variable: str, lab_id: str, grace: float) -> None:
    """Kill the processes with the mark, those that do not end by themselves within `grace` s."""
    mark = f"{variable}={lab_id}".encode()
    kill_at = time.monotonic() + grace
    while (found := _marked(mark)) and time.monotonic() < kill_at + KILL_SECONDS:
        killing = time.monotonic() >= kill_at
        if killing:
            for pidfd in found:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in found:
            _wait_readable([pidfd], kill_at + (KILL_SECONDS if killing else 0))
            os.close(pidfd)


def _marked(mark: bytes) -> list[int]:
    """Pidfds of the living processes with the mark, except ourselves."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(int(entry))
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                environment = b""
            if mark in environment.split(b"\0"):
                found.append(pidfd)
            else:
                os.close(pidfd)
    return found


def _wait_readable(files: list[int], until: float = math.inf) -> None:
    """Wait for one of them; a pidfd is readable once its process has ended."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    poll.poll(None if until == math.inf else max(0.0, (until - time.monotonic()) * 1000))


def _undo(lab: Path, stage: int) -> None:
    """Run the undo commands of a stage, all at once. One that fails is left to what follows."""
    try:
        lines = (lab / "undo.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return
    entries = [Undo(**json.loads(line)) for line in lines if line.endswith("\n")]  # none torn
    deadline = time.monotonic() + UNDO_SECONDS
    running = [
        subprocess.Popen(
            entry.argv,
            env={**os.environ, **entry.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for entry in entries
        if entry.stage == stage
    ]
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unmount_below(lab: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{lab}/"):
            subprocess.run(["umount", "--lazy", mount], check=False)


def main(lab: Path, pid: int, started: int) -> None:
    """Wait for the end of the owner, or of its pipe on our standard input; then remove the lab."""
    with contextlib.suppress(ProcessLookupError):
        owner = os.pidfd_open(pid)
        if start_time(pid) == started:
            _wait_readable([owner, sys.stdin.fileno()])
    remove(lab)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.exit(Path(sys.argv[1]).exists())
