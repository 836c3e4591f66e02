"""A store in memory, for tests of what stands above it: it can be made to fail, and it counts.

It passes the contract of all stores (`test_memory_store`), except that nothing survives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from piccolo.core.errors import Unavailable
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Put, Snapshot
from piccolo.store.changelog import ChangeLog
from piccolo.store.rules import check, conflict, key_bytes, key_range


class MemoryStore:
    def __init__(self) -> None:
        self.commits: list[Sequence[Operation]] = []  # all that came through
        self.away = ""  # why every call fails
        self.answers_lost = False  # commits come through, but the caller does not hear of it
        self.gate = asyncio.Event()  # commits wait for it
        self.gate.set()
        self._entries: dict[str, Entry] = {}
        self._log = ChangeLog(0, max_changes=100_000, max_bytes=1 << 30)

    @property
    def entries(self) -> dict[str, Entry]:
        return self._entries

    async def get(self, key: str) -> Entry | None:
        key_bytes(key)
        await self._asked()
        return self._entries.get(key)

    async def list(self, prefix: str) -> Snapshot:
        key_range(prefix)
        await self._asked()
        found = [e for k, e in self._entries.items() if k.startswith(prefix)]
        found.sort(key=lambda entry: entry.key.encode())
        return Snapshot(tuple(found), self._log.revision)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        await self._asked()
        await self.gate.wait()
        for condition in conditions:
            entry = self._entries.get(condition.key)
            if (found := entry.revision if entry else 0) != condition.revision:
                raise conflict(condition, found)
        self.commits.append(operations)
        self._apply(operations)
        if self.answers_lost:
            raise Unavailable("the store did not answer in time")
        return self._log.revision

    def _apply(self, operations: Sequence[Operation]) -> None:
        revision = self._log.revision + 1
        changes = []
        for operation in operations:
            if isinstance(operation, Put):
                self._entries[operation.key] = Entry(operation.key, operation.value, revision)
                changes.append(Change(operation.key, operation.value, revision))
            elif self._entries.pop(operation.key, None) is not None:
                changes.append(Change(operation.key, None, revision))
        if changes:
            self._log.append(changes, revision)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        while True:
            changes, after = self._log.since(after), self._log.revision
            for change in changes:
                if change.key.startswith(prefix):
                    yield change
            await self._log.news(after)

    async def compact(self, revision: int) -> None:
        self._log.trim(revision)

    async def close(self) -> None:
        self._log.close(Unavailable("the store is closed"))

    def reopened(self) -> MemoryStore:
        """What the next master finds."""
        fresh = MemoryStore()
        fresh._apply([Put(e.key, e.value) for e in self._entries.values()])
        return fresh

    def written(self, prefix: str) -> int:
        """How many operations there were on keys with this prefix."""
        return sum(o.key.startswith(prefix) for c in self.commits for o in c)

    def forced(self, key: str, value: bytes | None) -> None:
        """Somebody else changes a key."""
        self._apply([Delete(key) if value is None else Put(key, value)])

    async def _asked(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable(self.away)
