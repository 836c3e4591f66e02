"""Events of what the master decides about workloads: once each, whenever something changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from piccolo.core import words
from piccolo.core.model import Severity
from piccolo.core.planning.planner import Step, Verb
from piccolo.core.workloads.declared import Assignment
from piccolo.master.event_log import EventLog
from piccolo.master.rounds import Slices
from piccolo.master.state_manager import StateManager

KIND = "workload"
_FEW = 5  # copies that a message names
_REASON = {Verb.START: "Placed", Verb.REPLACE: "Updated", Verb.STOP: "Retracted"}

Place = tuple[str, str]  # a node's id and an instance's key
Places = Mapping[Place, Assignment]


class WorkloadEvents:
    def __init__(self, state: StateManager, events: EventLog) -> None:
        self._state = state
        self._events = events
        self._unplaced: Mapping[str, str] = {}

    def unplaced(self, reasons: Mapping[str, str]) -> None:
        """Workloads that lack a place, with the reason."""
        for name, reason in reasons.items():
            if self._unplaced.get(name) != reason:
                self._events.add(Severity.WARNING, KIND, name, "Unplaceable", reason)
        self._unplaced = dict(reasons)

    async def done(
        self, steps: Iterable[Step], before: Places, after: Places, slices: Slices
    ) -> None:
        """Of those steps that are carried out: one event for each workload, verb and reason."""
        found: dict[tuple[str, Verb, str], list[Step]] = defaultdict(list)
        for step in steps:
            place = step.node_id, step.assignment.key
            wanted = None if step.verb is Verb.STOP else step.assignment
            if before.get(place) != after.get(place) == wanted:
                found[step.workload, step.verb, step.reason].append(step)
        for (name, verb, reason), together in found.items():
            copies = self._copies(together)
            message = copies if verb is Verb.START else f"{copies}: {reason}"
            self._events.add(Severity.INFO, KIND, name, _REASON[verb], message)
            await slices.next()

    def deleted(self, names: Iterable[str], there: Collection[str]) -> None:
        for name in names:
            if name not in there:
                self._events.add(
                    Severity.INFO, KIND, name, "Deleted", "it and its history are gone"
                )

    def _copies(self, steps: Sequence[Step]) -> str:
        named = [f"{s.assignment.key} on {self._node_name(s.node_id)}" for s in steps]
        return words.some(named, _FEW)

    def _node_name(self, node_id: str) -> str:
        node = self._state.node(node_id)
        return node.name if node else node_id
