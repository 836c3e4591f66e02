"""The disk of the data directory: full, read-only, slow."""

from __future__ import annotations

from tests.e2e.asking import BACK, RETURNED
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, Stage

RECOVERED = 12.0  # s: the master looks at its store every 10 s
TAKEN = 12.0  # s: what an agent could not take over is sent again with its next heartbeat
SHORTAGE = 30.0  # s: the default of `thresholds.duration`
SHORT_WITHIN = SHORTAGE + 15.0  # s: seen with a heartbeat
SLOW = 10.0  # s
WRITES = 8  # a second; an fsync is two or three, and what is asked for takes several of those
TRIED = 5


def _fill_master(stage: Stage) -> str:
    stage.begin().fill("master")
    return stage.refused()


def _fail_master(stage: Stage) -> str:
    stage.begin().fail("master")
    return stage.refused()


def _slow_master(stage: Stage) -> str:
    stage.begin().slow("master", WRITES)
    took = []
    for _ in range(TRIED):
        began = stage.took
        stage.write()
        took.append(stage.took - began)
    return f"each of {TRIED} took {max(took):.1f} s at most"


def _not_taken(stage: Stage) -> str:
    stage.declare("homeless")
    return stage.event("WorkloadsNotTaken", NODE, 5.0)


def _fill_node(stage: Stage) -> str:
    stage.begin().fill(NODE)
    return _not_taken(stage)


def _fill_node_for_long(stage: Stage) -> str:
    stage.begin().fill(NODE)
    return stage.lost([NODE], "DiskShortage", SHORT_WITHIN)


def _fail_node(stage: Stage) -> str:
    stage.begin().fail(NODE)
    seen = _not_taken(stage)
    stage.check_nobody_else_lost()
    stage.may_be_lost(NODE)  # by its repair: nobody may use the disk meanwhile
    return seen


def _slow_node(stage: Stage) -> str:
    stage.begin().slow(NODE, WRITES)
    stage.declare("slowly")
    stage.cluster.wait_settled("slowly", within=SLOW)
    return f"a new workload runs after {stage.took:.1f} s"


REFUSED = "writes are refused, reads served from memory"
NOT_TAKEN = "node Ready; an event says that a new workload is not taken over, and why"

SCENARIOS = (
    Scenario("fill the master's disk", REFUSED, RECOVERED, _fill_master, quick=True),
    Scenario("master's disk turns read-only", REFUSED, RETURNED + 5.0, _fail_master),
    Scenario(
        f"master's disk slow: {WRITES} writes a second",
        "all nodes Ready; what is asked for takes longer, and is kept",
        3.0,
        _slow_master,
    ),
    Scenario("fill a node's disk", NOT_TAKEN, TAKEN, _fill_node),
    Scenario(
        "fill a node's disk for long",
        f"NotReady (DiskShortage) after {SHORTAGE:g} s of it, and for as long after it",
        SHORT_WITHIN,
        _fill_node_for_long,
    ),
    Scenario("a node's disk turns read-only", NOT_TAKEN, BACK + TAKEN, _fail_node, quick=True),
    Scenario(
        f"a node's disk slow: {WRITES} writes a second",
        f"node Ready; a new workload runs within {SLOW:g} s",
        3.0,
        _slow_node,
    ),
)
