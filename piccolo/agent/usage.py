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
from pathlib import Path

from piccolo.core.model import Usage
from piccolo.core.procfs import MOST, cores, load, meminfo_kb, number, used_percent

_USER_HZ = os.sysconf("SC_CLK_TCK")
_SHORTEST = 0.2  # s; over less, the kernel's ticks of 10 ms say nothing


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
            load_per_core=load(_read(self._proc / "loadavg")) / max(1, cores(stat)),
            network_rx_bytes=received,
            network_tx_bytes=sent,
        )

    def _cpu(self, stat: bytes) -> float:
        first = stat.partition(b"\n")[0].split()
        # user nice system idle iowait irq softirq steal; guest time is within user and nice.
        ticks = [number(word) for word in first[1:9]]
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


def memory(meminfo: bytes) -> tuple[int, float]:
    """MiB in use, and the percentage available without swapping."""
    total, available = (meminfo_kb(meminfo, key) for key in (b"MemTotal", b"MemAvailable"))
    if not total or available is None:
        return 0, 100.0
    available = min(available, total)
    return (total - available) // 1024, available / total * 100


def _network(dev: bytes) -> tuple[int, int]:
    """Bytes received and sent by all interfaces but loopback, virtual ones included."""
    received = sent = 0
    for line in dev.splitlines():
        name, _, counters = line.rpartition(b":")
        words = counters.split()
        if name and name.strip() != b"lo" and len(words) >= 9:
            received += number(words[0])
            sent += number(words[8])
    return min(received, MOST), min(sent, MOST)


def _disk_used(directory: Path) -> float:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0.0
    return used_percent(disk.f_blocks, disk.f_bfree, disk.f_bavail)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError:
        return b""
