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
        self._keys: dict[str, set[str]] = {}  # of instances, by node

    def has(self, node_id: str, keys: Collection[str]) -> None:
        """The agent of this node may have these, and no others."""
        less = not self._keys.get(node_id, set()) <= set(keys)
        self._keys[node_id] = set(keys)
        if less and self.freed is not None:
            self.freed()

    def with_these(self, assignments: Iterable[Assignment]) -> list[Place]:
        """All, and these, which may be told at any moment."""
        for a in assignments:
            self._keys.setdefault(a.node_id, set()).add(a.key)
        return [(node_id, key) for node_id, keys in self._keys.items() for key in keys]
