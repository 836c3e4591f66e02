"""Events of a rebuild: what was newer on the nodes than in the backup, and who is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from piccolo.core import words
from piccolo.core.model import Node, Severity
from piccolo.core.workloads.adoption import Note
from piccolo.core.workloads.declared import Assignment
from piccolo.master import keys
from piccolo.master.event_log import EventLog
from piccolo.master.keys import Restored
from piccolo.master.state_manager import StateManager

NAMED = 5  # nodes, workloads or secrets in a message


class RebuildEvents:
    def __init__(self, state: StateManager, events: EventLog) -> None:
        self._state = state
        self._events = events
        self._troubles: dict[str, str] = {}  # by node: told once

    def began(self, restored: Restored, patience: float) -> None:
        message = (
            f"from {restored.source}. Nothing is started, changed or stopped until all nodes have"
            f" told what they run, for {patience:g} s at most"
        )
        if restored.backup_at is None:
            message = (
                f"from {restored.source}. For {patience:g} s nothing is started, changed or"
                " stopped: bring the nodes back until then (piccolo token create)"
            )
        self._events.add(Severity.WARNING, "master", "store", "Restored", message)

    def ended(self, missing: Sequence[Node]) -> None:
        message, severity = "the nodes have told what they run", Severity.INFO
        if missing:
            severity = Severity.WARNING
            message = (
                f"{words.some([n.name for n in missing], NAMED)} did not come back: what they run"
                " is taken over when they do; piccolo remove node, if they never will"
            )
        self._events.add(severity, "master", "store", "Rebuilt", message)

    def returned(self, node: Node, notes: Sequence[Note]) -> None:
        """`notes`: what differed from the backup."""
        self._troubles.pop(node.id, None)
        for note in notes:
            self._events.add(note.severity, note.kind, note.name, note.reason, note.message)
        if notes:
            names = words.some(list(dict.fromkeys(n.name for n in notes)), NAMED)
            message = f"it came back with what differs from the backup: {names}"
            self._events.add(Severity.INFO, "node", node.name, "Rebuilt", message, node.name)

    def trouble(self, node_id: str, error: str) -> None:
        """It does not tell what it runs."""
        if self._troubles.get(node_id) == error:
            return
        self._troubles[node_id] = error
        name = self._name(node_id)
        message = (
            f"it is not known what this node runs, so it is told nothing: {error}; it is asked"
            " again on its next session"
        )
        self._events.add(Severity.ERROR, "node", name, "NotRebuilt", message, name)

    def absent(self, copies: Iterable[Assignment]) -> None:
        """Their nodes came back without them; what no other node has brought is told."""
        for a in copies:
            declared = self._state.workload(a.workload)
            there = self._state.get(keys.assignment(a.node_id, a.key), Assignment)
            if there is not None and declared is not None and declared.deleting_since is None:
                message = (
                    f"{a.key} is in the backup, but {self._name(a.node_id)} had it no longer: it is"
                    f" started. If it was deleted since: piccolo delete workload {a.workload}"
                )
                self._events.add(Severity.WARNING, "workload", a.workload, "StartedAgain", message)

    def _name(self, node_id: str) -> str:
        node = self._state.node(node_id)
        return node.name if node else node_id
