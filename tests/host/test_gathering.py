"""What is found in a system that lies elsewhere, and that nothing which hangs holds it up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from piccolo.core.address import Address
from piccolo.core.model import NodeRole
from piccolo.core.readiness.facts import Listener, Machine, Site
from piccolo.core.readiness.finding import Verdict, ok
from piccolo.host import reach
from piccolo.host.bounded import ask_all, run_program
from piccolo.host.kernel import kernel
from piccolo.host.machine import disks, machine
from piccolo.host.ports import listeners
from piccolo.host.readiness import gather
from piccolo.host.results import MOST, Results
from piccolo.security.tls import unverified_context
from tests.host import fake_root
from tests.host.fake_root import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fake_root.make(tmp_path / "root")


def test_questions_that_hang_fail_or_make_no_sense_are_left_without_answer() -> None:
    released = threading.Event()

    def fails() -> None:
        raise PermissionError

    begun = time.monotonic()
    questions: dict[str, Callable[[], object]] = {
        "hangs": released.wait,
        "fails": fails,
        "sense": lambda: int("x"),
        "good": int,
    }
    answers = ask_all(questions, 0.05)
    assert answers == {"hangs": None, "fails": None, "sense": None, "good": 0}
    assert time.monotonic() - begun < 1
    released.set()


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ask_all({"mistake": lambda: 1 // 0}, 1)


def test_programs_are_ended() -> None:
    begun = time.monotonic()
    assert run_program("sleep", "30", seconds=0.05) is None
    assert run_program("/no/such/program", seconds=1) is None
    assert time.monotonic() - begun < 5


def test_a_healthy_board(root: Path) -> None:
    assert machine(root) == Machine(load=0.5, cores=4, memory_available_percent=50.0)
    found = kernel(root)
    assert found.cgroup_version == 2
    assert {"cpu", "memory", "pids"} < found.cgroup_controllers
    assert found.seccomp
    assert found.overlay
    assert found.user_namespaces_allowed


def test_directories_that_are_not_there_yet_are_on_the_disk_of_their_parents(root: Path) -> None:
    write(root, "proc/mounts", "/dev/a / ext4 rw 0 0\n/dev/b /var/lib ext4 ro 0 0\n")
    here, other = disks(root, "/var/lib/piccolo/x/y", "/srv")
    assert (here.read_only, other.read_only) == (True, False)
    assert 0 < here.used_percent <= 100


def test_who_has_a_port(root: Path) -> None:
    fake_root.listener(root, 50051, ["/opt/piccolo/current/piccolo", "master"], "udp6")
    (found,) = listeners(root, 50051)
    assert found == Listener("udp", "/opt/piccolo/current/piccolo", ours=True)
    assert listeners(root, 50052) == ()


def test_whose_port_it_is_may_be_hidden(root: Path) -> None:
    fake_root.listener(root, 50051, ["nginx"])
    (root / "proc/321/fd/3").unlink()
    assert listeners(root, 50051) == (Listener("tcp", "", ours=False),)


def test_addresses_that_lead_nowhere() -> None:
    assert "refused" in reach.failure(Address("127.0.0.1", 9), 1.0)
    assert reach.resolves(Address("127.0.0.1", 9))


def test_all_of_it(root: Path) -> None:
    listen = Address("127.0.0.1", 50051)
    site = Site(NodeRole.MASTER, "x", "/var/lib/piccolo/master", listen=listen)
    facts = gather(site, root, unverified_context())
    assert None not in (facts.machine, facts.disks, facts.kernel, facts.user, facts.podman)
    assert (facts.listeners, facts.certificates, facts.peers) == ((), (), ())


def test_results_are_kept(tmp_path: Path) -> None:
    files = Results(tmp_path / "a/status", tmp_path / "b/log")
    assert files.begin() == ""
    assert (tmp_path / "a/status").read_text() == "status=checking\n"
    assert files.end(Verdict.READY, [ok("cpu", "idle")]) == []
    assert (tmp_path / "a/status").read_text() == "status=ready\n"
    lines = (tmp_path / "b/log").read_text().splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["ok cpu: idle", "status=ready"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["status"]


def test_a_log_is_put_aside_and_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        log.write_text("x" * MOST)
        Results(None, log).end(Verdict.READY, [])
    assert log.stat().st_size < 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
