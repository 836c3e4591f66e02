"""The master's view of its store: all of it in memory, in front of an engine that keeps it.

Reading never waits and never fails. There are two ways to write:

* `commit` is the engine's: what it wrote becomes visible once it is durable, or it raises.
* `observe` is visible at once, never fails and never waits. What is observed durably is written
  soon after, many keys together, and only where the bytes differ from what is stored; while the
  engine is away it waits here, the latest value of each key. The rest never leaves the memory.

Rules between the two:

* A commit supersedes what was observed of its keys before it returned.
* An observation waiting to be written is newer than anything the engine has of its key.
* Commits and writes of observations that share a key take turns, and observations are written on
  the condition that the key is still as it was last seen. So a write that was believed lost, but
  comes through late, cannot overwrite a newer one.

Changes that others make in the engine are followed, each key by itself: a transaction of theirs
may be seen in parts. Revisions are the mirror's own, not the engine's. Each mirror loaded from the
same engine begins above all revisions that the ones before it gave out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import aclosing
from dataclasses import replace

from piccolo.core.backoff import pause
from piccolo.core.errors import (
    Compacted,
    Conflict,
    InvalidSpec,
    PiccoloError,
    StaleGeneration,
    Unavailable,
)
from piccolo.store.base import Change, Condition, Delete, Entry, Operation, Put, Snapshot, Store
from piccolo.store.changelog import ChangeLog
from piccolo.store.known import Known
from piccolo.store.rules import (
    MAX_COMMIT_BYTES,
    MAX_CONDITIONS,
    check,
    check_operation,
    conflict,
    first_batch,
    key_range,
)

EPOCH_KEY = ".mirror"  # how often the store was loaded; rewritten to try whether it can be written
EPOCH_BITS = 40  # a mirror may live for that many changes
GATHER_SECONDS = 0.25  # how long observations are collected before they are written
PROBE_SECONDS = 10.0  # how often an engine that nothing is asked of is asked something
CLOSE_SECONDS = 2.0
LOG_CHANGES = 10_000
LOG_BYTES = 16_000_000

log = logging.getLogger(__name__)


class MirroredStore:
    """See `piccolo.store.base.Store`. Made by `load`; `run` has to be running."""

    def __init__(
        self,
        backing: Store,
        snapshot: Snapshot,
        epoch: int,
        on_degraded: Callable[[str | None], None],
    ) -> None:
        self._backing = backing
        self._epoch = epoch
        self._on_degraded = on_degraded
        revision = epoch << EPOCH_BITS
        self._log = ChangeLog(revision, max_changes=LOG_CHANGES, max_bytes=LOG_BYTES)
        found = [entry for entry in snapshot.entries if entry.key != EPOCH_KEY]
        self._entries = {e.key: Entry(e.key, e.value, revision) for e in found}
        self._known = Known(found)
        self._followed = snapshot.revision  # the engine's
        self._pending: dict[str, bytes | None] = {}
        self._busy: set[str] = set()  # keys that are being written
        self._freed = asyncio.Event()  # replaced each time keys are no longer busy
        self._work = asyncio.Event()  # for the flusher
        self._errors: dict[str, str] = {}  # why we last could not "write", "watch" or "read"
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()  # `run` is not running
        self._idle.set()

    @classmethod
    async def load(
        cls, backing: Store, *, on_degraded: Callable[[str | None], None] = lambda reason: None
    ) -> MirroredStore:
        """Take in all of `backing`, and own it from now on: closing the mirror closes it.

        `on_degraded` is called whenever `degraded` changes, with its new value.
        Raises what `backing` raises.
        """
        snapshot = await backing.list("")
        last = next((entry for entry in snapshot.entries if entry.key == EPOCH_KEY), None)
        try:
            epoch = int(last.value) + 1 if last else 1
        except ValueError as error:
            raise InvalidSpec(f'what the store holds under "{EPOCH_KEY}" is no number') from error
        at = Condition(EPOCH_KEY, last.revision if last else 0)
        await backing.commit([Put(EPOCH_KEY, b"%d" % epoch)], [at])
        return cls(backing, snapshot, epoch, on_degraded)

    @property
    def backing(self) -> Store:
        return self._backing

    # ---- reading ----

    @property
    def revision(self) -> int:
        return self._log.revision

    @property
    def degraded(self) -> str | None:
        """Why the engine could not be used when that was last tried; None: it could."""
        return next(iter(self._errors.values()), None)

    async def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    async def list(self, prefix: str) -> Snapshot:
        key_range(prefix)
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Snapshot(tuple(self._entries[key] for key in keys), self.revision)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        while True:
            changes, after = self._log.since(after), self._log.revision
            for change in changes:
                if change.key.startswith(prefix):
                    yield change
            await self._log.news(after)

    # ---- writing ----

    def observe(self, key: str, value: bytes | None, *, durable: bool = True) -> int:
        """Make `value` visible at once; None: the key is gone. Returns the key's revision.

        `durable`: write it to the engine soon. Raises `InvalidSpec` as `commit` does.
        """
        _check_seen({key: value})
        self._show([Change(key, value, 0)])
        if durable:
            self._pending[key] = value
            self._work.set()
        entry = self._entries.get(key)
        return entry.revision if entry else self.revision

    def promise(self, values: Mapping[str, bytes | None]) -> int:
        """Make all of it visible at once, as a commit does, and write it to the engine soon.

        For what is durable elsewhere already. Returns the revision after it.
        """
        _check_seen(values)
        self._pending.update(values)
        self._work.set()
        return self._show([Change(k, v, 0) for k, v in values.items()], always=True)

    async def written(self, keys: Set[str]) -> None:
        """Wait until what was observed or promised of `keys` is in the engine."""
        while not keys.isdisjoint(self._pending):
            await self._freed.wait()

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        keys = {item.key for item in (*operations, *conditions)}
        _refuse_own(keys)
        while not self._busy.isdisjoint(keys):
            await self._freed.wait()
        if self._closing.is_set():
            raise Unavailable("the store is closed")
        for condition in conditions:
            entry = self._entries.get(condition.key)
            if (found := entry.revision if entry else 0) != condition.revision:
                raise conflict(condition, found)
        stored_at = await self._write(
            operations, [self._known.condition(c.key) for c in conditions]
        )
        changes = []
        for operation in operations:
            self._pending.pop(operation.key, None)
            changes.append(Change(operation.key, _value(operation), stored_at))
        return self._show(changes, always=True)

    async def compact(self, revision: int) -> None:
        if revision > self.revision:
            raise InvalidSpec(
                f"cannot compact up to revision {revision}: the store is at {self.revision}"
            )
        self._log.trim(revision)
        await self._backing.compact(self._followed)

    async def scrub(self) -> str:
        self._log.trim(self.revision)
        return await self._backing.scrub()

    async def rewrite(self, keys: Iterable[str]) -> int:
        """Have the engine store again what it has under `keys`, as it is.

        For a layer below that stores the same bytes in another way now. Nobody sees a change:
        values and the mirror's revisions stay. Returns how many were written. Raises
        `Unavailable`; some may have been written then.
        """
        todo = dict.fromkeys(keys)
        count = 0
        if todo.pop(EPOCH_KEY, 0) is None:
            await self._write([Put(EPOCH_KEY, b"%d" % self._epoch)], [])
            count += 1
        while True:
            values = ((key, self._known.value(key)) for key in todo)
            batch = first_batch([Put(key, value) for key, value in values if value is not None])
            if not batch:
                return count
            if not self._busy.isdisjoint(put.key for put in batch):
                await self._freed.wait()
                continue
            try:
                await self._write(batch, [self._known.condition(put.key) for put in batch])
            except StaleGeneration:
                raise
            except Conflict:  # somebody else was there: what he wrote is stored again
                for put in batch:
                    entry = await self._backing.get(put.key)
                    if entry is None:
                        del todo[put.key]
                    else:
                        await self._take(Change(put.key, entry.value, entry.revision))
            else:
                count += len(batch)
                for put in batch:
                    del todo[put.key]

    async def close(self) -> None:
        """Write what is pending, for at most two seconds, and close the engine."""
        self._closing.set()
        await self._idle.wait()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._flush()
        except (PiccoloError, TimeoutError) as error:
            log.warning("%d observations were not written: %s", len(self._pending), error)
        self._log.close(Unavailable("the store is closed"))
        await self._backing.close()

    def _show(self, changes: Iterable[Change], *, always: bool = False) -> int:
        """Make changes visible as one transaction; `always`: even those that change no bytes.

        Returns the revision after it.
        """
        revision = self.revision + 1
        shown = []
        for change in changes:
            entry = self._entries.get(change.key)
            if change.value is None:
                if self._entries.pop(change.key, None) is None:
                    continue
            elif entry is not None and entry.value == change.value and not always:
                continue
            else:
                self._entries[change.key] = Entry(change.key, change.value, revision)
            shown.append(replace(change, revision=revision))
        if shown:
            self._log.append(shown, revision)
        return self.revision

    async def _write(self, operations: Sequence[Operation], conditions: Sequence[Condition]) -> int:
        """Commit to the engine, keeping other writers off the keys; returns its revision."""
        keys = {item.key for item in (*operations, *conditions)}
        self._busy |= keys
        try:
            revision = await self._backing.commit(operations, conditions)
        except BaseException as error:
            if not isinstance(error, Conflict | InvalidSpec):
                for operation in operations:
                    self._known.doubt(operation.key)
                if isinstance(error, PiccoloError):
                    self._report("write", error)
                    self._work.set()  # to find out when it is over
            raise
        else:
            for operation in operations:
                self._known.note(operation.key, _value(operation), revision)
            self._report("write", None)
            return revision
        finally:
            self._busy -= keys
            self._free()
            if self._pending:
                self._work.set()

    def _free(self) -> None:
        self._freed.set()
        self._freed = asyncio.Event()

    def _report(self, what: str, error: PiccoloError | None) -> None:
        """Take in how it went to "write", "watch" or "read"."""
        before = self.degraded
        if error is None:
            self._errors.pop(what, None)
        else:
            self._errors[what] = str(error)
        if self.degraded != before:
            if before is None or self.degraded is None:
                log.warning("the store: %s", self.degraded or "all is well again")
            self._on_degraded(self.degraded)

    # ---- behind the scenes ----

    async def run(self) -> None:
        """Write what is observed and follow what others change, until the mirror is closed.

        Raises `StaleGeneration` when another master has taken the store; nothing else.
        """
        self._idle.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                children = [
                    tasks.create_task(self._flush_forever(), name="store flusher"),
                    tasks.create_task(self._follow_forever(), name="store follower"),
                    tasks.create_task(self._probe_forever(), name="store probe"),
                ]
                await self._closing.wait()
                for child in children:
                    child.cancel()
        except ExceptionGroup as group:  # they all found out the same
            raise group.exceptions[0] from None
        finally:
            self._idle.set()

    async def _flush_forever(self) -> None:
        attempt = 0
        while True:
            await self._work.wait()
            await asyncio.sleep(pause(attempt, random.random()) if attempt else GATHER_SECONDS)
            self._work.clear()
            try:
                await self._flush()
                if "write" in self._errors:  # a commit failed: does the engine write again?
                    await self._write([Put(EPOCH_KEY, b"%d" % self._epoch)], [])
                attempt = 0
            except StaleGeneration:
                raise
            except PiccoloError as error:
                attempt += 1
                self._report("write", error)
                self._work.set()

    async def _flush(self) -> None:
        """Write all that is pending, except where a commit is under way."""
        while batch := self._batch():
            try:
                await self._write(
                    batch, [self._known.condition(operation.key) for operation in batch]
                )
            except StaleGeneration:
                raise
            except Conflict:  # we did not know all; now we ask, and write on top of it
                for operation in batch:
                    entry = await self._backing.get(operation.key)
                    value, revision = (entry.value, entry.revision) if entry else (None, 0)
                    self._known.note(operation.key, value, revision)
            else:
                for operation in batch:
                    key = operation.key
                    if key in self._pending and self._pending[key] is _value(operation):
                        del self._pending[key]
        self._free()  # what is pending may have turned out to be there

    def _batch(self) -> Sequence[Operation]:
        """As much of what is pending as one transaction can take."""
        batch: list[Operation] = []
        size = 0
        for key, value in tuple(self._pending.items()):
            if key in self._busy:
                continue
            if self._known.has(key, value):
                del self._pending[key]
                continue
            operation = Delete(key) if value is None else Put(key, value)
            size += check_operation(operation) + check_operation(Delete(key))  # and the condition
            if len(batch) == MAX_CONDITIONS or size > MAX_COMMIT_BYTES:
                break
            batch.append(operation)
        return batch

    async def _follow_forever(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            started = loop.time()
            try:
                if attempt:
                    await self._catch_up()
                self._report("watch", None)
                await self._follow()
            except StaleGeneration:
                raise
            except PiccoloError as error:
                if not isinstance(error, Compacted):
                    self._report("watch", error)
                attempt = 1 if loop.time() - started > 10.0 else attempt + 1
                log.info("reading the store again: %s", error)
                await asyncio.sleep(pause(attempt, random.random()))

    async def _probe_forever(self) -> None:
        """Notice an engine that goes away while nothing is to be written."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._backing.get(EPOCH_KEY)
            except StaleGeneration:
                raise
            except PiccoloError as error:
                self._report("read", error)
            else:
                self._report("read", None)

    async def _follow(self) -> None:
        async with aclosing(self._backing.watch("", self._followed)) as changes:
            async for change in changes:
                await self._take(change)
                self._known.told(change.revision)
                self._followed = change.revision - 1  # there may be more of the same transaction

    async def _catch_up(self) -> None:
        """Compare with all of the engine, because some changes can no longer be told."""
        snapshot = await self._backing.list("")
        for entry in snapshot.entries:
            await self._take(Change(entry.key, entry.value, entry.revision))
        present = {entry.key for entry in snapshot.entries}
        for key in self._known.held():
            if key not in present:
                await self._take(Change(key, None, snapshot.revision))
        self._known.told(snapshot.revision)
        self._followed = snapshot.revision

    async def _take(self, change: Change) -> None:
        """Take in what the engine says of a key, unless we know better."""
        while change.key in self._busy:
            await self._freed.wait()
        if change.key != EPOCH_KEY and self._known.is_news(change.key, change.revision):
            self._known.note(change.key, change.value, change.revision)
            if change.key not in self._pending:
                self._show([change])


def _value(operation: Operation) -> bytes | None:
    return operation.value if isinstance(operation, Put) else None


def _check_seen(values: Mapping[str, bytes | None]) -> None:
    for key, value in values.items():
        check_operation(Delete(key) if value is None else Put(key, value))
    _refuse_own(values)


def _refuse_own(keys: Iterable[str]) -> None:
    if EPOCH_KEY in keys:
        raise InvalidSpec(f'the store key "{EPOCH_KEY}" is the store\'s own')
