"""The board that the planner works at: what is asked, assigned and seen, and the steps so far.

What a ready node is still to stop keeps its room until the node no longer reports it: its port is
not free before. What has changed, or is to, keeps what it had until then (`changing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from piccolo.core.planning.candidate import Candidate
from piccolo.core.planning.changing import Changing, Earlier, arrange
from piccolo.core.planning.copies import Seen, by_workload
from piccolo.core.planning.needs import Needs, needs_of
from piccolo.core.planning.placement import Places, mismatch
from piccolo.core.planning.steps import Step, Verb, step
from piccolo.core.workloads.declared import Assignment, Declared, Past
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
        history: Mapping[str, Sequence[Past]],
        held: Iterable[tuple[str, str]],
        lost: Collection[tuple[str, str]],
    ) -> None:
        self.declared = {name: declared[name] for name in sorted(declared)}
        self.nodes = {n.node_id: n for n in sorted(nodes, key=lambda n: (n.name, n.node_id))}
        self.seen = seen
        self.ready_for = ready_for
        self.blocked = blocked
        self.lost = lost
        self.earlier = Earlier(history)
        self.there: dict[str, set[tuple[str, str]]] = {}  # on ready nodes, by workload
        for node_id, key in (*seen, *held):
            if node_id in self.nodes and self.nodes[node_id].ready:
                self.there.setdefault(key.rpartition(".")[0], set()).add((node_id, key))
        self._eligible: dict[str, Eligible] = {}
        self._needs: dict[str, Needs] = {}
        self._specs: dict[str, str] = {}

    def changing(self, declared: Declared, a: Assignment) -> Changing | None:
        """What of before is in the way of others, if anything is."""
        workload, status = declared.workload, self.seen.get((a.node_id, a.key))
        may = workload.name not in self.blocked or a.node_id not in self.eligible(workload)
        return self.earlier.changing(declared, a, status, self.needs(workload), may=may)

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
        changing: list[Changing] = []
        for name, declared in at.declared.items():
            needs = at.needs(declared.workload)
            held = {(a.node_id, a.key): a for a in self.assigned.get(name, ())}
            for (node_id, key), a in held.items():
                if node_id in at.nodes:
                    self.places.take(node_id, key, name, needs)
                    if (one := at.changing(declared, a)) is not None:
                        changing.append(one)
            for place in at.there.get(name, set()) - held.keys():
                self._leaving.setdefault(name, set()).add(place)
                still = at.earlier.still(name, needs, at.seen.get(place))
                self.places.take(*place, name, needs + still, leaving=True)
        self._swapping = arrange(self.places, changing)

    def leaving(self, name: str) -> Set[tuple[str, str]]:
        return self._leaving.get(name, frozenset())

    def waits(self, a: Assignment, needs: Needs) -> bool:
        """Whether it changes only after others: what they have still is in its way."""
        place = a.node_id, a.key
        return place not in self._swapping and bool(self.places.waits_for(*place, needs))

    def swap_node(self, a: Assignment) -> str:
        """Of a copy that changes together with others there; empty: it does not. Workloads go
        through these in the same order, so that few at a time still finish a node."""
        return a.node_id if (a.node_id, a.key) in self._swapping else ""

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
