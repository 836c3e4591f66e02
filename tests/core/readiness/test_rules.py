"""The rules of the readiness check, on both sides of every limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from piccolo.core.address import Address
from piccolo.core.model import NodeRole
from piccolo.core.readiness import machine, network, rules
from piccolo.core.readiness.facts import (
    Certificate,
    Facts,
    FileSystem,
    Kernel,
    Listener,
    Machine,
    Mtu,
    Peer,
    Podman,
    Site,
    User,
)
from piccolo.core.readiness.finding import Finding, Level, Verdict, verdict

NOW = 1_800_000_000.0
DAY = 86400.0
MASTER = Address("10.0.0.1", 50051)
SITE = Site(NodeRole.SUB, "nodeagent.yaml", "/var/lib/piccolo", masters=(MASTER,))
KERNEL = Kernel(
    cgroup_version=2,
    cgroup_controllers=frozenset({"cpu", "memory", "pids"}),
    namespaces=frozenset({"ipc", "mnt", "net", "pid", "user", "uts"}),
    user_namespaces_allowed=True,
    seccomp=True,
    overlay=True,
)
ROOT = User("root", True, 0, 0)
ALICE = User("alice", False, 65536, 65536)
PEER = Peer(MASTER, resolves=True, failure="", ping=True, mtu=Mtu.FITS, ahead=0.1)
HEALTHY = Facts(
    site=SITE,
    now=NOW,
    machine=Machine(load=1.0, cores=4, memory_available_percent=50.0),
    disks=(FileSystem("/var/lib/piccolo", 10.0, 10.0, False),),
    kernel=KERNEL,
    user=ROOT,
    podman=Podman(True, "4.9.3", "/run/podman/podman.sock"),
    peers=(PEER,),
    certificates=(Certificate("node.crt", NOW - DAY, NOW + 29 * DAY),),
)
AS_MASTER = replace(
    HEALTHY,
    site=Site(NodeRole.MASTER, "node.yaml", "/var/lib/piccolo/master", listen=MASTER),
    peers=(),
    certificates=(),
    listeners=(),
)


def of(facts: Facts, id: str) -> Finding:
    (found,) = [finding for finding in rules.judge(facts) if finding.id == id]
    return found


def levels(facts: Facts) -> dict[str, Level]:
    """What is not well."""
    return {f.id: f.level for f in rules.judge(facts) if f.level is not Level.OK}


def test_a_healthy_machine_is_ready() -> None:
    findings = rules.judge(HEALTHY)
    assert verdict(findings) is Verdict.READY
    assert all(finding.seen and not finding.fix for finding in findings)
    ids = [finding.id for finding in findings]
    assert len(ids) == len(set(ids)) == 18


def test_of_what_cannot_be_found_out_only_the_way_to_the_master_counts() -> None:
    nothing = Facts(site=SITE, now=NOW, peers=(Peer(MASTER),))
    assert levels(nothing) == {"grpc-port": Level.ERROR}
    assert not of(nothing, "memory").checked


def test_an_error_outweighs_warnings() -> None:
    ok, warning, error = (Finding(level, level, "") for level in Level)
    assert verdict([]) is verdict([ok]) is Verdict.READY
    assert verdict([ok, warning]) is Verdict.WARNING
    assert verdict([error, warning, ok]) is Verdict.FAILED


def test_load_per_core_is_exact() -> None:
    for cores in range(1, 257):
        limit = Machine(80 * cores / 100, cores, 50.0)
        above = Machine((80 * cores + 1) / 100, cores, 50.0)
        assert next(machine.resources(limit)).level is Level.OK
        assert next(machine.resources(above)).level is Level.WARNING


@pytest.mark.parametrize(("percent", "level"), [(19.9, Level.WARNING), (20.0, Level.OK)])
def test_memory(percent: float, level: Level) -> None:
    facts = replace(HEALTHY, machine=Machine(0.0, 1, percent))
    assert of(facts, "memory").level is level


@pytest.mark.parametrize(
    ("percent", "level"),
    [(80.0, Level.OK), (80.1, Level.WARNING), (90.0, Level.WARNING), (90.1, Level.ERROR)],
)
def test_disks_and_inodes(percent: float, level: Level) -> None:
    """The worst of several counts."""
    good = FileSystem("/a", 1.0, None, False)
    for id, bad in (
        ("disk", FileSystem("/b", percent, 1.0, False)),
        ("inodes", FileSystem("/b", 1.0, percent, False)),
    ):
        for disks in ((good, bad), (bad, good)):
            found = of(replace(HEALTHY, disks=disks), id)
            assert found.level is level
            assert "/b" in found.seen


def test_a_disk_that_cannot_be_written_to_is_an_error() -> None:
    disks = (FileSystem("/a", 1.0, 1.0, False), FileSystem("/b", 1.0, 1.0, True))
    assert levels(replace(HEALTHY, disks=disks)) == {"disk": Level.ERROR}


NO_MEMORY = replace(KERNEL, cgroup_controllers=frozenset({"cpu", "pids"}))
NO_NET = replace(KERNEL, namespaces=KERNEL.namespaces - {"net"})
NO_USER = replace(KERNEL, namespaces=KERNEL.namespaces - {"user"})
NOT_ALLOWED = replace(KERNEL, user_namespaces_allowed=False)


@pytest.mark.parametrize(
    ("kernel", "user", "found"),
    [
        (replace(KERNEL, cgroup_version=0), ROOT, {"cgroup": Level.ERROR}),
        (replace(KERNEL, cgroup_version=1), ROOT, {"cgroup": Level.WARNING}),
        (NO_MEMORY, ROOT, {"cgroup": Level.WARNING}),
        (NO_NET, ROOT, {"namespaces": Level.ERROR}),
        (NOT_ALLOWED, ROOT, {}),
        (NOT_ALLOWED, ALICE, {"namespaces": Level.ERROR}),
        (NO_USER, ALICE, {"namespaces": Level.ERROR}),
        (replace(KERNEL, seccomp=False), ROOT, {"seccomp": Level.WARNING}),
        (replace(KERNEL, overlay=False), ROOT, {"overlay": Level.WARNING}),
        (KERNEL, ALICE, {}),
        (KERNEL, replace(ALICE, subuids=65535), {"subid": Level.WARNING}),
        (KERNEL, replace(ALICE, subgids=0), {"subid": Level.WARNING}),
    ],
)
def test_kernel_and_user(kernel: Kernel, user: User, found: dict[str, Level]) -> None:
    assert levels(replace(HEALTHY, kernel=kernel, user=user)) == found


@pytest.mark.parametrize(
    ("podman", "found"),
    [
        (Podman(False, "", None), {"podman": Level.ERROR}),
        (Podman(True, "3.4.4", "/s"), {"podman": Level.ERROR}),
        (Podman(True, "10.0.0", "/s"), {}),
        (Podman(True, "", "/s"), {}),
        (Podman(True, "4.3.1", None), {"podman-socket": Level.WARNING}),
    ],
)
def test_podman(podman: Podman, found: dict[str, Level]) -> None:
    assert levels(replace(HEALTHY, podman=podman)) == found


def test_the_socket_of_a_user_is_started_by_the_user() -> None:
    podman = Podman(True, "4.3.1", None)
    (_, found) = machine.podman(podman, ALICE, ["/run/user/1000/podman/podman.sock"])
    assert found.fix == "systemctl --user enable --now podman.socket"


@pytest.mark.parametrize(
    ("peer", "found"),
    [
        (replace(PEER, failure="Connection refused"), {"grpc-port": Level.ERROR}),
        (replace(PEER, failure=None), {"grpc-port": Level.ERROR}),
        (replace(PEER, ping=False), {"ping": Level.WARNING}),
        (replace(PEER, ping=None), {}),
        (replace(PEER, mtu=Mtu.LOST), {"mtu": Level.WARNING}),
        (replace(PEER, mtu=Mtu.LOST, ping=None), {}),
        (replace(PEER, mtu=Mtu.TOO_BIG, mtu_bytes=1280), {}),
        (replace(PEER, mtu=Mtu.TOO_BIG, mtu_bytes=1279), {"mtu": Level.WARNING}),
        (replace(PEER, ahead=5.0), {}),
        (replace(PEER, ahead=5.1), {"clock": Level.WARNING}),
        (replace(PEER, ahead=-5.1), {"clock": Level.WARNING}),
        (replace(PEER, ahead=-600.1), {"clock": Level.ERROR}),
        (replace(PEER, ahead=7200.0), {"clock": Level.WARNING}),
        (replace(PEER, ahead=None), {}),
    ],
)
def test_the_way_to_the_master(peer: Peer, found: dict[str, Level]) -> None:
    assert levels(replace(HEALTHY, peers=(peer,))) == found


def test_one_address_of_the_master_that_answers_is_enough() -> None:
    dead = Peer(Address("10.0.0.9", 50051), failure="no answer in time", ping=False)
    assert levels(replace(HEALTHY, peers=(dead, PEER))) == {}
    both = of(replace(HEALTHY, peers=(dead, dead)), "grpc-port")
    assert both.level is Level.ERROR
    assert "10.0.0.9:50051: no answer in time" in both.seen


@pytest.mark.parametrize(
    ("resolves", "failure", "level"),
    [
        (True, "refused", Level.OK),
        (None, "", Level.OK),  # /etc/hosts was quicker than the name server
        (False, "unknown", Level.ERROR),
        (None, None, Level.ERROR),
    ],
)
def test_dns(resolves: bool | None, failure: str | None, level: Level) -> None:
    peer = Peer(Address("master.example", 50051), resolves=resolves, failure=failure)
    assert network.dns(peer).level is level


def test_a_clock_that_was_never_set_needs_no_master_to_be_told() -> None:
    assert levels(replace(HEALTHY, now=0.0))["clock"] is Level.ERROR


@pytest.mark.parametrize(
    ("listeners", "level"),
    [
        ((), Level.OK),
        ((Listener("tcp", "piccolo", True), Listener("udp", "piccolo", True)), Level.OK),
        ((Listener("tcp", "nginx", False),), Level.ERROR),
        ((Listener("tcp", "piccolo", True), Listener("udp", "", False)), Level.ERROR),
        (None, Level.OK),
    ],
)
def test_the_port_of_a_master_is_free_or_ours(
    listeners: tuple[Listener, ...] | None, level: Level
) -> None:
    facts = replace(AS_MASTER, listeners=listeners)
    assert of(facts, "listen-port").level is level
    ids = {finding.id for finding in rules.judge(facts)}
    assert ids.isdisjoint({"grpc-port", "ping", "dns", "mtu", "etcd-port"})


def test_etcd_is_looked_at_where_it_is_configured() -> None:
    up = Peer(Address("a", 2379), failure="")
    down = Peer(Address("b", 2379), failure="Connection refused")
    site = replace(AS_MASTER.site, etcd=(up.address, down.address))
    for etcd, level in (
        ((up, up), Level.OK),
        ((up, down), Level.WARNING),
        ((down, down), Level.ERROR),
    ):
        assert of(replace(AS_MASTER, site=site, etcd=etcd), "etcd-port").level is level


@pytest.mark.parametrize(
    ("role", "begun", "ends", "level"),
    [
        (NodeRole.SUB, -80, 20, Level.OK),
        (NodeRole.SUB, -81, 19, Level.WARNING),
        (NodeRole.SUB, -50, -1, Level.WARNING),
        (NodeRole.SUB, -90, -31, Level.ERROR),
        (NodeRole.MASTER, -90, -31, Level.WARNING),
    ],
)
def test_certificates(role: NodeRole, begun: int, ends: int, level: Level) -> None:
    certificates = [
        Certificate("ca.crt", NOW - DAY, NOW + 999 * DAY),
        Certificate("own.crt", NOW + begun * DAY, NOW + ends * DAY),
    ]
    found = rules.certificate(role, NOW, certificates)
    assert found.level is level
    assert found.seen.startswith("own.crt ")


def test_a_certificate_that_is_missing_or_cannot_be_read_is_no_fault() -> None:
    assert rules.certificate(NodeRole.SUB, NOW, []).level is Level.OK
    assert not rules.certificate(NodeRole.SUB, NOW, [Certificate("c", None, None)]).checked


def test_a_wrong_configuration_is_an_error_that_says_what_is_wrong() -> None:
    site = Site(NodeRole.SUB, "x.yaml", "/var/lib/piccolo", problem="x.yaml:1:1: no")
    found = of(replace(HEALTHY, site=site, peers=()), "config")
    assert (found.level, found.seen) == (Level.ERROR, "x.yaml:1:1: no")


def test_whatever_is_not_well_comes_with_a_fix() -> None:
    bad = Facts(
        site=SITE,
        now=0.0,
        machine=Machine(99.0, 1, 1.0),
        disks=(FileSystem("/", 99.0, 99.0, False),),
        kernel=Kernel(0, frozenset(), frozenset(), False, False, False),
        user=replace(ALICE, subuids=0),
        podman=Podman(True, "4.3.1", None),
        peers=(Peer(MASTER, failure="refused", ping=False),),
        certificates=(Certificate("c", 0.0, -99 * DAY),),
    )
    findings = [finding for finding in rules.judge(bad) if finding.level is not Level.OK]
    assert len(findings) == 14
    assert all(finding.fix for finding in findings)
