"""Cables of a real network: cut, and cut in one direction only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.asking import BACK, DETECTED, eventually
from tests.lab.cluster import Lab
from tests.lab.watch import Change, Watch

pytestmark = [pytest.mark.needs_root, pytest.mark.slow]

# A cut in each direction, seen from the node, and the reason that the master gives.
CUTS = {"both": "Silent", "out": "Silent", "in": "Deaf"}


@dataclass
class Network:
    lab: Lab
    watch: Watch


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A master and four nodes, asked by a client on the master's machine."""
    with Lab([*CUTS, "whole"], podman=False) as lab:
        lab.start_master()
        lab.start_agents()
        with lab.watch_nodes() as watch:
            yield Network(lab, watch)


@dataclass
class Cut:
    begun: float
    lost: dict[str, Change]
    healed: float
    back: dict[str, Change]
    told: list[Change]


@pytest.fixture(scope="module")
def cut(network: Network) -> Cut:
    """Each of the three nodes is cut in its way, all at once, and later healed."""
    lab, watch = network.lab, network.watch
    eventually(lambda: all(n["link"]["datagrams"] for n in lab.get("nodes")), 10)
    begun = time.monotonic()
    for direction in CUTS:
        lab.net.cut(direction, direction)  # type: ignore[arg-type]  # nodes are named like that
    lost = {n: watch.wait_status(n, "NotReady", 2 * DETECTED, since=begun) for n in CUTS}
    time.sleep(1.0)
    healed = time.monotonic()
    for name in CUTS:
        lab.net.heal(name)
    back = {n: watch.wait_status(n, "Ready", 2 * BACK, since=healed) for n in CUTS}
    return Cut(begun, lost, healed, back, watch.since(begun))


@pytest.mark.parametrize("direction", CUTS)
def test_a_cut_is_noticed(direction: str, cut: Cut) -> None:
    lost = cut.lost[direction]
    assert lost.at - cut.begun <= DETECTED
    assert lost.object["reason"] == CUTS[direction]


@pytest.mark.parametrize("direction", CUTS)
def test_a_healed_link_is_used_again(direction: str, cut: Cut) -> None:
    assert cut.back[direction].at - cut.healed <= BACK


def test_the_other_node_is_not_touched(cut: Cut) -> None:
    assert {c.status for c in cut.told if c.name == "whole"} <= {"Ready"}
