"""Whether the cluster is as it was asked to be: compared from end to end, from what people were
promised to the containers on the nodes. A judge for both simulations, by a rule of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from piccolo.core.model import Container, NodeState
from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.copies import Seen, is_outdated, status_of
from piccolo.core.planning.placement import mismatch
from piccolo.core.planning.planner import Plan
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.dependencies import state_of
from piccolo.core.workloads.dependency_rule import meets
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    InstanceStatus,
    Phase,
    pod_hash,
)
from piccolo.core.workloads.workload import RestartPolicy, Workload
from piccolo.master.workloads.instance_specs import Spec

_AT_REST = (Phase.RUNNING, Phase.WAITING, Phase.COMPLETED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, on both sides. `held` None: its agent does not run."""

    id: str
    name: str
    state: NodeState
    held: Mapping[str, int] | None  # what it is to run, as its agent has it: digests by key
    reported: int  # digest of what it reports, as the agent has it
    known: int  # … and as the master has it
    containers: Callable[[], Sequence[Container]]  # ours, as they are
    left: Callable[[], Collection[str]]  # names of what else there is of instances


@dataclass(frozen=True, slots=True)
class View:
    """A cluster. `assignments`, `seen` and `declared` are what the master has."""

    nodes: Sequence[NodeView]
    declared: Mapping[str, Declared]
    assignments: Sequence[Assignment]
    seen: Seen
    plan: Callable[[], Plan]
    candidates: Callable[[], Sequence[Candidate]]
    spec_of: Callable[[Assignment], Spec | None]
    missing: Callable[[Workload], str]  # which secret is, if any

    def copies(self, name: str) -> list[Assignment]:
        return [a for a in self.assignments if a.workload == name]


def unsettled(view: View) -> str:
    """Why it is not as asked; empty: it is."""
    return next(_reasons(view), "")


def _reasons(view: View) -> Iterator[str]:
    for node in view.nodes:
        if node.state is not NodeState.READY:
            yield f"{node.name} is {node.state}"
    for node in view.nodes:
        yield from _told(view, node)
    plan = view.plan()
    if plan.steps or plan.gone:
        yield f"there is something to do: {plan.steps} {plan.gone}"
    if plan.wake_after is not None:
        yield f"there may be something to do in {plan.wake_after:g} s"
    for one in view.declared.values():
        yield from _placed(view, one, plan)
    for node in view.nodes:
        yield from _there(view, node)


def _placed(view: View, one: Declared, plan: Plan) -> Iterator[str]:
    """By a rule of its own, as far as there is room, or nobody says that there is none."""
    workload, name = one.workload, one.workload.name
    copies = view.copies(name)
    if one.deleting_since is not None:
        yield f"{name} is still there, though it was deleted"
    elif not one.active:
        if copies:
            yield f"{name} is not launched, but assigned"
    else:
        if name not in plan.unplaced:
            yield from _current(one, copies, view.seen)
        roomy = not any(m.ports for m in workload.containers) and not view.missing(workload)
        if roomy or name not in plan.unplaced:
            fits = [n for n in view.candidates() if not mismatch(workload.placement, n)]
            yield from _as_many(one, copies, view.seen, fits)


def _current(one: Declared, copies: list[Assignment], seen: Seen) -> Iterator[str]:
    if any(is_outdated(a, one) for a in copies) and not _held_up(one, copies, seen):
        yield f"{one.workload.name} has copies that are outdated: generation {one.generation}"


def _held_up(one: Declared, copies: list[Assignment], seen: Seen) -> bool:
    """One that changed already and cannot be well, say for want of a dependency, keeps others."""
    return any(
        (status := status_of(a, seen)) is not None
        and status.generation == a.generation
        and not is_outdated(a, one)
        and status.phase in (Phase.WAITING, Phase.FAILED)
        for a in copies
    )


def _as_many(
    one: Declared, copies: list[Assignment], seen: Seen, eligible: Sequence[Candidate]
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


def _told(view: View, node: NodeView) -> Iterator[str]:
    """Master and agent say the same, of what is asked and of what is there."""
    if node.held is None:
        yield f"the agent of {node.name} does not run"
        return
    specs = {a.key: view.spec_of(a) for a in view.assignments if a.node_id == node.id}
    known = {key: spec.digest for key, spec in specs.items() if spec is not None}
    held = node.held
    strange = held.keys() - specs.keys()
    if strange or any(held.get(key) != digest for key, digest in known.items()):
        yield f"{node.name} holds {sorted(held)} and not {sorted(specs)}, or not as they are meant"
    if node.reported != node.known:
        yield f"{node.name} reports something else than the master has"


def _there(view: View, node: NodeView) -> Iterator[str]:
    """The containers."""
    wanted = {a.key: a for a in view.assignments if a.node_id == node.id}
    containers = node.containers()
    for container in containers:
        if container.labels[LABEL_INSTANCE] not in wanted:
            yield f"{container.name} is left on {node.name}"
    for name in node.left():
        if not any(name == key or name.startswith(f"{key}.") for key in wanted):
            yield f"{name} is left on {node.name}"
    for (node_id, key), left in view.seen.items():
        if node_id == node.id and key not in wanted:
            yield f"{key} on {node.name} is {left.phase}, though it is not to be there"
    for key, a in wanted.items():
        spec, status = view.spec_of(a), view.seen.get((node.id, key))
        if spec is None:  # a secret of it is gone, so it stays as its agent has it
            if status is not None and status.phase not in _AT_REST:
                yield f"{key} on {node.name} is {status.phase}"
        elif status is None:
            yield f"nothing is known of {key} on {node.name}"
        else:
            yield from _well(view, a, spec, status, f"{key} on {node.name}", containers)


def _well(
    view: View,
    a: Assignment,
    spec: Spec,
    status: InstanceStatus,
    where: str,
    containers: Sequence[Container],
) -> Iterator[str]:
    workload = spec.workload
    policy = workload.restart.policy
    if status.generation != a.generation:
        yield f"{where} tells of generation {status.generation}, not {a.generation}"
    if status.phase is Phase.WAITING and _waits(view, workload):
        return  # for what cannot be
    if status.phase is Phase.FAILED and policy is RestartPolicy.NEVER:
        return
    if status.phase is Phase.COMPLETED and policy is not RestartPolicy.ALWAYS:
        return
    if status.phase is not Phase.RUNNING or not status.ready:
        yield f"{where} is {status.phase} {status.reason} {status.message}"
    elif status.hash != pod_hash(workload, spec.secrets, a.restarts):
        yield f"{where} has other containers than are asked for"
    running = {
        container.labels[LABEL_CONTAINER]
        for container in containers
        if container.labels[LABEL_INSTANCE] == a.key and container.state == "running"
        if container.labels[LABEL_HASH] == status.hash
    }
    if status.phase is Phase.RUNNING and not running:
        yield f"{where} is said to run, but nothing does"
    if policy is RestartPolicy.ALWAYS and not {m.name for m in workload.containers} <= running:
        yield f"{where} is said to run, but there are only {sorted(running)}"


def _waits(view: View, workload: Workload) -> bool:
    for needed in workload.depends_on:
        name = needed.workload
        found = state_of(name, view.copies(name), view.seen, view.declared.get(name))
        if not meets(found, needed.condition):
            return True
    return False
