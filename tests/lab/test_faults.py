"""Every fault really happens, its undo really undoes it, and nothing of it outlives the lab."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.clock import FAKETIME
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.disk import Disk, backing_files
from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers, wait_gone
from tests.lab.net import Host
from tests.lab.site import Site
from tests.lab.test_net import arrived, connect

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.needs_root]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A master and one agent, known to it; what a test broke is put right behind it."""
    with Lab(["node1", "node2"], podman=False, disk_mb=16) as made:
        made.start_master()
        with made.watch_nodes() as watch:
            made.start_agent("node1")
            watch.wait_status("node1", "Ready", 20)
        yield made
    assert leftovers(made.site.id) == []


@pytest.fixture(autouse=True)
def _whole(lab: Lab) -> Iterator[None]:
    yield
    lab.faults.heal()
    assert lab.faults.active == []


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(path: Path, size: int = 1 << 16) -> float:
    """Write a file durably; returns the seconds it took."""
    begun = time.monotonic()
    with path.open("wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - begun


def ends(lab: Lab) -> tuple[Host, Host]:
    return lab.nodes["node1"], lab.nodes["node2"]


def data(lab: Lab, host: str = "node2") -> Path:
    return lab.net.hosts[host].dir / "data"


# ---- the cable ----


def test_cable_faults_end_with_their_block(lab: Lab) -> None:
    one, two = ends(lab)
    assert arrived(one, two, 1) == 1  # they know their link addresses now
    with lab.faults.cut("node2", "in") as cut:
        assert (arrived(one, two, 3), arrived(two, one, 3)) == (0, 3)
        assert str(cut) == 'node2: cable is cut for what goes "in"'
        assert lab.faults.active == [cut]
    assert arrived(one, two, 3) == 3
    with lab.faults.loss("node2", 100):
        assert arrived(two, one, 3) == 0


def test_a_fault_takes_the_place_of_another_of_the_same_part(lab: Lab) -> None:
    cut = lab.faults.cut("node2")
    loss = lab.faults.loss("node2", 10)
    assert lab.faults.active == [loss]
    cut.heal()  # is not there any more
    assert lab.faults.active == [loss]
    assert lab.faults.heal("node1") == []
    assert lab.faults.heal("node2", "clock") == []
    assert lab.faults.heal("node2", "cable") == [loss]


def test_connections_are_reset_at_both_ends(lab: Lab) -> None:
    near, far = connect(*ends(lab))
    with near, far:
        assert lab.faults.reset("node2") == 1
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        with pytest.raises(ConnectionAbortedError):
            far.recv(1)
    assert lab.faults.reset("node2") == 0


# ---- programs ----


def test_programs_are_killed_frozen_stopped_and_run_again(lab: Lab) -> None:
    with lab.faults.freeze("node1"):
        agent = lab.agents["node1"]
        assert (Path("/proc") / str(agent.pid) / "stat").read_text().split()[2] == "T"
        with lab.faults.kill("node1"):
            assert agent.exit_code == -signal.SIGKILL
            with pytest.raises(LabError, match="agent does not run on node1"):
                lab.faults.freeze("node1")
    again = lab.agents["node1"]
    assert again is not agent
    assert again.alive
    again.wait_for_output("PICCOLO agent")
    with lab.faults.stop("node1"):
        assert again.exit_code == 0
    lab.faults.restart("node1")
    with lab.watch_nodes() as watch:
        watch.wait_status("node1", "Ready", 20)
    assert [node["name"] for node in lab.get("nodes")] == ["node1"]


def test_what_is_not_there_is_named(lab: Lab) -> None:
    for call, words in (
        (lambda: lab.faults.kill("node9"), "no host 'node9' here: there are master, node1, node2"),
        (lambda: lab.faults.kill("node1", "etcd"), "there are agent and podman"),
        (lambda: lab.faults.restart("node1", "podman"), "node1 has no Podman in this lab"),
        (lambda: lab.faults.restart("master", "etcd"), "this lab has no etcd"),
        (lambda: lab.faults.restart("node2"), "nothing was ever started on node2"),
        (lambda: lab.faults.corrupt("node1", "nothing"), "node1 has no file nothing: .*identity"),
        (lambda: lab.faults.clone("master"), "master is no node: there are node1, node2"),
    ):
        with pytest.raises(LabError, match=words):
            call()


# ---- disks ----


def test_a_full_disk_has_room_again(lab: Lab) -> None:
    with lab.faults.fill("node2", leave=1 << 20):
        write(data(lab) / "fits")
        with pytest.raises(OSError, match="No space left") as full:
            write(data(lab) / "does-not", 2 << 20)
        assert full.value.errno == errno.ENOSPC
    with lab.faults.fill("node2"), pytest.raises(OSError, match="No space left"):
        write(data(lab) / "not-a-block", 1 << 14)
    write(data(lab) / "does", 2 << 20)


def test_a_slow_disk_is_slow_and_fast_again(lab: Lab) -> None:
    try:
        slow = lab.faults.slow("node2", writes=8)
    except LabError as error:
        pytest.skip(str(error))
    with slow:
        write(data(lab) / "a")  # what comes first may be let through
        assert write(data(lab) / "b") > 0.3
    assert write(data(lab) / "c") < 0.3


def test_a_failed_disk_is_read_only_until_it_is_repaired(lab: Lab) -> None:
    before = (data(lab, "node1") / "identity.json").read_bytes()
    agent = lab.agents["node1"]
    with lab.faults.fail("node1"):
        with pytest.raises(OSError, match="Read-only"):
            write(data(lab, "node1") / "x")
        assert agent.alive
    assert agent.exit_code is not None
    assert lab.agents["node1"].alive
    assert (data(lab, "node1") / "identity.json").read_bytes() == before
    write(data(lab, "node1") / "x")


def test_files_are_damaged_and_put_back(lab: Lab) -> None:
    path = data(lab) / "file"
    path.write_bytes(bytes(100))
    with lab.faults.corrupt("node2", "file", size=4):
        assert path.read_bytes() == bytes(48) + b"\xff" * 4 + bytes(48)
        lab.faults.corrupt("node2", "file", at=0, size=1)
        assert path.read_bytes() == b"\xff" + bytes(99)
        cut = lab.faults.truncate("node2", "file")
        assert path.read_bytes() == bytes(50)
    assert lab.faults.active == [cut]
    cut.heal()
    assert path.read_bytes() == bytes(100)
    with lab.faults.truncate("node2", "file", 1):
        path.write_bytes(b"written anew")
    assert path.read_bytes() == b"written anew"
    with pytest.raises(LabError, match="there are none at 500"):
        lab.faults.corrupt("node2", "file", at=500)


# ---- clock and machine ----


@pytest.mark.skipif(FAKETIME is None, reason="needs faketime: ./dev setup says how to install")
def test_a_clock_is_set_and_right_again() -> None:
    with Lab(1, podman=False, clocks=True) as lab:
        ask = [sys.executable, "-uc", "import time\nwhile input(): print(time.gmtime().tm_year)"]
        with subprocess.Popen(
            ask,
            env=lab.site.environment() | lab.clocks["node1"].env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            question, answer = program.stdin, program.stdout
            assert question is not None
            assert answer is not None

            def year() -> int:
                print("now", file=question, flush=True)
                return int(answer.readline())

            now = year()
            assert now == time.gmtime().tm_year
            with lab.faults.clock("node1", "+366d"):
                assert year() == now + 1
            assert year() == now
            program.kill()


def test_a_machine_is_replaced_and_comes_back(lab: Lab) -> None:
    mine = data(lab) / "mine"
    mine.write_text("old")
    with lab.faults.replace("node2"):
        assert not mine.exists()
        mine.write_text("new")
        lab.faults.replace("node2")
        assert not mine.exists()
        lab.faults.heal("node2", "machine")
        assert mine.read_text() == "old"


def test_the_machine_of_the_master_is_replaced_restored_and_comes_back(lab: Lab) -> None:
    secret = lab.site.dir / "passphrase"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    file, known = str(lab.site.dir / "lab.backup"), ["--passphrase-file", str(secret)]
    lab.piccolo("backup", file, *known)
    old = data(lab, "master") / "admin.yaml"
    before, first = old.read_bytes(), lab.master_proc
    with lab.faults.replace("master"):
        assert first is not None
        assert not first.alive
        assert list(data(lab, "master").iterdir()) == []
        lab.piccolo("restore", file, *known, "--data-dir", str(data(lab, "master")))
        lab.faults.restart("master")
        assert "node1" in {node["name"] for node in lab.get("nodes")}
    assert lab.master_proc is not None
    assert lab.master_proc.alive
    assert old.read_bytes() == before


def test_a_machine_is_cloned(lab: Lab) -> None:
    eventually(lambda: lab.get("node", "node1")["link"]["connected"])  # or the copy takes its place
    with lab.faults.clone("node1"):
        twin = lab.agents["node1-clone"]
        identity = (data(lab, "node1") / "identity.json").read_bytes()
        assert (data(lab, "node1-clone") / "identity.json").read_bytes() == identity
        twin.wait_for_output("is connected from", 15)
        assert lab.agents["node1"].alive
    assert not twin.alive


# ---- the end ----

WITH_FAULTS = """
from tests.lab.cluster import Lab
lab = Lab(["a"], podman=False, disk_mb=8)
site = lab.site
lab.faults.cut("a")
lab.faults.fill("a")
lab.disks["a"].fail()
try:
    lab.disks["master"].slow(1)
except Exception:
    pass
print(site.id, site.reaper_pid, flush=True)
import time
time.sleep(60)
"""


@pytest.mark.parametrize("with_reaper", [True, False])
def test_nothing_of_a_disk_outlives_its_owner(with_reaper: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WITH_FAULTS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        lab_id, reaper = owner.stdout.readline().split()
        assert any(lab_id in file for file in backing_files())
        if not with_reaper:
            os.kill(int(reaper), signal.SIGKILL)
        owner.kill()
        owner.wait()
    if with_reaper:
        wait_gone(lab_id)
    else:
        with Site():
            assert leftovers(lab_id) == []


def test_a_disk_too_small_is_refused(tmp_path: Path) -> None:
    with Site() as site, pytest.raises(LabError, match="choose 8 or more"):
        Disk(site, tmp_path / "d", 1)


def test_a_lab_without_disks_and_clocks_says_so() -> None:
    with LoopbackLab(["n"]) as lab:
        for call, words in (
            (lambda: lab.faults.fill("n"), "n has no disk of its own: .*--disk"),
            (lambda: lab.faults.clock("n", "+1h"), "--clocks"),
            (lambda: lab.faults.reset("n"), "needs root"),
            (lambda: lab.faults.cut("n"), "no cable to cut"),
        ):
            with pytest.raises(LabError, match=words):
                call()
