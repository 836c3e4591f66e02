"""A master on etcd, and an etcd that is away."""

from __future__ import annotations

from tests.e2e.asking import RETURNED
from tests.reliability.scenarios.scenario import Scenario
from tests.reliability.scenarios.stage import Stage

RECOVERED = 12.0  # s: the master looks at its store every 10 s
LEASE = 10.0  # s: the next master waits until the lease of the last one has run out
STARTED = 5.0  # s


def _kill(stage: Stage) -> str:
    stage.begin().kill("master", "etcd")
    return stage.refused()


def _stop(stage: Stage) -> str:
    stage.begin().stop("master", "etcd")
    return stage.refused()


def _freeze(stage: Stage) -> str:
    stage.begin().freeze("master", "etcd")
    return stage.refused()


def _restart(stage: Stage) -> str:
    stage.begin().restart("master", "etcd")
    return f"restarted in {stage.took:.1f} s"


def _kill_master(stage: Stage) -> str:
    stage.begin().kill("master")
    return stage.client_is_told()


REFUSED = "writes are refused, reads served from memory"

SCENARIOS = (
    Scenario("kill -9 etcd", REFUSED, RECOVERED, _kill, "etcd"),
    Scenario("stop etcd (SIGTERM)", REFUSED, RECOVERED, _stop, "etcd"),
    Scenario("freeze etcd", REFUSED, RECOVERED, _freeze, "etcd"),
    Scenario("restart etcd", "nobody is disturbed", RECOVERED, _restart, "etcd"),
    Scenario(
        "kill -9 the master, on etcd",
        "clients are told; the next master waits for the lease of the last, up to 10 s",
        LEASE + RETURNED + STARTED,
        _kill_master,
        "etcd",
    ),
)
