"""Specifications that no real container shows; `test_podman_changes` has the others."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from piccolo.core.workloads.containers import (
    Container,
    Device,
    Mount,
    MountKind,
    Port,
    Protocol,
    Resources,
    Security,
)
from piccolo.core.workloads.workload import Network, NetworkMode
from piccolo.runtime.base import Bind, ContainerRequest, PodRequest
from piccolo.runtime.podman import libpod_spec

ASKED = Container("main", "img")
REQUEST = ContainerRequest("web.0.main", {"a": "b"}, ASKED, Network())
PORTS = (Port(80), Port(53, 5353, Protocol.UDP, "127.0.0.1"))
PUBLISHED = {"container_port": 53, "host_port": 5353, "host_ip": "127.0.0.1", "protocol": "udp"}
UNPRIVILEGED = {"net.ipv4.ip_unprivileged_port_start": "0"}


def made(**asked: Any) -> libpod_spec.Spec:
    return libpod_spec.container(replace(REQUEST, container=replace(ASKED, **asked)))


def test_the_least() -> None:
    assert made() == {
        "name": "web.0.main",
        "image": "img",
        "labels": {"a": "b"},
        "env": {},
        "restart_policy": "no",
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "size": 10_000_000},
        "mounts": [],
        "volumes": [],
        "privileged": False,
        "read_only_filesystem": False,
        "no_new_privileges": True,
        "cap_drop": ["ALL"],
        "cap_add": [],
        "sysctl": UNPRIVILEGED,
        "portmappings": [],
    }


def test_networks() -> None:
    def network(**asked: Any) -> libpod_spec.Spec:
        return libpod_spec.pod(PodRequest("web.0", {}, Network(**asked), PORTS))

    named = {"hostname": "box", "dns_servers": ("10.9.9.9",), "hosts": {"db": "10.1.1.1"}}
    told = {"hostname": "box", "dns_server": ["10.9.9.9"], "hostadd": ["db:10.1.1.1"]}
    pod = {"name": "web.0", "labels": {}}
    assert network() == {**pod, "sysctl": UNPRIVILEGED, "portmappings": [PUBLISHED]}
    assert network(name="mine", **named) == {
        **pod,
        **told,
        "sysctl": UNPRIVILEGED,
        "netns": {"nsmode": "bridge"},
        "Networks": {"mine": {}},
        "portmappings": [PUBLISHED],
    }
    # The node's own network: its ports are the container's anyhow, and its settings are the node's.
    assert network(mode=NetworkMode.HOST, **named) == {**pod, **told, "netns": {"nsmode": "host"}}
    assert network(mode=NetworkMode.NONE, **named) == {
        **pod,
        "hostname": "box",
        "sysctl": UNPRIVILEGED,
        "netns": {"nsmode": "none"},
    }


def test_in_a_pod_the_network_is_the_pods() -> None:
    asked = replace(ASKED, ports=PORTS)
    spec = libpod_spec.container(replace(REQUEST, container=asked, network=None, pod="web.0"))
    assert spec["pod"] == "web.0"
    assert not {"netns", "portmappings", "hostname", "sysctl"} & spec.keys()


def test_privileged_means_it() -> None:
    spec = made(security=Security(privileged=True))
    assert (spec["privileged"], spec["no_new_privileges"]) == (True, False)
    assert not {"cap_drop", "cap_add"} & spec.keys()
    assert made(security=Security(new_privileges=True))["no_new_privileges"] is False


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGTERM", signal.SIGTERM), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37)],
)
def test_signals(name: str, number: int) -> None:
    assert made(stop_signal=name)["stop_signal"] == number


def test_limits() -> None:
    assert made(resources=Resources(cpu=1.5))["resource_limits"] == {
        "cpu": {"quota": 150_000, "period": 100_000}
    }
    assert made(resources=Resources(cpu=0.001))["resource_limits"]["cpu"]["quota"] == 1000
    assert "resource_limits" not in made(resources=Resources(reserved_cpu=1.0, reserved_memory=9))


def test_mounts_and_devices() -> None:
    mounts = (
        Mount("/h", MountKind.HOST, "/host", read_only=True),
        Mount("/v", MountKind.VOLUME, "vol", read_only=True),
        Mount("/s", MountKind.SCRATCH, "tmp"),
        Mount("/t", MountKind.TMPFS),
    )
    asked = replace(ASKED, mounts=mounts, devices=(Device("/dev/a", "/dev/b", "rw"),))
    request = replace(REQUEST, container=asked, binds=(Bind("/f", "/etc/f"),), scratch="web.0.")
    spec = libpod_spec.container(request)
    assert [(m["destination"], m["source"], m["options"]) for m in spec["mounts"]] == [
        ("/h", "/host", ["rbind", "ro"]),
        ("/t", "tmpfs", ["rw", "nosuid", "nodev", "mode=1777"]),
        ("/etc/f", "/f", ["rbind", "ro", "z"]),
    ]
    assert spec["volumes"] == [
        {"Name": "vol", "Dest": "/v", "Options": ["ro"]},
        {"Name": "web.0.tmp", "Dest": "/s", "Options": []},
    ]
    assert spec["devices"] == [{"path": "/dev/a:/dev/b:rw"}]
    assert libpod_spec.scratch_volumes(request) == ["web.0.tmp"]


def test_a_secret_value_wins_over_a_plain_one_and_is_not_shown() -> None:
    request = replace(
        REQUEST, container=replace(ASKED, env={"A": "1", "B": "2"}), secret_env={"B": "hidden"}
    )
    assert libpod_spec.container(request)["env"] == {"A": "1", "B": "hidden"}
    assert "hidden" not in repr(request)
