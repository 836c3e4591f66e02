"""What the machine uses now, read from /proc.

Exists because the agent cannot afford psutil. Source: proc(5) of Linux 3.14 and later; the disk is
the one that holds the agent's data, by statvfs(3).

A value that cannot be read is reported as nothing used: a broken file must not look like a
shortage, which would take the node out of service.

The figures are the machine's. That holds inside a container too, since the kernel has one
/proc/stat, meminfo and loadavg for all; the network counters, however, are those of the network
namespace the agent is in, so there it needs the host's. An `lxcfs` mounted over /proc makes all of
them the container's.
"""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path

from piccolo.core.model import Usage

_USER_HZ = os.sysconf("SC_CLK_TCK")
_SHORTEST = 0.2  # s; over less, the kernel's ticks of 10 ms say nothing
_MOST = 2**63  # no counter is larger; what is, is garbage


class UsageSampler:
    """Samples of one machine. Each takes some 0.1 ms, and waits only for a hanging disk."""

    __slots__ = ("_busy", "_cpu_percent", "_data_dir", "_proc", "_total")

    def __init__(self, data_dir: Path, proc: Path = Path("/proc")) -> None:
        self._data_dir = data_dir
        self._proc = proc
        self._busy = self._total = 0  # ticks, of all cores together, since boot
        self._cpu_percent = 0.0

    def sample(self) -> Usage:
        """What is used now. `cpu_percent` is over the time since the previous sample, or since
        boot for the first; within 0.2 s it is the previous value.
        """
        stat = _read(self._proc / "stat")
        used_mb, available_percent = memory(_read(self._proc / "meminfo"))
        received, sent = _network(_read(self._proc / "net/dev"))
        return Usage(
            cpu_percent=self._cpu(stat),
            memory_used_mb=used_mb,
            memory_available_percent=available_percent,
            disk_used_percent=_disk_used(self._data_dir),
            load_per_core=_load(_read(self._proc / "loadavg")) / max(1, cores(stat)),
            network_rx_bytes=received,
            network_tx_bytes=sent,
        )

    def _cpu(self, stat: bytes) -> float:
        first = stat.partition(b"\n")[0].split()
        # user nice system idle iowait irq softirq steal; guest time is within user and nice.
        ticks = [_number(word) for word in first[1:9]]
        if first[:1] != [b"cpu"] or len(ticks) < 4:
            return self._cpu_percent
        total = sum(ticks)
        busy = total - sum(ticks[3:5])
        if 0 <= total - self._total < _SHORTEST * _USER_HZ * max(1, cores(stat)):
            return self._cpu_percent
        if total > self._total:
            # iowait may run backwards, and then the busy time too.
            share = (busy - self._busy) / (total - self._total)
            self._cpu_percent = min(max(share * 100, 0.0), 100.0)
        self._busy, self._total = busy, total
        return self._cpu_percent


def cores(stat: bytes) -> int:
    """How many processors are online, of the machine and not of our affinity; 0: unknown."""
    return sum(line[:3] == b"cpu" and line[3:4].isdigit() for line in stat.splitlines())


def memory(meminfo: bytes) -> tuple[int, float]:
    """MiB in use, and the percentage available without swapping."""
    total, available = (meminfo_kb(meminfo, key) for key in (b"MemTotal", b"MemAvailable"))
    if not total or available is None:
        return 0, 100.0
    available = min(available, total)
    return (total - available) // 1024, available / total * 100


def meminfo_kb(meminfo: bytes, key: bytes) -> int | None:
    """One line's value in KiB; None: there is no such line."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(b":")
        if name == key and (words := value.split()):
            return _number(words[0])
    return None


def _load(loadavg: bytes) -> float:
    """Of the last minute."""
    try:
        load = float(loadavg.split()[0])
    except (IndexError, ValueError):
        return 0.0
    return load if isfinite(load) and load > 0 else 0.0


def _network(dev: bytes) -> tuple[int, int]:
    """Bytes received and sent by all interfaces but loopback, virtual ones included."""
    received = sent = 0
    for line in dev.splitlines():
        name, _, counters = line.rpartition(b":")
        words = counters.split()
        if name and name.strip() != b"lo" and len(words) >= 9:
            received += _number(words[0])
            sent += _number(words[8])
    return min(received, _MOST), min(sent, _MOST)


def _disk_used(directory: Path) -> float:
    """As df(1) counts: of what users may have, so that 100 means that writing fails."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0.0
    used = disk.f_blocks - disk.f_bfree
    usable = used + disk.f_bavail
    return used / usable * 100 if usable > 0 else 0.0


def _number(word: bytes) -> int:
    try:
        return min(max(int(word), 0), _MOST)
    except ValueError:
        return 0


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError:
        return b""
