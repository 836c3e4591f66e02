"""What agents may have, whether they have reported it yet or not.

An instance that was assigned to a node may run there before its status has come. So a copy that is
taken from its node starts on another one only once the agent of the first certainly has not got it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from piccolo.core.workloads.declared import Assignment
from piccolo.master.workloads.events import Place


class Holdings:
    def __init__(self) -> None:
        self.freed: Callable[[], None] | None = None  # is told when an agent has less than before
        self._keys: dict[str, set[str]] = {}  # of instances, by node: it said so, or was told
        self._soon: dict[str, set[str]] = {}  # besides, what it may be told

    def has(self, node_id: str, keys: Collection[str]) -> None:
        """The agent of this node may have these, and no others."""
        less = not self._of(node_id) <= set(keys)
        self._soon.pop(node_id, None)
        self._keys[node_id] = set(keys)
        if less and self.freed is not None:
            self.freed()

    def with_these(self, assignments: Iterable[Assignment]) -> list[Place]:
        """All, and these, which may be told at any moment."""
        for a in assignments:
            self._soon.setdefault(a.node_id, set()).add(a.key)
        nodes = self._keys.keys() | self._soon.keys()
        return [(node_id, key) for node_id in nodes for key in self._of(node_id)]

    def lost(self, untold: Iterable[Assignment]) -> set[Place]:
        """Of these, which nobody can tell any more, those that their agents have not got."""
        return {
            (a.node_id, a.key)
            for a in untold
            if a.node_id in self._keys and a.key not in self._keys[a.node_id]
        }

    def _of(self, node_id: str) -> set[str]:
        return self._keys.get(node_id, set()) | self._soon.get(node_id, set())
