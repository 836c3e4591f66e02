"""The board that the planner works at: what is asked, assigned and seen, and the steps so far.

What a ready node is still to stop keeps its room until the node no longer reports it: its port is
not free before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from piccolo.core.planning.copies import Seen, by_workload
from piccolo.core.planning.placement import Candidate, Needs, Places, mismatch, needs_of
from piccolo.core.planning.steps import Step, Verb, step
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import spec_hash
from piccolo.core.workloads.workload import Workload

Eligible = Mapping[str, Candidate]  # nodes where a workload may run, by id, in the order of names


class Situation:
    """What stays the same while a plan is made."""

    def __init__(
        self,
        declared: Mapping[str, Declared],
        nodes: Iterable[Candidate],
        seen: Seen,
        ready_for: Mapping[tuple[str, str], float],
        blocked: Mapping[str, str],
    ) -> None:
        self.declared = {name: declared[name] for name in sorted(declared)}
        self.nodes = {n.node_id: n for n in sorted(nodes, key=lambda n: (n.name, n.node_id))}
        self.seen = seen
        self.ready_for = ready_for
        self.blocked = blocked
        self.there: dict[str, set[tuple[str, str]]] = {}  # seen on ready nodes, by workload
        for (node_id, key), status in seen.items():
            if node_id in self.nodes and self.nodes[node_id].ready:
                self.there.setdefault(status.workload, set()).add((node_id, key))
        self._eligible: dict[str, Eligible] = {}
        self._needs: dict[str, Needs] = {}
        self._specs: dict[str, str] = {}

    def eligible(self, workload: Workload) -> Eligible:
        found = self._eligible.get(workload.name)
        if found is None:
            nodes, placement = self.nodes.items(), workload.placement
            found = {node_id: node for node_id, node in nodes if not mismatch(placement, node)}
            self._eligible[workload.name] = found
        return found

    def needs(self, workload: Workload) -> Needs:
        found = self._needs.get(workload.name)
        if found is None:
            found = self._needs[workload.name] = needs_of(workload)
        return found

    def spec_hash(self, workload: Workload) -> str:
        found = self._specs.get(workload.name)
        if found is None:
            found = self._specs[workload.name] = spec_hash(workload)
        return found


class Board:
    """`leaving`: what ready nodes still have, but are not to have."""

    def __init__(self, at: Situation, assignments: Sequence[Assignment]) -> None:
        self.at = at
        self.steps: list[Step] = []
        self.unplaced: dict[str, str] = {}
        self.assigned = by_workload(assignments)
        self.places = Places(at.nodes.values())
        self._leaving: dict[str, set[tuple[str, str]]] = {}
        for name, declared in at.declared.items():
            needs = at.needs(declared.workload)
            held = {(a.node_id, a.key) for a in self.assigned.get(name, ())}
            for node_id, key in held:
                if node_id in at.nodes:
                    self.places.take(node_id, key, name, needs)
            for node_id, key in at.there.get(name, set()) - held:
                self._leaving.setdefault(name, set()).add((node_id, key))
                self.places.take(node_id, key, name, needs, leaving=True)

    def leaving(self, name: str) -> Set[tuple[str, str]]:
        return self._leaving.get(name, frozenset())

    def start(self, declared: Declared, index: int, node: Candidate, reason: str) -> None:
        workload, generation = declared.workload, declared.generation
        a = Assignment(workload.name, index, node.node_id, generation, declared.restarts)
        self.places.take(node.node_id, a.key, workload.name, self.at.needs(workload))
        self.steps.append(step(Verb.START, a, reason))

    def replace(self, declared: Declared, a: Assignment, reason: str) -> None:
        generation, restarts = declared.generation, declared.restarts
        after = Assignment(a.workload, a.index, a.node_id, generation, restarts)
        self.steps.append(step(Verb.REPLACE, after, reason))

    def stop(self, copies: Iterable[Assignment], reason: str) -> None:
        for a in copies:
            self.steps.append(step(Verb.STOP, a, reason))
            if (a.node_id, a.key) in self.at.there.get(a.workload, ()):
                self._leaving.setdefault(a.workload, set()).add((a.node_id, a.key))
                self.places.leave(a.node_id, a.key)
