"""From two bare machines to a cluster, through all that happens to it, and back to bare machines.

The tests are one story, told in their order on the same two machines; each leaves them with the
node Ready and its workload running. The node reaches the master and nothing else: no internet.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.net import Network
from tests.machines.bundle import find_bundle, newer
from tests.machines.journey import AGENT, MASTER, WORKLOAD, Pair
from tests.machines.machine import Machine

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_podman,
    pytest.mark.slow,
    pytest.mark.timeout(120),
]

COMMANDS, SECONDS = 3, 120.0  # from bare machines to a node that is Ready
INSTALLER = "/opt/piccolo/current/installer"
EXPOSURE = {AGENT: 4.0, MASTER: 2.0}  # systemd-analyze security: 0 (locked up) to 10 (open)
NEXT_VERSION = "99.0.0"


@pytest.fixture(scope="module")
def pair(network: Network) -> Pair:
    """Two bare machines; the node has an image, as a device without a registry does."""
    pair = Pair(Machine(network, "master"), Machine(network, "node"))
    for machine in (pair.master, pair.node):
        machine.boot()
    pair.node.import_image()
    return pair


@pytest.fixture(scope="module")
def before(pair: Pair) -> dict[str, dict[str, str]]:
    """The files of both machines while they were bare."""
    return {machine.name: machine.files() for machine in (pair.master, pair.node)}


@pytest.fixture(scope="module")
def cluster(pair: Pair, before: dict[str, dict[str, str]]) -> Pair:
    """The same machines as a cluster with a workload."""
    assert before
    pair.install()
    pair.apply(WORKLOAD)
    return pair


@pytest.mark.timeout(900)  # the first time of all the machines' system is made
def test_two_bare_machines_become_a_cluster(cluster: Pair) -> None:
    print("\n".join(cluster.typed), f"\n{cluster.install_seconds:.1f} s")
    assert len(cluster.typed) <= COMMANDS
    assert cluster.install_seconds < SECONDS
    assert cluster.status() == "Ready"
    for machine, unit in ((cluster.master, MASTER), (cluster.node, AGENT)):
        assert machine.show(unit, "ActiveState") == "active"
        assert machine.show(unit, "UnitFileState") == "enabled"
        assert machine.shell("systemctl is-system-running") == "running\n"


def test_no_secret_is_left_lying_about(cluster: Pair) -> None:
    node = cluster.node
    token = re.search(r"piccolo1\.\S+", cluster.join)
    assert token is not None
    assert not node.path("/etc/piccolo/join.token").exists()
    assert node.path("/var/lib/piccolo/pki").stat().st_mode & 0o777 == 0o700
    secret = token.group().split(".")[2]
    for machine in (cluster.master, node):
        places = "/etc /var/lib/piccolo /var/log /opt/piccolo/current/"
        found = machine.run("grep", "-rlaF", secret, *places.split(), check=False)
        assert found.stdout == ""
        assert secret not in machine.shell("journalctl --no-pager -o cat")


def test_a_workload_runs_on_the_node(cluster: Pair) -> None:
    cluster.wait_container()
    assert cluster.piccolo("get", "workloads")[0]["name"] == "greeter"


def test_a_second_run_changes_nothing(cluster: Pair) -> None:
    pid, container = cluster.node.main_pid(AGENT), cluster.wait_container()
    files = cluster.node.files()
    bundle = find_bundle().name.removesuffix(".tar.gz")
    said = cluster.master.shell(f"/root/{bundle}/install_master.sh", timeout=60)
    assert "nothing" in said.lower()
    said = cluster.node.type(cluster.join, timeout=60)
    assert "nothing" in said.lower()
    assert (cluster.node.main_pid(AGENT), cluster.wait_container()) == (pid, container)
    assert _changed(files, cluster.node.files()) == set()


def test_the_units_are_locked_up(cluster: Pair) -> None:
    for machine, unit in ((cluster.master, MASTER), (cluster.node, AGENT)):
        said = machine.shell(f"systemd-analyze security --no-pager {unit} | tail -n 1")
        score = re.search(r"exposure level for .*: (\d+\.\d+)", said)
        assert score is not None, said
        print(said.strip())
        assert float(score.group(1)) <= EXPOSURE[unit]


def test_the_agent_has_a_limit_of_memory_and_is_far_from_it(cluster: Pair) -> None:
    limit = int(cluster.node.show(AGENT, "MemoryMax"))
    used = int(cluster.node.show(AGENT, "MemoryCurrent"))
    print(f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB")
    assert used < 0.8 * limit <= 256 * 2**20


def test_the_limit_of_memory_holds_for_all_that_the_agent_starts(cluster: Pair) -> None:
    group = cluster.node.show(AGENT, "ControlGroup")
    root = cluster.node.shell(
        "ls -d /sys/fs/cgroup/memory 2>/dev/null || echo /sys/fs/cgroup"
    ).strip()
    eat = "set -o pipefail; head -c 300M /dev/zero | tail -c 300M | wc -c"
    cluster.node.shell(eat)
    with pytest.raises(LabError, match="exit 137"):
        cluster.node.shell(f"echo $$ > {root}{group}/cgroup.procs; {eat}")
    cluster.node.wait_unit(AGENT)
    cluster.wait_ready()
    cluster.wait_container()


def test_an_agent_that_is_killed_is_started_again(cluster: Pair) -> None:
    container, pid = cluster.wait_container(), cluster.node.main_pid(AGENT)
    cluster.node.signal(AGENT, signal.SIGKILL)
    cluster.node.wait_main_pid(AGENT, pid)
    cluster.wait_ready()
    assert cluster.wait_container() == container


def test_an_agent_that_hangs_is_ended_and_started_again(cluster: Pair) -> None:
    container, pid = cluster.wait_container(), cluster.node.main_pid(AGENT)
    begun = time.monotonic()
    cluster.node.signal(AGENT, signal.SIGSTOP)
    cluster.node.wait_main_pid(AGENT, pid, timeout=75)
    print(f"another agent after {time.monotonic() - begun:.1f} s")
    assert "Watchdog timeout" in cluster.node.journal(AGENT)
    cluster.wait_ready()
    assert cluster.wait_container() == container


def test_a_master_that_is_killed_is_started_again(cluster: Pair) -> None:
    pid = cluster.master.main_pid(MASTER)
    cluster.master.signal(MASTER, signal.SIGKILL)
    cluster.master.wait_main_pid(MASTER, pid)
    cluster.wait_ready()


def test_a_node_comes_back_from_a_reboot(cluster: Pair) -> None:
    known = cluster.identity()
    cluster.node.reboot()
    cluster.node.wait_unit(AGENT)
    cluster.wait_ready()
    cluster.wait_container()
    assert cluster.identity() == known


def test_a_node_comes_back_from_a_loss_of_power(cluster: Pair) -> None:
    cluster.node.power_off()
    cluster.wait_status("NotReady")
    cluster.node.boot()
    cluster.wait_ready()
    cluster.wait_container()


def test_a_node_boots_and_runs_its_workloads_while_the_master_is_away(cluster: Pair) -> None:
    cluster.master.power_off()
    cluster.node.power_off()
    cluster.node.boot()
    cluster.node.wait_unit(AGENT)
    container = cluster.wait_container()
    cluster.master.boot()
    cluster.wait_ready()
    assert cluster.wait_container() == container


def test_a_master_comes_back_from_a_reboot(cluster: Pair) -> None:
    container = cluster.wait_container()
    cluster.master.reboot()
    cluster.wait_ready()
    assert cluster.wait_container() == container


def test_an_upgrade_keeps_identity_and_workloads(cluster: Pair, tmp_path: Path) -> None:
    bundle = newer(find_bundle(), NEXT_VERSION, tmp_path)
    known, container = cluster.identity(), cluster.wait_container()
    top = bundle.name.removesuffix(".tar.gz")
    for machine, installer in (
        (cluster.master, "install_master.sh"),
        (cluster.node, f"install_nodeagent.sh {cluster.master.ip}"),
    ):
        machine.copy_in(bundle, f"/root/{bundle.name}")
        machine.shell(f"cd /root && tar -xzf {bundle.name} && {top}/{installer}", timeout=90)
        assert NEXT_VERSION in machine.shell("piccolo --version")
    cluster.wait_ready()
    facts = cluster.piccolo("get", "nodes")[0]["facts"]
    assert facts["agentVersion"] == NEXT_VERSION
    assert cluster.identity() == known
    assert cluster.wait_container() == container
    kept = [path.name for path in cluster.node.path("/opt/piccolo/versions").iterdir()]
    assert len(kept) == 2  # for going back


def test_uninstalling_the_node_leaves_only_what_it_says(
    cluster: Pair, before: dict[str, dict[str, str]]
) -> None:
    said = cluster.node.shell(f"{INSTALLER}/install_nodeagent.sh --uninstall", timeout=60)
    cluster.wait_container()  # they outlive the agent, and it says so
    left = {path for path in _left(cluster.node, before) if "/piccolo" in path}
    unsaid = {path for path in left if not path.startswith(_said_kept(said))}
    assert unsaid == set()
    again = f"{_unpacked(cluster.node)}/install_nodeagent.sh --uninstall --purge --yes"
    cluster.node.shell(again, timeout=60)
    assert cluster.containers() == []
    assert not cluster.node.shell("ls -d /run/piccolo 2>/dev/null || true")
    assert _left(cluster.node, before) == set()


def test_a_wrong_token_is_told_soon_and_leaves_nothing(
    cluster: Pair, before: dict[str, dict[str, str]]
) -> None:
    line = re.sub(r"(piccolo1\.\w+\.)....", r"\1AAAA", cluster.join)
    begun = time.monotonic()
    said = cluster.node.shell(f"({line}) 2>&1; echo exit code $?", timeout=90)
    assert time.monotonic() - begun < 40
    assert "the join token is not valid" in said  # the agent's own words, from the journal
    assert "error: the agent was not let in" in said
    assert said.rstrip().endswith("exit code 1")
    assert _left(cluster.node, before) == set()


def test_uninstalling_the_master_leaves_nothing(
    cluster: Pair, before: dict[str, dict[str, str]]
) -> None:
    uninstall = f"{INSTALLER}/install_master.sh --uninstall --purge --yes"
    cluster.master.shell(uninstall, timeout=60)
    assert _left(cluster.master, before) == set()


def _unpacked(machine: Machine) -> str:
    """The bundle, on a machine that may have had it from the master; returns where."""
    bundle = find_bundle()
    machine.copy_in(bundle, f"/root/{bundle.name}")
    machine.shell(f"tar -xzf /root/{bundle.name} -C /root")
    return f"/root/{bundle.name.removesuffix('.tar.gz')}"


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Which files came, went, or are changed, apart from what the running agent writes."""
    live = ("/var/lib/piccolo/", "/var/log/", "/root/")
    paths = {path for path, _ in before.items() ^ after.items()}
    return {path for path in paths if not path.startswith(live)}


def _left(machine: Machine, before: dict[str, dict[str, str]]) -> set[str]:
    """What is on the disk and was not before, apart from what the operator put there."""
    found = machine.files().keys() - before[machine.name].keys()
    systemds = ("/var/log/journal", "/var/tmp/systemd-private-")  # the latter of a lost boot
    return {path for path in found if not path.startswith(("/root/", *systemds))}


def _said_kept(said: str) -> tuple[str, ...]:
    """The paths that an uninstaller said it keeps."""
    return tuple(re.findall(r"/(?:etc|opt|var)/[\w./-]+", said))
