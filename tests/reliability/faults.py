"""All that can be broken, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.reliability.outcome import Effort, Row
from tests.reliability.scenarios import ALL
from tests.reliability.scenarios.scenario import tried
from tests.reliability.scenarios.stage import Stage


def run(effort: Effort) -> Iterator[Row]:
    """A master and three nodes, each with a container of a workload; one fault after the other.
    Times count from the fault, as a client sees it that watches from beside the master. During each
    fault the containers run on, untouched, and no other node becomes NotReady. Then the fault is
    ended, nobody helps, and the cluster must be whole again in the time that is given: all nodes
    Ready, with their Podman; all workloads as asked, those that were declared meanwhile too; in the
    same containers, unless the machine is another one; the last write that was acknowledged is
    there, and a new one is taken. "Refused" means that a client ends with exit code 4.
    """
    with ExitStack() as stack:
        stage: Stage | None = None
        for scenario in ALL:
            if effort.quick and not scenario.quick:
                continue
            if stage is None or stage.store != scenario.store:
                stack.close()
                stage = stack.enter_context(Stage(scenario.store))
            row = tried(stage, scenario)
            yield row
            if row.broken or scenario.for_good:
                stage = None
