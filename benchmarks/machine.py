"""What the figures were measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ground import ROOT
from piccolo import __version__

BUSY_OVER = 2.0  # s
PEERS = ("serf", "docker.io", "containerd")


def describe() -> dict[str, str]:
    """Name → value. Takes two seconds, in which it looks at how busy the machine is by itself."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "PICCOLO": f"{__version__}{_commit()}",
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GB",
        "system": f"{_distribution()}, kernel {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Podman": _first_line("podman", "--version") or "none",
        "before the first measurement": f"load average {load}; other programs used"
        f" {busy_percent(BUSY_OVER):.0f} % of all cores",
    }


def peers() -> str:
    """Which versions of the peers' packages are installed."""
    command = ("dpkg-query", "-W", "-f=${Package} ${Version}, ", *PEERS)
    return _first_line(*command).rstrip(", ") or "versions unknown"


def busy_percent(seconds: float) -> float:
    """How much of all cores is in use, over that time: proc(5), /proc/stat."""
    before = _ticks()
    time.sleep(seconds)
    total, free = (new - old for new, old in zip(_ticks(), before, strict=True))
    return (total - free) / total * 100 if total else 0.0


def _ticks() -> tuple[int, int]:
    words = [int(w) for w in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(words), words[3] + words[4]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


def _commit() -> str:
    found = _first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    if not found:
        return ""
    changed = _first_line("git", "-C", str(ROOT), "status", "--porcelain", "-uno")
    return f", commit {found}{' with changes' if changed else ''}"


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""
