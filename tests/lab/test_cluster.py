"""The lab as a whole, with the real program."""

from __future__ import annotations

import time

import pytest

from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.errors import LabError
from tests.lab.leftovers import leftovers


@pytest.mark.slow
def test_without_root_on_loopback() -> None:
    with LoopbackLab(["left", "right"]) as lab:
        lab.start_master()
        lab.start_agents()
        assert {node["name"]: node["status"] for node in lab.get("nodes")} == {
            "left": "Ready",
            "right": "Ready",
        }
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            lab.agents["right"].freeze()
            change = watch.wait_status("right", "NotReady", 15, since=begun)
            assert change.at > begun
            assert watch.since(change.at)[0] == change
            lab.agents["right"].thaw()
            watch.wait_status("right", "Ready", 15, since=change.at)
        with pytest.raises(LabError, match="no cable to cut"):
            lab.net.cut("left")
    assert leftovers(lab.site.id) == []


@pytest.mark.slow
def test_two_on_loopback_do_not_meet() -> None:
    with LoopbackLab(0) as one, LoopbackLab(0) as other:
        one.start_master()
        other.start_master()
        assert one.get("nodes") == other.get("nodes") == []
        assert one.address != other.address


@pytest.mark.slow
def test_failures_say_why() -> None:
    with LoopbackLab(0) as lab:
        with pytest.raises(LabError, match="piccolo get nodes --timeout 1: exit"):
            lab.piccolo("get", "nodes", "--timeout", "1")
        assert lab.piccolo("get", "nodes", "--timeout", "1", check=False).returncode != 0
        with pytest.raises(LabError, match=r"master on master ended \(\d+\); its log ends:"):
            lab.start_master(config="no: such key")
        lab.start_master()
        with lab.watch_nodes() as watch, pytest.raises(LabError, match="did not print"):
            watch.wait_status("nobody", "Ready", 0.1)


@pytest.mark.slow
@pytest.mark.needs_root
@pytest.mark.needs_podman
@pytest.mark.parametrize("store", ["sqlite", pytest.param("etcd", marks=pytest.mark.needs_etcd)])
def test_a_cut_cable_is_seen_and_healed(store: str) -> None:
    with Lab(2, store="etcd" if store == "etcd" else "sqlite") as lab:
        for node in lab.podman.values():
            node.run("hello")
        lab.start_master()
        lab.start_agents()
        assert {(c["node"], c["name"]) for c in lab.get("containers")} == {
            ("node1", "hello"),
            ("node2", "hello"),
        }
        assert {node["ip"] for node in lab.get("nodes")} == {h.ip for h in lab.nodes.values()}
        with lab.watch_nodes() as watch:
            begun = time.monotonic()
            lab.net.cut("node2")
            lost = watch.wait_status("node2", "NotReady", 15, since=begun)
            lab.net.heal("node2")
            watch.wait_status("node2", "Ready", 15, since=lost.at)
            changes = [(change.name, change.status) for change in watch.since(begun)]
            assert ("node1", "NotReady") not in changes
    assert leftovers(lab.site.id) == []
