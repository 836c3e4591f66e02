"""Usage from recorded, invented and spoilt /proc trees, and from this machine."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piccolo.agent.usage import UsageSampler
from piccolo.core.model import Usage
from piccolo.core.procfs import cores

# A Raspberry Pi class board: 4 cores, 1 GB.
STAT = """\
cpu  1000 20 300 80000 500 30 40 60 11 0
cpu0 250 5 75 20000 125 8 10 15 3 0
cpu1 250 5 75 20000 125 8 10 15 3 0
cpu2 250 5 75 20000 125 7 10 15 3 0
cpu3 250 5 75 20000 125 7 10 15 2 0
intr 123456 0 9 0 0 0 0
ctxt 654321
btime 1795243172
processes 2345
procs_running 1
procs_blocked 0
softirq 2222 1 2 3
"""
MEMINFO = """\
MemTotal:         948304 kB
MemFree:          100000 kB
MemAvailable:     237076 kB
Buffers:           20000 kB
Cached:           150000 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
LOADAVG = "1.20 0.80 0.40 2/345 6789\n"
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 9999999  100    0    0    0     0          0         0  9999999     100    0    0    0
  eth0: 1000000    2000    0    0    0     0          0         0   200000    1500    0    0    0
wlan0:30      1    0    0    0     0          0         0        4       1    0    0    0
"""


def cpu_line(user: int, idle: int, iowait: int = 0, steal: int = 0) -> str:
    return f"cpu  {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\ncpu0 0 0 0 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "loadavg").write_text(LOADAVG)
    (tmp_path / "net/dev").write_text(NET_DEV)
    return tmp_path


def test_a_recorded_tree(proc: Path) -> None:
    usage = UsageSampler(proc, proc).sample()
    # Since boot: guest time is within user time; iowait is idle.
    assert usage.cpu_percent == pytest.approx((1000 + 20 + 300 + 30 + 40 + 60) / 81950 * 100)
    assert usage.memory_used_mb == (948304 - 237076) // 1024
    assert usage.memory_available_percent == pytest.approx(25.0)
    assert usage.load_per_core == pytest.approx(0.3)
    assert usage.network_rx_bytes == 1_000_030
    assert usage.network_tx_bytes == 200_004
    disk = os.statvfs(proc)
    assert 0 < usage.disk_used_percent < 100
    assert usage.disk_used_percent >= (disk.f_blocks - disk.f_bfree) / disk.f_blocks * 100


def test_cpu_is_since_the_previous_sample(proc: Path) -> None:
    sampler = UsageSampler(proc, proc)

    def sample(*ticks: int) -> float:
        (proc / "stat").write_text(cpu_line(*ticks))
        return sampler.sample().cpu_percent

    assert sample(1000, 1000) == pytest.approx(50)
    assert sample(1100, 1000) == pytest.approx(100)
    assert sample(1100, 1100, 100) == pytest.approx(0)
    assert sample(1150, 1100, 100, 50) == pytest.approx(100)  # steal: others' work, not idleness
    # Too soon to tell: the last value stands, and the time counts for the next sample.
    assert sample(1150, 1110, 100, 50) == pytest.approx(100)
    assert sample(1160, 1200, 100, 50) == pytest.approx(10 / 110 * 100)
    # iowait runs backwards now and then.
    assert sample(1160, 1300, 50, 50) == pytest.approx(100 * 0 / 50)
    # Counters that begin anew: the next sample is right again.
    assert sample(10, 10) == 0
    assert sample(110, 110) == pytest.approx(50)


def test_the_disk_is_the_one_of_the_data(proc: Path) -> None:
    usage = UsageSampler(Path("/proc"), proc).sample()
    assert usage.disk_used_percent == 0  # proc(5) has no blocks
    assert UsageSampler(proc / "missing", proc).sample().disk_used_percent == 0


def test_nothing_to_read_is_nothing_used(tmp_path: Path) -> None:
    """Never a shortage: that would take the node out of service."""
    assert UsageSampler(tmp_path / "missing", tmp_path).sample() == Usage()


@pytest.mark.parametrize("file", ["stat", "meminfo", "loadavg", "net/dev"])
def test_one_file_missing_spoils_no_other(proc: Path, file: str) -> None:
    whole = UsageSampler(proc, proc).sample()
    (proc / file).unlink()
    rest = UsageSampler(proc, proc).sample()
    touched = {
        "stat": {"cpu_percent", "load_per_core"},
        "meminfo": {"memory_used_mb", "memory_available_percent"},
        "loadavg": {"load_per_core"},
        "net/dev": {"network_rx_bytes", "network_tx_bytes"},
    }[file]
    differing = {
        name
        for name in Usage.__slots__
        if name != "disk_used_percent" and getattr(whole, name) != getattr(rest, name)
    }
    assert differing == touched


def test_an_old_kernel_without_mem_available(proc: Path) -> None:
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\n")
    assert UsageSampler(proc, proc).sample().memory_available_percent == 100


def test_cores_are_counted() -> None:
    assert cores(STAT.encode()) == 4
    assert cores(b"cpu 1 2\ncpufreq 1\nxcpu0\n") == 0


@pytest.mark.parametrize(
    "line",
    [
        b"eth0.100@x:y: 5 0 0 0 0 0 0 0 7 0 0",
        "größe0: 5 0 0 0 0 0 0 0 7 0 0".encode(),
        b"  lo1:5 0 0 0 0 0 0 0 7",
    ],
)
def test_odd_names_of_interfaces(proc: Path, line: bytes) -> None:
    (proc / "net/dev").write_bytes(b"a|b\nlo: 9 9 9 9 9 9 9 9 9 9\n" + line + b"\n")
    usage = UsageSampler(proc, proc).sample()
    assert (usage.network_rx_bytes, usage.network_tx_bytes) == (5, 7)


garbage = st.binary(max_size=40) | st.sampled_from(
    [b"", b"cpu", b"nan", b"-1", b"1e999", b"9" * 30, b"9" * 5000, b":", b"\n\n", b"inf 1"]
)


@st.composite
def spoilt(draw: st.DrawFn, recorded: str) -> bytes:
    content = bytearray(recorded.encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 20))] = draw(garbage)
    return bytes(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            spoilt(STAT) | garbage,
            spoilt(MEMINFO) | garbage,
            spoilt(LOADAVG) | garbage,
            spoilt(NET_DEV) | garbage,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_garbage_is_never_more_than_wrong(
    proc: Path, trees: list[tuple[bytes, bytes, bytes, bytes]]
) -> None:
    sampler = UsageSampler(proc, proc)
    for tree in trees:
        for file, content in zip(("stat", "meminfo", "loadavg", "net/dev"), tree, strict=True):
            (proc / file).write_bytes(content)
        usage = sampler.sample()
        for percent in (
            usage.cpu_percent,
            usage.memory_available_percent,
            usage.disk_used_percent,
        ):
            assert 0 <= percent <= 100
        assert usage.load_per_core >= 0
        assert math.isfinite(usage.load_per_core)
        for number in (usage.memory_used_mb, usage.network_rx_bytes, usage.network_tx_bytes):
            assert 0 <= number < 2**64


def test_this_machine(tmp_path: Path) -> None:
    sampler = UsageSampler(tmp_path)
    sampler.sample()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:  # one core in full
        pass
    usage = sampler.sample()
    assert usage.cpu_percent > 50 / (os.cpu_count() or 1)
    assert usage.memory_used_mb > 0
    assert 0 < usage.memory_available_percent < 100


def test_a_sample_is_cheap(tmp_path: Path) -> None:
    sampler = UsageSampler(tmp_path)
    began = time.process_time()
    for _ in range(100):
        sampler.sample()
    assert (time.process_time() - began) / 100 < 0.002
