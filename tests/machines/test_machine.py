"""The rig itself: what is tested in a machine is worth as much as the machine is real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers, wait_gone
from tests.lab.net import Network
from tests.machines.machine import IMAGE, Machine
from tests.machines.tree import Mirror, choose_mirror

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_podman, pytest.mark.slow]

UNIT = """\
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'echo begun; systemd-notify --ready; \
    while :; do systemd-notify WATCHDOG=1; sleep 0.2; done'
WatchdogSec=2
TimeoutAbortSec=1
Restart=on-failure
RestartSec=100ms
MemoryMax=64M
[Install]
WantedBy=multi-user.target
"""


LASTS = "trap 'exit 0' TERM; sleep 600 & wait"


@pytest.fixture(scope="module")
def pair(network: Network) -> tuple[Machine, Machine]:
    one, other = Machine(network, "one"), Machine(network, "other")
    one.boot()
    other.boot()
    one.path("/etc/systemd/system/trial.service").write_text(UNIT)
    one.run("systemctl", "daemon-reload")
    return one, other


@pytest.mark.timeout(900)  # the first time of all the tree is made
def test_all_units_start(pair: tuple[Machine, Machine]) -> None:
    for machine in pair:
        failed = machine.run("systemctl", "--failed", "--no-legend", "--plain").stdout
        assert failed == ""
        assert machine.shell("systemctl is-system-running") == "running\n"
        assert machine.shell("hostname") == f"{machine.name}\n"
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        assert len({machine.shell(f"cat {file}") for machine in pair}) == 2


def test_machines_reach_each_other_and_nobody_else(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.run("ping", "-c1", "-W2", other.ip)
    assert one.shell("ip -json route | grep -c default || true") == "0\n"
    with pytest.raises(LabError, match="unreachable"):
        one.run("ping", "-c1", "-W1", "192.0.2.1")


def test_no_machine_sees_the_units_of_another(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.run("systemctl", "start", "trial")
    assert other.shell("find /sys/fs/cgroup -name 'trial.service'") == ""
    one.run("systemctl", "stop", "trial")


def test_podman_runs_containers_inside(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.import_image()
    one.wait_unit("podman.socket")
    for mode in ("none", "host", "bridge"):
        assert one.shell(f"podman run --rm --network={mode} {IMAGE} echo inside") == "inside\n"
    said = one.shell("curl -sS --unix-socket /run/podman/podman.sock http://d/v4.0.0/libpod/_ping")
    assert said == "OK"


def test_the_watchdog_ends_what_hangs(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run("systemctl", "start", "trial")
    first = one.main_pid("trial")
    one.signal("trial", signal.SIGSTOP)
    second = one.wait_main_pid("trial", first, timeout=10)
    assert "Watchdog timeout" in one.journal("trial")
    one.signal("trial", signal.SIGKILL)
    one.wait_main_pid("trial", second, timeout=10)
    assert one.show("trial", "NRestarts") == "2"


def test_a_limit_of_memory_holds(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    run = "systemd-run --quiet --wait --property=MemoryMax=16M"
    one.shell(f"{run} sh -c 'head -c 4M /dev/zero | tail -c 4M | wc -c'")
    with pytest.raises(LabError):
        one.shell(f"{run} bash -o pipefail -c 'head -c 64M /dev/zero | tail -c 64M | wc -c'")


def test_the_disk_and_the_journal_outlive_a_boot(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run("systemctl", "enable", "--quiet", "trial")
    one.run("podman", "run", "--detach", "--name=stays", IMAGE, "sh", "-c", LASTS)
    for stop in (one.shut_down, one.power_off):
        stop()
        one.boot()
        one.wait_unit("trial")
        assert "begun" in one.journal("trial", boot=-1)
        # It does not run; Podman may call it "created" when it did not see its end.
        assert one.shell("podman ps --all --format '{{.Names}}'") == "stays\n"
        assert one.shell("podman ps --quiet") == ""


def test_the_files_of_a_machine(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    before = one.files()
    one.path("/usr/local/bin/new").symlink_to("/bin/true")
    assert set(one.files().items()) - set(before.items()) == {
        ("/usr/local/bin/new", "l 777 root:root /bin/true")
    }


_OWNER = """\
import sys
from tests.lab.net import Network
from tests.machines.machine import Machine
network = Network()
machine = Machine(network, "one")
machine.boot()
print(network.site.id, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_a_killed_owner() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        lab = owner.stdout.readline().strip()
        assert len(leftovers(lab)) > 3
        os.kill(owner.pid, signal.SIGKILL)
    wait_gone(lab, timeout=20)


def test_what_is_waited_for_in_vain_is_told(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    begun = time.monotonic()
    with pytest.raises(LabError, match=r"ActiveState is 'active' after 0\.3 s"):
        one.wait_unit("podman.socket", "inactive", timeout=0.3)
    assert time.monotonic() - begun < 5
    with pytest.raises(LabError, match=r"exit 3: words"):
        one.run("sh", "-c", "echo words; exit 3")


def test_the_mirror_is_the_one_of_this_release() -> None:
    lines = [
        "http://extra.example/ stable main",
        "http://updates.example/ noble-updates main",
        "http://partner.example/ noble partner",
        "http://mirror.example/ noble main",
        "http://mirror.example/ noble restricted",
        "http://mirror.example/ noble universe",
    ]
    assert choose_mirror("noble", lines) == Mirror(
        "http://mirror.example/", "noble", ("main", "universe")
    )
    with pytest.raises(LabError, match="no source with trixie main"):
        choose_mirror("trixie", lines)
