"""Programs on hosts. Without a namespace, so that it needs no root."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers
from tests.lab.loopback import LoopbackNetwork
from tests.lab.process import Limit, Proc
from tests.lab.site import Site

SPIN = "while True: pass"
TWO_OF_40_MB = """
import subprocess, sys, time
memory = bytearray(40 << 20)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, "-c", open("/proc/self/cmdline").read().split("\\0")[2], "x"])
print("ready", flush=True)
time.sleep(60)
"""

Start = Callable[..., Proc]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as ground:
        yield ground


@pytest.fixture
def start(site: Site) -> Start:
    host = LoopbackNetwork(site).add_host("here")

    def starter(code: str, limit: Limit | None = None) -> Proc:
        return Proc(site, host, "python", [sys.executable, "-c", code], limit=limit)

    return starter


def test_output_and_exit_code(start: Start) -> None:
    program = start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert program.wait() == 3
    assert sorted(program.output().split()) == ["err", "out"]
    again = start("print('again')")
    again.wait()
    assert again.output() == "again\n"
    assert "out" in again.log.read_text()


def test_kill_and_terminate(start: Start) -> None:
    program = start("import time; time.sleep(60)")
    assert program.alive
    program.kill()
    assert program.wait() == -signal.SIGKILL
    program.kill()  # no error, no harm
    assert start("import time; time.sleep(60)").terminate() == -signal.SIGTERM


def test_frozen_it_uses_no_processor(start: Start) -> None:
    program = start(SPIN)
    deadline = time.monotonic() + 10
    while program.cpu_seconds() < 0.1:
        assert time.monotonic() < deadline
    program.freeze()
    time.sleep(0.05)
    frozen = program.cpu_seconds()
    time.sleep(0.2)
    assert program.cpu_seconds() == frozen
    program.thaw()
    while program.cpu_seconds() == frozen:
        assert time.monotonic() < deadline


def test_memory_counts_the_children(start: Start) -> None:
    program = start(TWO_OF_40_MB)
    deadline = time.monotonic() + 10
    while program.output().count("ready") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert program.rss_kb() > 2 * 40 * 1024


def test_errors_quote_the_log(start: Start) -> None:
    with pytest.raises(LabError, match=r"ended \(1\) before it wrote 'ready'.*\n(.*\n)*.*division"):
        start("1 / 0").wait_for_output("ready")
    with pytest.raises(LabError, match=r"still runs after 0\.1 s"):
        start("import time; time.sleep(60)").wait(0.1)


def test_the_site_ends_what_left_its_session(site: Site, start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
    ).wait()
    deadline = time.monotonic() + 10
    while not pid.exists():
        assert time.monotonic() < deadline
    assert any(f"process {pid.read_text()} " in found for found in leftovers(site.id))
    site.close()
    assert leftovers(site.id) == []


def test_environment_does_not_lead_to_another_cluster(
    site: Site, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICCOLO_MASTER", "192.0.2.1")
    monkeypatch.setenv("LAB_TEST", "kept")
    program = start("import os; print(os.environ.get('PICCOLO_MASTER'), os.environ['LAB_TEST'])")
    program.wait()
    assert program.output() == "None kept\n"


@pytest.mark.needs_root
def test_processor_limit_holds(start: Start) -> None:
    program = start(SPIN, Limit(cpus=0.2))
    time.sleep(1)
    assert program.cpu_seconds() < 0.4


@pytest.mark.needs_root
def test_memory_limit_kills(start: Start) -> None:
    program = start("x = bytearray(200 << 20)", Limit(memory_mb=50))
    assert program.wait() == -signal.SIGKILL
