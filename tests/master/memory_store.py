"""A store in memory, for tests of what stands above it: it can be made to fail, and it counts.

It passes the contract of all stores (`test_memory_store`); what it holds outlives a master, not
the test.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from piccolo.core.errors import Conflict, Unavailable
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Put, Snapshot
from piccolo.store.changelog import ChangeLog
from piccolo.store.rules import check, conflict, key_bytes, key_range


class Disk:
    """What is there when the next master opens it."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.held = False

    @cached_property
    def directory(self) -> Path:
        """Where a master keeps what is not in its store, pki/ and audit/; a real one."""
        made = tempfile.mkdtemp(prefix="piccolo-disk-")
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return Path(made)

    def copy(self) -> Disk:
        """As it is now, held by nobody."""
        other = Disk()
        other.entries, other.revision = dict(self.entries), self.revision
        shutil.copytree(self.directory, other.directory, dirs_exist_ok=True)
        return other

    async def open(self) -> MemoryStore:
        if self.held:
            raise Conflict("another process holds this store")
        self.held = True
        return MemoryStore(self)


class MemoryStore:
    def __init__(self, disk: Disk) -> None:
        self.commits: list[Sequence[Operation]] = []  # all that came through
        self.away = ""  # why every call fails
        self.answers_lost = False  # commits come through, but the caller does not hear of it
        self.late: list[tuple[Sequence[Operation], Sequence[Condition]]] | None = None
        self.gate = asyncio.Event()  # commits wait for it
        self.gate.set()
        self._under_way: list[tuple[Sequence[Operation], Sequence[Condition]]] = []
        self._disk = disk
        self._log = ChangeLog(disk.revision, max_changes=100_000, max_bytes=1 << 30)
        self._closed = False

    async def get(self, key: str) -> Entry | None:
        key_bytes(key)
        await self._asked()
        return self._disk.entries.get(key)

    async def list(self, prefix: str) -> Snapshot:
        key_range(prefix)
        await self._asked()
        found = [e for k, e in self._disk.entries.items() if k.startswith(prefix)]
        found.sort(key=lambda entry: entry.key.encode())
        return Snapshot(tuple(found), self._log.revision)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        await self._asked()
        await self.gate.wait()
        if self.late is not None:
            self.late.append((operations, conditions))
            raise Unavailable("the store did not answer in time")
        for condition in conditions:
            entry = self._disk.entries.get(condition.key)
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
            key = operation.key
            if isinstance(operation, Put):
                self._disk.entries[key] = Entry(key, operation.value, revision)
                changes.append(Change(key, operation.value, revision))
            elif self._disk.entries.pop(key, None) is not None:
                changes.append(Change(key, None, revision))
        if changes:
            self._disk.revision = revision
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

    async def scrub(self) -> str:
        self._log.trim(self._log.revision)
        return ""

    async def close(self) -> None:
        self._log.close(Unavailable("the store is closed"))
        if not self._closed:
            self._closed = True
            self._disk.held = False

    # ---- what happens to it ----

    def hold_up(self) -> None:
        """Commits are under way for long; who made them gives up."""
        self.late = []

    def answer(self) -> None:
        """Commits are answered again; those that are `late` are still under way."""
        self._under_way, self.late = self.late or [], None

    async def let_through(self) -> None:
        """What was under way arrives at last."""
        for operations, conditions in self._under_way:
            with suppress(Conflict):
                await self.commit(operations, conditions)

    def forced(self, key: str, value: bytes | None) -> None:
        """Somebody else changes a key."""
        self._apply([Delete(key) if value is None else Put(key, value)])

    def written(self, prefix: str) -> int:
        """How many operations there were on keys with this prefix."""
        return sum(o.key.startswith(prefix) for c in self.commits for o in c)

    async def _asked(self) -> None:
        await asyncio.sleep(0)
        if self._closed:
            raise Unavailable("the store is closed")
        if self.away:
            raise Unavailable(self.away)
