"""The network: cut, lossy, reset."""

from __future__ import annotations

from tests.e2e.asking import BACK, RETURNED
from tests.lab.net import Direction
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, NODES, Stage

REASONS: dict[Direction, str] = {"both": "Silent", "in": "Deaf", "out": "Silent"}
LOSSY = 15.0  # s


def _cut(stage: Stage, direction: Direction = "both") -> str:
    stage.begin().cut(NODE, direction)
    return stage.lost([NODE], REASONS[direction])


def _cut_and_declare(stage: Stage) -> str:
    seen = _cut(stage)
    stage.declare("later")
    assert not stage.cluster.status("later"), "it cannot be there yet"
    return f"{seen}; the workload waits"


def _cut_master(stage: Stage) -> str:
    stage.begin().cut("master")
    return f"all {stage.lost(NODES, 'Silent')}"


def _loss(stage: Stage, host: str) -> str:
    stage.begin().loss(host, 20)
    return stage.stays_ready(LOSSY)


def _reset(stage: Stage) -> str:
    before = stage.generation(NODE)
    assert stage.begin().reset(NODE) > 0
    return stage.session_is_new(NODE, before, RETURNED)


def _reset_master(stage: Stage) -> str:
    before = {name: stage.generation(name) for name in NODES}
    assert stage.begin().reset("master") >= len(NODES)
    return [stage.session_is_new(name, before[name], RETURNED) for name in NODES][-1]


AGAIN = f"connected again within {RETURNED:g} s, Ready throughout"

SCENARIOS = (
    Scenario("cut a node, both ways", "NotReady (Silent) within 5 s", BACK, _cut, quick=True),
    Scenario(
        "cut what goes to a node",
        "NotReady (Deaf) within 5 s",
        BACK,
        lambda stage: _cut(stage, "in"),
    ),
    Scenario(
        "cut what comes from a node",
        "NotReady (Silent) within 5 s",
        BACK,
        lambda stage: _cut(stage, "out"),
    ),
    Scenario(
        "cut a node, declare a workload for it",
        "the workload waits, and starts when the node is back",
        BACK + 2.0,
        _cut_and_declare,
    ),
    Scenario("cut the master", "all nodes NotReady (Silent) within 5 s", BACK, _cut_master),
    Scenario(
        "lose 20 % of a node's packets, 15 s",
        "Ready throughout",
        BACK,
        lambda stage: _loss(stage, NODE),
    ),
    Scenario(
        "lose 20 % of the master's packets, 15 s",
        "all nodes Ready throughout",
        BACK,
        lambda stage: _loss(stage, "master"),
    ),
    Scenario("reset a node's connections", AGAIN, BACK, _reset, quick=True),
    Scenario("reset the master's connections", AGAIN, BACK, _reset_master),
)
