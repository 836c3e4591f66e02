"""Machines that are exchanged, or there twice."""

from __future__ import annotations

from tests.e2e.asking import BACK, DETECTED, connected, nodes
from tests.e2e.workloads import Cluster
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, Stage

JOINED = 15.0  # s


def _replace(stage: Stage) -> str:
    stage.begin().replace(NODE)
    stage.may_be_lost(NODE)
    said = stage.ends(stage.lab.agents[NODE], "belongs to another node", "piccolo remove node")
    return f"{stage.lost([NODE], 'ConnectionClosed')}; its agent: {said}"


def _replace_for_good(stage: Stage) -> str:
    _replace(stage)
    stage.lab.piccolo("remove", "node", NODE)
    begun = stage.took
    stage.lab.start_agent(NODE)
    stage.until(lambda: _is_connected(stage), JOINED + begun, "it has not joined")
    stage.cluster = Cluster(stage.lab)  # the node has another id now
    return f"joined {stage.took - begun:.1f} s after `piccolo remove node`"


def _is_connected(stage: Stage) -> bool:
    return NODE in nodes(stage.lab) and connected(stage.lab, NODE)


def _clone(stage: Stage) -> str:
    before = nodes(stage.lab)[NODE]["generation"]
    stage.begin().clone(NODE)
    seen = stage.event("DuplicateIdentity", NODE, 2 * DETECTED)
    stage.stays_ready(DETECTED)
    assert stage.generation(NODE) == before, "the original lost its session"
    twin = stage.lab.podman[stage.lab.names[-1]]  # the machine that was added last
    running = len(twin.podman("ps", "--quiet").stdout.split())
    return f"{seen}; the copy runs {running} container of its own"


SCENARIOS = (
    Scenario(
        "replace a node's machine: same name, empty disk",
        "the new machine is refused, and says why; the old one, back again, starts its workloads",
        BACK + 5.0,
        _replace,
        fresh=True,
    ),
    Scenario(
        "clone a node's machine",
        "the copy is refused and reported, the node not disturbed; the copy starts what its disk"
        " says, as any node that is cut off",
        BACK,
        _clone,
    ),
    Scenario(
        "replace a node's machine, `piccolo remove node`",
        f"the new machine joins within {JOINED:g} s, and runs what the old one ran",
        BACK,
        _replace_for_good,
        fresh=True,
        for_good=True,
    ),
)
