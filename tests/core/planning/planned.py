"""A cluster on paper for the tests of the planner: nodes, agents that do as they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from piccolo.core.planning.planner import Candidate, Plan, Verb, applied, plan
from piccolo.core.planning.rollout import UNPROBED_READY
from piccolo.core.workloads.containers import Container, Port, Resources
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import InstanceStatus, Phase, spec_hash
from piccolo.core.workloads.workload import Dependency, Update, UpdateStrategy, Workload

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RECREATE = Update(UpdateStrategy.RECREATE)


def node(name: str, *, ready: bool = True, **labels: str) -> Candidate:
    return Candidate(f"id-{name}", name, labels, ready=ready)


def workload(
    name: str = "web",
    *,
    image: str = "i:1",
    memory: int = 0,
    cpu: float = 0.0,
    port: int = 0,
    depends_on: tuple[str, ...] = (),
    **more: Any,
) -> Workload:
    """`memory`: MiB set aside for it."""
    resources = Resources(reserved_memory=memory << 20, reserved_cpu=cpu)
    ports = (Port(80, port),) if port else ()
    container = Container("main", image, resources=resources, ports=ports)
    needs = tuple(map(Dependency, depends_on))
    return Workload(name, (container,), depends_on=needs, **more)


@dataclass
class Cluster:
    """Its agents act only when asked to: `obey`."""

    nodes: list[Candidate]
    declared: dict[str, Declared] = field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    seen: dict[tuple[str, str], InstanceStatus] = field(default_factory=dict)
    ready_for: dict[tuple[str, str], float] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[Past]] = field(default_factory=dict)
    held: set[tuple[str, str]] = field(default_factory=set)
    lost: set[tuple[str, str]] = field(default_factory=set)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)  # by name and generation

    def declare(self, *workloads: Workload, **more: Any) -> None:
        for one in workloads:
            before = self.declared.get(one.name)
            generation = before.generation + 1 if before else 1
            restarts = before.restarts if before else 0
            if before:
                past = Past(before.workload, before.generation, NOW)
                self.history.setdefault(one.name, []).append(past)
            made = Declared(one, generation, NOW, NOW, restarts=restarts)
            self.declared[one.name] = replace(made, **more)
            self.hashes[one.name, generation] = spec_hash(one)

    def change(self, name: str, **fields: Any) -> None:
        """Of what is declared of it beside the spec."""
        self.declared[name] = replace(self.declared[name], **fields)

    def delete(self, *names: str) -> None:
        for name in names:
            self.change(name, deleting_since=NOW)

    def set_node(self, name: str, **fields: Any) -> None:
        self.nodes = [replace(n, **fields) if n.name == name else n for n in self.nodes]

    def ask(self) -> Plan:
        return plan(
            self.declared,
            self.assignments,
            self.nodes,
            self.seen,
            ready_for=self.ready_for,
            blocked=self.blocked,
            history=self.history,
            held=self.held,
            lost=self.lost,
        )

    def act(self) -> Plan:
        """Plan, carry it out, and see that nothing is left to do."""
        found = self.ask()
        places = [(s.node_id, s.workload, s.index) for s in found.steps]
        assert len(places) == len(set(places)), "one step for each instance"
        self._check_verbs(found)
        self.assignments = applied(self.assignments, found.steps)
        again = self.ask()
        assert again.steps == ()
        assert (again.unplaced, again.gone) == (found.unplaced, found.gone)
        for name in found.gone:
            del self.declared[name]
        return found

    def _check_verbs(self, found: Plan) -> None:
        held = {(a.node_id, a.key) for a in self.assignments}
        for step in found.steps:
            assert (step.verb is not Verb.START) == ((step.node_id, step.assignment.key) in held)
            assert step.reason

    def obey(self, *names: str, **fields: Any) -> None:
        """The agents of the ready nodes, or of these, have done as they were told.

        Beside the defaults, a running container that has been well for as long as it must without
        a probe, statuses get `fields`.
        """
        ids = {n.node_id for n in self.nodes if n.ready and (not names or n.name in names)}
        self.seen = {place: s for place, s in self.seen.items() if place[0] not in ids}
        for a in self.assignments:
            if a.node_id in ids:
                status = InstanceStatus(
                    a.workload, a.index, a.generation, Phase.RUNNING, ready=True
                )
                self.seen[a.node_id, a.key] = replace(status, hash=self.hash(a), **fields)
                self.ready_for.setdefault((a.node_id, a.key), UNPROBED_READY)

    def hash(self, a: Assignment) -> str:
        return f"{self.hashes[a.workload, a.generation]}-0-{a.restarts}"

    def settle(self, most: int = 50) -> list[list[str]]:
        """Act and obey until nothing happens; what was done in each round."""
        story: list[list[str]] = []
        for _ in range(most):
            done = [self.text(s) for s in self.act().steps]
            before = dict(self.seen)
            self.obey()
            if not done and self.seen == before:
                return story
            story += [done] if done else []
        raise AssertionError(f"it never ends: {story[-3:]}")

    def text(self, step: Any) -> str:
        return f"{step.verb} {step.workload}.{step.index} {step.node_id.removeprefix('id-')}"

    def where(self, name: str = "web") -> dict[int, str]:
        """Node by index; for workloads with one on each node use `nodes_of`."""
        mine = [a for a in self.assignments if a.workload == name]
        assert len({a.index for a in mine}) == len(mine)
        return {a.index: a.node_id.removeprefix("id-") for a in mine}

    def nodes_of(self, name: str = "web") -> list[str]:
        return sorted(a.node_id.removeprefix("id-") for a in self.assignments if a.workload == name)

    def status(self, name: str, index: int = 0, **fields: Any) -> None:
        """The agent says otherwise of this instance."""
        for place, status in self.seen.items():
            if (status.workload, status.index) == (name, index):
                self.seen[place] = replace(status, **fields)


def cluster(*names: str, **nodes: Mapping[str, Any]) -> Cluster:
    return Cluster([node(name) for name in names] + [node(n, **m) for n, m in nodes.items()])
