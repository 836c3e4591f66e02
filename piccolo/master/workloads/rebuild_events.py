"""Events of a rebuild: what was newer on the nodes than in the backup, and who is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from piccolo.core import words
from piccolo.core.model import Node, Severity
from piccolo.core.workloads.adoption import CAUSE, Note
from piccolo.core.workloads.declared import Assignment
from piccolo.core.workloads.instances import instance_key
from piccolo.master import keys
from piccolo.master.event_log import EventLog
from piccolo.master.keys import Restored
from piccolo.master.state_manager import StateManager

NAMED = 5  # nodes, workloads or secrets in a message


def waiting(restored: Restored, missing: Sequence[Node], left: float) -> str:
    """What is waited for, and `left` s for how long; for people."""
    seconds = f"{math.ceil(left)} s"
    if missing:
        whom = f"waiting for {words.some([n.name for n in missing], NAMED)}, {seconds} at most"
    elif restored.backup_at is None:
        whom = f"nothing is started, changed or stopped for {seconds} more"
    else:
        whom = f"waiting {seconds} more for nodes that joined after it"
    return f"rebuilding from {restored.source}: {whom}"


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

    def ended(self, restored: Restored, returned: Sequence[Node], missing: Sequence[Node]) -> None:
        """`returned` have told what they run, `missing` have not."""
        said = [f"from {words.some([n.name for n in returned], NAMED) or 'no node'}"]
        if missing:
            said.append(
                f"{words.some([n.name for n in missing], NAMED)} did not come back: what they run"
                " is taken over when they do; piccolo remove node, if they never will"
            )
        lacking = self._lacking()
        if lacking:
            said.append(f"on no node that came back, so started: {words.some(lacking, NAMED)}")
        if restored.backup_at is None and not returned:
            said.append(
                "no node has joined in time: one that does later brings what it holds all the same"
            )
        severity = Severity.WARNING if said[1:] else Severity.INFO
        self._events.add(severity, "master", "store", "Rebuilt", "; ".join(said))

    def _lacking(self) -> list[str]:
        """Copies of workloads that nodes brought, which none of them has."""
        found = []
        for name, declared in self._state.declared().items():
            workload = declared.workload
            asked = declared.active and declared.deleting_since is None
            if asked and declared.cause == CAUSE and not workload.one_per_node:
                there = {a.index for a in self._state.copies(name)[0]}
                found += [instance_key(name, i) for i in range(workload.replicas) if i not in there]
        return found

    def returned(self, restored: Restored, node: Node, notes: Sequence[Note]) -> None:
        """`notes`: what was not known before."""
        self._troubles.pop(node.id, None)
        for note in notes:
            self._events.add(note.severity, note.kind, note.name, note.reason, note.message)
        if notes:
            names = words.some(list(dict.fromkeys(n.name for n in notes)), NAMED)
            message = f"it came back with what differs from the backup: {names}"
            if restored.backup_at is None:
                message = f"it brought what it holds: {names}"
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
