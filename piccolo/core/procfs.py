"""Texts of the kernel, read into numbers: proc(5) of Linux 3.14 and later, statvfs(3).

Pure: the texts come in. What is garbage counts as nothing, never as an error. The lean agent
process uses this too: standard library only.
"""

from __future__ import annotations

from math import isfinite

MOST = 2**63  # no counter is larger; what is, is garbage


def number(word: bytes) -> int:
    try:
        return min(max(int(word), 0), MOST)
    except ValueError:
        return 0


def cores(stat: bytes) -> int:
    """How many processors are online, of the machine and not of our affinity; 0: unknown."""
    return sum(line[:3] == b"cpu" and line[3:4].isdigit() for line in stat.splitlines())


def meminfo_kb(meminfo: bytes, key: bytes) -> int | None:
    """One line's value in KiB; None: there is no such line."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(b":")
        if name == key and (words := value.split()):
            return number(words[0])
    return None


def load(loadavg: bytes) -> float:
    """Of the last minute."""
    try:
        found = float(loadavg.split()[0])
    except (IndexError, ValueError):
        return 0.0
    return found if isfinite(found) and found > 0 else 0.0


def used_percent(blocks: int, free: int, available: int) -> float:
    """As df(1) counts: of what users may have, so that 100 means that writing fails."""
    used = blocks - free
    usable = used + available
    return used / usable * 100 if usable > 0 else 0.0


def read_only(mounts: str, path: str) -> bool:
    """Whether `path` lies on a file system that is mounted read-only, by /proc/mounts."""
    longest, found = -1, False
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        point, options = words[1].rstrip("/"), words[3].split(",")
        # What was mounted later at the same place hides what was there.
        if (path == point or path.startswith(f"{point}/")) and len(point) >= longest:
            longest, found = len(point), "ro" in options
    return found
