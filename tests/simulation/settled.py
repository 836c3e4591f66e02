"""Whether the cluster is as it was asked to be: compared from end to end, from what people were
promised to the containers on the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from piccolo.core.model import NodeState
from piccolo.core.planning.copies import Seen, is_outdated, status_of, tells_of
from piccolo.core.planning.placement import Candidate, mismatch
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.dependencies import state_of
from piccolo.core.workloads.dependency_rule import meets
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    InstanceStatus,
    Phase,
)
from piccolo.core.workloads.workload import RestartPolicy, Workload
from piccolo.master.cluster import Cluster
from tests.simulation.node import Node


def unsettled(c: Cluster, nodes: Mapping[str, Node]) -> str:
    """Why it is not as asked; empty: it is."""
    return next(_reasons(c, nodes), "")


def _reasons(c: Cluster, nodes: Mapping[str, Node]) -> Iterator[str]:
    for node in nodes.values():
        if c.state.status(node.id).state is not NodeState.READY:
            yield f"{node.name} is {c.state.status(node.id).state}"
    declared = c.state.declared()
    plan = c.actions._plan(declared)
    if plan.steps or plan.gone:
        yield f"there is something to do: {plan.steps} {plan.gone}"
    for one in declared.values():
        yield from _placed(c, one)
    for node in nodes.values():
        yield from _told(c, node)
        yield from _there(c, node)


def _placed(c: Cluster, one: Declared) -> Iterator[str]:
    """By a rule of its own, as far as there is room in any case."""
    workload, name = one.workload, one.workload.name
    copies, seen = c.state.copies(name)
    if one.deleting_since is not None:
        yield f"{name} is still there, though it was deleted"
    elif not one.active:
        if copies:
            yield f"{name} is not launched, but assigned"
    else:
        if name not in c.actions.unplaced:
            yield from _current(one, copies, seen)
        if not any(m.ports for m in workload.containers) and not c.actions._specs.missing(workload):
            fits = [n for n in c.actions._candidates() if not mismatch(workload.placement, n)]
            yield from _as_many(one, copies, seen, fits)


def _current(one: Declared, copies: list[Assignment], seen: Seen) -> Iterator[str]:
    if any(is_outdated(a, one) for a in copies) and not _held_up(one, copies, seen):
        yield f"{one.workload.name} has copies that are outdated: generation {one.generation}"


def _held_up(one: Declared, copies: list[Assignment], seen: Seen) -> bool:
    """One that changed already and cannot be well, say for want of a dependency, keeps others."""
    return any(
        (status := status_of(a, seen)) is not None
        and tells_of(status, a)
        and not is_outdated(a, one)
        and status.phase in (Phase.WAITING, Phase.FAILED)
        for a in copies
    )


def _as_many(
    one: Declared, copies: list[Assignment], seen: Seen, eligible: list[Candidate]
) -> Iterator[str]:
    workload = one.workload
    ids = {node.node_id for node in eligible}
    if workload.one_per_node:
        if {a.node_id for a in copies} != ids:
            yield f"{workload.name} is not on each of its nodes"
    elif ids and sorted(a.index for a in copies) != list(range(workload.replicas)):
        yield f"{workload.name} has {len(copies)} copies, not {workload.replicas}"
    held_up = _held_up(one, copies, seen)
    for a in copies:
        if ids and a.node_id not in ids and not held_up:
            yield f"{a.key} is on a node where it must not be"


def _told(c: Cluster, node: Node) -> Iterator[str]:
    """Master and agent say the same, of what is asked and of what is there."""
    if node.workloads is None or node.reporter is None:
        yield f"the agent of {node.name} does not run"
        return
    specs = {a.key: c.actions._specs.of(a) for a in c.state.assignments(node.id)}
    known = {key: spec.digest for key, spec in specs.items() if spec is not None}
    held = node.workloads.held()
    if held.keys() != specs.keys() or any(held[key] != known[key] for key in known):
        yield f"{node.name} holds {sorted(held)} and not {sorted(specs)}, or not as they are meant"
    if node.reporter.report.digest != c.reports.of(node.id).digest:
        yield f"{node.name} reports something else than the master has"


def _there(c: Cluster, node: Node) -> Iterator[str]:
    """The containers."""
    wanted = {a.key: a for a in c.state.assignments(node.id)}
    for container in node.runtime.ours():
        if container.labels[LABEL_INSTANCE] not in wanted:
            yield f"{container.name} is left on {node.name}"
    names = [path.name for path in (node.directory / "instances").iterdir()]
    for name in (*node.runtime.left, *names):
        if not any(name == key or name.startswith(f"{key}.") for key in wanted):
            yield f"{name} is left on {node.name}"
    seen = c.state.seen(node.id)
    for place, left in seen.items():
        if place[1] not in wanted:
            yield f"{place[1]} on {node.name} is {left.phase}, though it is not to be there"
    for key, a in wanted.items():
        spec, status = c.actions._specs.of(a), seen.get((node.id, key))
        if status is None:
            yield f"nothing is known of {key} on {node.name}"
        elif spec is not None:
            yield from _well(c, node, a, spec.workload, status)


def _well(
    c: Cluster, node: Node, a: Assignment, workload: Workload, status: InstanceStatus
) -> Iterator[str]:
    where = f"{a.key} on {node.name}"
    policy = workload.restart.policy
    if status.generation != a.generation:
        yield f"{where} tells of generation {status.generation}, not {a.generation}"
    if status.phase is Phase.WAITING and _waits(c, workload):
        return  # for what cannot be
    if status.phase is Phase.FAILED and policy is RestartPolicy.NEVER:
        return
    if status.phase is Phase.COMPLETED and policy is not RestartPolicy.ALWAYS:
        return
    if status.phase is not Phase.RUNNING or not status.ready:
        yield f"{where} is {status.phase} {status.reason} {status.message}"
    running = {
        container.labels[LABEL_CONTAINER]
        for container in node.runtime.ours()
        if container.labels[LABEL_INSTANCE] == a.key and container.state == "running"
        if container.labels[LABEL_HASH] == status.hash
    }
    if policy is RestartPolicy.ALWAYS and not {m.name for m in workload.containers} <= running:
        yield f"{where} is said to run, but there are only {sorted(running)}"


def _waits(c: Cluster, workload: Workload) -> bool:
    for needed in workload.depends_on:
        copies, seen = c.state.copies(needed.workload)
        found = state_of(needed.workload, copies, seen, c.state.workload(needed.workload))
        if not meets(found, needed.condition):
            return True
    return False
