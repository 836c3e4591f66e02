"""Nothing of a lab outlives its owner, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import reaper
from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers, wait_gone
from tests.lab.site import Site

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_ROOT = """
from tests.lab.site import Site
from tests.lab.loopback import LoopbackNetwork
from tests.lab.process import Proc
site = Site()
host = LoopbackNetwork(site).add_host("here")
Proc(site, host, "sleep", ["sh", "-c", "setsid sleep 60"])
Proc(site, host, "frozen", ["sleep", "60"]).freeze()
"""
WITH_NETWORK = """
from tests.lab.net import Network
from tests.lab.process import Limit, Proc
net = Network()
site, host = net.site, net.add_host("a")
net.cut("a")
Proc(site, host, "sleep", ["sleep", "60"], limit=Limit(cpus=0.5))
"""
WITH_PODMAN = """
from tests.lab.net import Network
from tests.lab.podman import PodmanNode
net = Network()
site, host = net.site, net.add_host("a")
node = PodmanNode(site, host)
node.start_service()
node.import_image()
node.run("hello")
node.run("deaf", "sleep", "60", network="none")
node.run("frozen", "sleep", "60")
node.podman("pause", "frozen")
node.pause_service()
"""
WAIT = """
print(site.id, site.reaper_pid, flush=True)
import time
time.sleep(60)
"""


class Owner:
    """Another process that has made a lab."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + WAIT], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.end(signal.SIGKILL)
            raise AssertionError("it could not make its lab")
        lab_id, pid = line.split()
        self.lab_id, self.reaper_pid = lab_id, int(pid)

    def end(self, sig: int) -> None:
        self.process.send_signal(sig)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    made = Owner(request.param)
    assert leftovers(made.lab_id)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


LABS = pytest.mark.parametrize(
    "owner",
    [
        pytest.param(WITHOUT_ROOT, id="loopback"),
        pytest.param(WITH_NETWORK, id="network", marks=pytest.mark.needs_root),
        pytest.param(
            WITH_PODMAN, id="podman", marks=[pytest.mark.needs_root, pytest.mark.needs_podman]
        ),
    ],
    indirect=True,
)


@LABS
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_owner_is_killed(owner: Owner, sig: int) -> None:
    owner.end(sig)
    wait_gone(owner.lab_id, timeout=5)


@LABS
def test_the_reaper_too_and_the_next_lab_sweeps(owner: Owner) -> None:
    os.kill(owner.reaper_pid, signal.SIGKILL)
    owner.end(signal.SIGKILL)
    with Site() as site:
        wait_gone(owner.lab_id, timeout=5)  # the kernel takes a moment for what was killed
        assert leftovers(site.id) != []


@pytest.mark.parametrize("owner", [WITHOUT_ROOT], indirect=True)
def test_a_living_owners_lab_is_not_swept(owner: Owner) -> None:
    def there() -> list[list[str]]:  # without what they are called: one may be about to exec
        return [found.split()[:2] for found in leftovers(owner.lab_id)]

    before = there()
    with Site():
        assert there() == before


def test_close_works_without_the_reaper_and_twice() -> None:
    site = Site()
    site.undo("touch", str(site.dir.parent / f"{site.id}-undone"))
    os.kill(site.reaper_pid, signal.SIGKILL)
    site.close()
    site.close()
    undone = site.dir.parent / f"{site.id}-undone"
    assert undone.exists()
    undone.unlink()
    assert leftovers(site.id) == []


def test_only_marked_processes_are_killed() -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, reaper.MARK: "another"}) as bystander:
        with Site() as site:
            marked = subprocess.Popen(["sleep", "60"], env=site.environment())
            site.adopt(marked)
        assert marked.returncode == -signal.SIGKILL
        assert bystander.poll() is None
        bystander.kill()


def test_a_directory_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    base = tmp_path / f"piccolo-lab-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    with pytest.raises(LabError, match="writable by you only"):
        Site()
