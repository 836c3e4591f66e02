"""What instances are called, and what makes one another than before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from piccolo.core.planning.copies import is_outdated, is_well, same_containers, tells_of
from piccolo.core.workloads.containers import Container, HttpCheck, Port, Probe, Probes
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import (
    Instance,
    InstanceStatus,
    Phase,
    instance_key,
    pod_hash,
    spec_hash,
    sync_digest,
)
from piccolo.core.workloads.workload import (
    Dependency,
    Network,
    NetworkMode,
    Placement,
    Restart,
    RestartPolicy,
    Update,
    UpdateStrategy,
    Workload,
)
from tests.core.planning.planned import NOW

WEB = Workload("web", (Container("web", "i:1"),))
SECRETS = {"s/k": "dmFsdWU="}


def test_keys() -> None:
    assert instance_key("web", 3) == "web.3"
    assert Instance(WEB, 3, 1, "h").key == "web.3"
    assert InstanceStatus("web", 3, 1).key == Assignment("web", 3, "n", 1).key == "web.3"


@pytest.mark.parametrize(
    "other",
    [
        replace(WEB, containers=(Container("web", "i:2"),)),
        replace(WEB, containers=(Container("web", "i:1", ports=(Port(80, 80),)),)),
        replace(WEB, containers=(*WEB.containers, Container("two", "i:1"))),
        replace(WEB, init_containers=(Container("first", "i:1"),)),
        replace(WEB, labels={"a": "b"}),
        replace(WEB, network=Network(NetworkMode.HOST)),
    ],
)
def test_what_needs_containers_made_anew(other: Workload) -> None:
    assert pod_hash(other, SECRETS, 0) != pod_hash(WEB, SECRETS, 0)
    assert spec_hash(other) != spec_hash(WEB)


@pytest.mark.parametrize(
    "other",
    [
        replace(WEB, replicas=5),
        replace(WEB, one_per_node=True),
        replace(WEB, restart=Restart(RestartPolicy.NEVER)),
        replace(WEB, stop_grace=1.0),
        replace(WEB, depends_on=(Dependency("db"),)),
        replace(WEB, placement=Placement(("n",))),
        replace(WEB, update=Update(UpdateStrategy.RECREATE)),
        replace(WEB, package="p", held=True),
        replace(
            WEB,
            containers=(Container("web", "i:1", probes=Probes(Probe(http=HttpCheck(1)))),),
        ),
    ],
)
def test_what_leaves_the_containers_alone(other: Workload) -> None:
    assert pod_hash(other, SECRETS, 0) == pod_hash(WEB, SECRETS, 0)


def test_secrets_and_restarts_need_new_containers_too() -> None:
    usual = pod_hash(WEB, SECRETS, 0)
    others = [
        pod_hash(WEB, {}, 0),
        pod_hash(WEB, {"s/k": "b3RoZXI="}, 0),
        pod_hash(WEB, {"s/l": "dmFsdWU="}, 0),
        pod_hash(WEB, SECRETS, 1),
        pod_hash(WEB, SECRETS, 10),
    ]
    assert len({usual, *others}) == 6
    two = {"s/a": "1", "s/b": "2"}
    assert pod_hash(WEB, two, 0) == pod_hash(WEB, dict(reversed(two.items())), 0)


def test_the_same_secret_looks_different_in_another_workload() -> None:
    other = replace(WEB, labels={"a": "b"})
    middles = {pod_hash(w, SECRETS, 0).split("-")[1] for w in (WEB, other)}
    assert len(middles) == 2


def test_it_can_be_told_from_the_hash_what_the_containers_are() -> None:
    status = InstanceStatus("web", 0, 1, hash=pod_hash(WEB, SECRETS, 1))
    assert same_containers(status, spec_hash(WEB), 1)
    assert not same_containers(status, spec_hash(WEB), 0)
    assert not same_containers(status, spec_hash(WEB), 11)
    assert not same_containers(status, spec_hash(replace(WEB, labels={"a": "b"})), 1)
    assert not same_containers(replace(status, hash=""), spec_hash(WEB), 1), "there are none"


def test_what_a_status_tells_of() -> None:
    copy = Assignment("web", 0, "n", generation=2, restarts=1)
    status = InstanceStatus("web", 0, 2, hash=pod_hash(WEB, {}, 1))
    assert tells_of(status, copy)
    assert not tells_of(replace(status, generation=1), copy)
    assert not tells_of(replace(status, generation=3), copy)
    assert not tells_of(replace(status, hash=pod_hash(WEB, {}, 0)), copy)
    assert not tells_of(replace(status, hash=pod_hash(WEB, {}, 11)), copy)
    assert tells_of(replace(status, hash=""), copy)


def test_what_is_well() -> None:
    assert is_well(InstanceStatus("w", 0, 1, Phase.RUNNING, ready=True))
    assert not is_well(InstanceStatus("w", 0, 1, Phase.RUNNING))
    assert is_well(InstanceStatus("w", 0, 1, Phase.COMPLETED))
    assert not is_well(InstanceStatus("w", 0, 1, Phase.FAILED))


def test_what_is_outdated() -> None:
    declared = Declared(WEB, 2, NOW, NOW, restarts=1)
    assert not is_outdated(Assignment("web", 0, "n", 2, 1), declared)
    assert is_outdated(Assignment("web", 0, "n", 1, 1), declared)
    assert is_outdated(Assignment("web", 0, "n", 2, 0), declared)


def test_digests_are_of_all_that_travels() -> None:
    usual = sync_digest("web.0", b"spec", SECRETS)
    others = [
        sync_digest("web.1", b"spec", SECRETS),
        sync_digest("web.0", b"spec2", SECRETS),
        sync_digest("web.0", b"spec", {}),
        sync_digest("web.0", b"spec", {"s/k": "b3RoZXI="}),
    ]
    assert len({usual, *others}) == 5
    two = {"a/a": "1", "b/b": "2"}
    assert sync_digest("k", b"s", two) == sync_digest("k", b"s", dict(reversed(two.items())))
    assert 0 <= usual < 2**64
