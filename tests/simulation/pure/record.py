"""The store of a simulated master, and what a master knows.

`Store` outlives masters. What was committed is on it at once; what was observed gets there a moment
later, and what is not there when the master is killed is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from piccolo.core.errors import Conflict
from piccolo.core.model import Node, NodeStatus, Secret
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.master import keys

T = TypeVar("T")
Place = tuple[str, str]  # a node's id and an instance's key
Values = Mapping[str, object | None]  # None: it is deleted
Conditions = Mapping[str, int]  # the revision that a key must have


@dataclass(slots=True)
class Store:
    epoch: int = 0  # how many masters started on it
    revision: int = 0
    revisions: dict[str, int] = field(default_factory=dict)
    workloads: dict[str, Declared] = field(default_factory=dict)
    pasts: dict[str, dict[int, Past]] = field(default_factory=dict)
    assignments: dict[Place, Assignment] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    statuses: dict[str, NodeStatus] = field(default_factory=dict)  # observed
    seen: dict[Place, InstanceStatus] = field(default_factory=dict)  # observed

    def commit(self, values: Values, conditions: Conditions) -> None:
        """All of it or nothing. Raises `Conflict`."""
        for key, revision in conditions.items():
            if self.revisions.get(key, 0) != revision:
                raise Conflict(f"somebody changed {key}")
        self.revision += 1
        for key, value in values.items():
            table, name = self._place(key)
            if value is None:
                table.pop(name, None)
                self.revisions.pop(key, None)
            else:
                table[name] = value
                self.revisions[key] = self.revision

    def _place(self, key: str) -> tuple[dict[Any, Any], Any]:
        kind, *rest = key.split("/")
        match f"{kind}/", rest:
            case keys.WORKLOAD, [name]:
                return self.workloads, name
            case keys.HISTORY, [name, number]:
                return self.pasts.setdefault(name, {}), int(number)
            case keys.ASSIGNMENT, [node_id, instance]:
                return self.assignments, (node_id, instance)
            case keys.NODE, [node_id]:
                return self.nodes, node_id
            case keys.SECRET, [name]:
                return self.secrets, name
        raise AssertionError(f"nothing of the kind is committed: {key}")


class Record:
    """What one master knows: as its StateManager, for drafts and specs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.statuses = dict(store.statuses)
        self.seen = dict(store.seen)
        self._unwritten: dict[tuple[str, Any], Any] = {}  # by table and key; None: it is gone

    # ---- as a StateManager ----

    @property
    def revision(self) -> int:
        return self.store.revision

    def revision_of(self, key: str) -> int:
        return self.store.revisions.get(key, 0)

    def declared(self) -> dict[str, Declared]:
        return dict(self.store.workloads)

    def workload(self, name: str) -> Declared | None:
        return self.store.workloads.get(name)

    def history(self, name: str) -> list[Past]:
        return [past for _, past in sorted(self.store.pasts.get(name, {}).items())]

    def get(self, key: str, cls: type[T]) -> T | None:
        table, name = self.store._place(key)
        found = table.get(name)
        return found if isinstance(found, cls) else None

    # ---- besides ----

    def copies(self, name: str) -> tuple[list[Assignment], dict[Place, InstanceStatus]]:
        """The assignments of a workload, and what was seen of it."""
        assignments = [a for a in self.store.assignments.values() if a.workload == name]
        return assignments, {p: s for p, s in self.seen.items() if s.workload == name}

    def observe_instance(self, place: Place, status: InstanceStatus | None) -> None:
        if status is None:
            self.seen.pop(place, None)
        else:
            self.seen[place] = status
        self._unwritten["seen", place] = status

    def observe_node(self, node_id: str, status: NodeStatus) -> None:
        self.statuses[node_id] = self._unwritten["statuses", node_id] = status

    def write(self) -> None:
        """What was observed is on the store from now on."""
        for (name, key), value in self._unwritten.items():
            table: dict[Any, Any] = self.store.seen if name == "seen" else self.store.statuses
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        self._unwritten.clear()
