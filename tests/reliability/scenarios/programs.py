"""Agents, Podmans and the master: killed, stopped, frozen, restarted."""

from __future__ import annotations

import time

from tests.e2e.asking import BACK, RETURNED
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import NODE, Stage

STARTED = 5.0  # s for a program to start on a loaded machine
GOODBYE = 2.0  # s: it says so, there is nothing to wait for; but it takes a while to end
FROZEN = 8.0  # s: all agents give such a master up
NOTICED = 5.0  # s until the agent sees that its Podman is gone
HANGS = 5.0  # s
# A request that hangs is given up after 20 s, and the next look at Podman may take 15 s to come.
PODMAN_BACK, PODMAN_THAWED = 20.0, 40.0


def _kill_agent(stage: Stage) -> str:
    stage.begin().kill(NODE)
    return stage.lost([NODE], "ConnectionClosed")


def _stop_agent(stage: Stage) -> str:
    stage.begin().stop(NODE)
    return stage.lost([NODE], "AgentStopped", GOODBYE)


def _freeze_agent(stage: Stage) -> str:
    stage.begin().freeze(NODE)
    return stage.lost([NODE], "Silent")


def _restart_agent(stage: Stage) -> str:
    before = stage.generation(NODE)
    stage.begin().restart(NODE)
    stage.may_be_lost(NODE)
    return stage.session_is_new(NODE, before, BACK)


def _kill_podman(stage: Stage) -> str:
    stage.begin().kill(NODE, "podman")
    return stage.condition(NODE, "RuntimeReady", False, NOTICED)


def _stop_podman(stage: Stage) -> str:
    stage.begin().stop(NODE, "podman")
    return stage.condition(NODE, "RuntimeReady", False, NOTICED)


def _freeze_podman(stage: Stage) -> str:
    stage.begin().freeze(NODE, "podman")
    stage.declare("waiting")
    seen = stage.stays_ready(HANGS)
    assert not stage.cluster.status("waiting").get("ready"), "it runs without a Podman"
    return f"{seen}, the workload waits"


def _restart_podman(stage: Stage) -> str:
    stage.begin().restart(NODE, "podman")
    stage.declare("after")
    return f"restarted in {stage.took:.1f} s"


def _kill_master(stage: Stage) -> str:
    stage.begin().kill("master")
    return stage.client_is_told()


def _stop_master(stage: Stage) -> str:
    stage.begin().stop("master")
    return stage.client_is_told()


def _freeze_master(stage: Stage) -> str:
    stage.begin().freeze("master")
    time.sleep(FROZEN)
    return "stood still"


def _restart_master(stage: Stage) -> str:
    stage.begin().restart("master")
    return f"serves again after {stage.took:.1f} s"


NOBODY = "all nodes Ready when it is back, none was blamed"

SCENARIOS = (
    Scenario(
        "kill -9 an agent", "NotReady (ConnectionClosed) within 5 s", BACK, _kill_agent, quick=True
    ),
    Scenario(
        "stop an agent (SIGTERM)",
        f"NotReady (AgentStopped) within {GOODBYE:g} s",
        BACK,
        _stop_agent,
    ),
    Scenario("freeze an agent", "NotReady (Silent) within 5 s", BACK, _freeze_agent, quick=True),
    Scenario("restart an agent", f"connected again within {BACK:g} s", BACK, _restart_agent),
    Scenario(
        "kill -9 Podman's service",
        f"RuntimeReady false within {NOTICED:g} s, node Ready throughout",
        PODMAN_BACK,
        _kill_podman,
        quick=True,
    ),
    Scenario(
        "stop Podman's service",
        f"RuntimeReady false within {NOTICED:g} s, node Ready throughout",
        PODMAN_BACK,
        _stop_podman,
    ),
    Scenario(
        "freeze Podman's service, declare a workload",
        "node Ready throughout, the workload waits until Podman answers",
        PODMAN_THAWED,
        _freeze_podman,
    ),
    Scenario(
        "restart Podman's service, declare a workload",
        "node Ready throughout, the workload runs",
        PODMAN_BACK,
        _restart_podman,
    ),
    Scenario(
        "kill -9 the master",
        f"clients are told; {NOBODY}",
        RETURNED + STARTED,
        _kill_master,
        quick=True,
    ),
    Scenario(
        "stop the master (SIGTERM)", f"clients are told; {NOBODY}", RETURNED + STARTED, _stop_master
    ),
    Scenario(f"freeze the master, {FROZEN:g} s", NOBODY, RETURNED + STARTED, _freeze_master),
    Scenario("restart the master", NOBODY, RETURNED + STARTED, _restart_master),
)
