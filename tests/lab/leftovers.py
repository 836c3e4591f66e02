"""What is left of a lab, looked up without its own records: for the tests of its removal."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.lab import reaper
from tests.lab.cgroup import ROOT
from tests.lab.disk import backing_files
from tests.lab.net import NAMESPACES


def leftovers(lab_id: str) -> list[str]:
    """What there is of that lab: from its directory to its processes."""
    directory = reaper.base_dir() / lab_id
    found = [str(directory)] if directory.exists() else []
    if NAMESPACES.exists():
        found += [f"namespace {name}" for name in os.listdir(NAMESPACES) if lab_id in name]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line.split()[4]}" for line in mounts if str(directory) in line]
    found += [f"loop device of {file}" for file in backing_files() if str(directory) in file]
    for pattern in (f"pic-{lab_id}-*", f"*/pic-{lab_id}-*"):
        found += [str(group) for group in ROOT.glob(pattern)]
    for state in Path("/run/runc").glob("*/state.json"):
        with contextlib.suppress(OSError):
            if str(directory) in state.read_text():
                found.append(str(state))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command, environment = ((process / n).read_text() for n in ("cmdline", "environ"))
            if str(directory) in command or f"={lab_id}\0" in environment:
                found.append(f"process {process.name} {command.replace(chr(0), ' ')}")
    return found


def wait_gone(lab_id: str, timeout: float = 5.0) -> None:
    """Wait until nothing is left. Raises `AssertionError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while left := leftovers(lab_id):
        assert time.monotonic() < deadline, f"left after {timeout:g} s: {left}"
        time.sleep(0.05)
