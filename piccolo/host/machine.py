"""Load, memory and file systems."""

from __future__ import annotations

import os
from pathlib import Path

from piccolo.core import procfs
from piccolo.core.readiness.facts import FileSystem, Machine
from piccolo.host.bounded import text

CONTAINERS = "/var/lib/containers"  # where root's Podman keeps images


def machine(root: Path) -> Machine:
    proc = root / "proc"
    loadavg, meminfo, stat = (text(proc / n).encode() for n in ("loadavg", "meminfo", "stat"))
    total, available = (procfs.meminfo_kb(meminfo, k) for k in (b"MemTotal", b"MemAvailable"))
    return Machine(
        load=procfs.load(loadavg) if loadavg else None,
        cores=procfs.cores(stat),
        memory_available_percent=available / total * 100
        if total and available is not None
        else None,
    )


def disks(root: Path, *directories: str) -> tuple[FileSystem, ...]:
    """Those that hold the directories, or will hold them once they are made."""
    mounts = text(root / "proc/mounts")
    return tuple(_disk(root, directory, mounts) for directory in directories)


def _disk(root: Path, directory: str, mounts: str) -> FileSystem:
    path = root / directory.lstrip("/")
    while not path.exists() and path != root:
        path = path.parent
    found = os.statvfs(path)
    inodes = (found.f_files - found.f_ffree) / found.f_files * 100 if found.f_files else None
    return FileSystem(
        path=directory,
        used_percent=procfs.used_percent(found.f_blocks, found.f_bfree, found.f_bavail),
        inodes_used_percent=inodes,
        read_only=procfs.read_only(mounts, directory),
    )
