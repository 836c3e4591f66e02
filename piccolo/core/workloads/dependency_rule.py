"""Whether a dependency holds, as an agent sees it, with the master and without.

With the master connected its word counts, for it sees all nodes. Without it, a workload that has
instances on this node is judged by them; any other counts as holding if it ever held for just this
instance: what once started here is started again after a power cut, though nobody can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from piccolo.core.workloads.instances import DependencyState, InstanceStatus, Phase
from piccolo.core.workloads.workload import Dependency, DependencyCondition

_NEEDS = {
    DependencyCondition.RUNNING: "to run",
    DependencyCondition.HEALTHY: "to be healthy",
    DependencyCondition.COMPLETED: "to have completed",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the workload that a dependency names."""

    connected: bool  # and the master has said all that there is to say
    told: DependencyState | None = None  # by the master
    here: Sequence[InstanceStatus] | None = None  # of its instances on this node; None: has none
    held_once: bool = False  # for this instance with this hash


def meets(state: DependencyState, condition: DependencyCondition) -> bool:
    if condition is DependencyCondition.RUNNING:
        return state.running
    if condition is DependencyCondition.HEALTHY:
        return state.healthy
    return state.completed


def state_here(workload: str, instances: Sequence[InstanceStatus]) -> DependencyState:
    """By its instances on this node alone: all of them must be so."""
    return DependencyState(
        workload,
        running=all(i.phase is Phase.RUNNING for i in instances),
        healthy=all(i.phase is Phase.RUNNING and i.ready for i in instances),
        completed=all(i.phase is Phase.COMPLETED for i in instances),
    )


def waits_for(dependency: Dependency, known: Known) -> str:
    """What it waits for, for people; empty: the dependency holds."""
    needs = f"{dependency.workload} {_NEEDS[dependency.condition]}"
    if known.connected:
        if known.told is not None and meets(known.told, dependency.condition):
            return ""
        return f"waits for {needs}"
    if known.here is not None:
        state = state_here(dependency.workload, known.here)
        holds = meets(state, dependency.condition)
        return "" if holds else f"waits for {needs} on this node; the master is away"
    return "" if known.held_once else f"waits for {needs}, or for the master to say so"
