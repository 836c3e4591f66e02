"""The mirror as a `Store`; how it is loaded, run and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set

from piccolo.core.errors import InvalidSpec, PiccoloError, Unavailable
from piccolo.store.base import Change, Condition, Entry, Operation, Snapshot, Store
from piccolo.store.known import Known
from piccolo.store.mirror import epoch as epochs
from piccolo.store.mirror.epoch import EPOCH_KEY, refuse_own
from piccolo.store.mirror.follower import Follower
from piccolo.store.mirror.health import Health
from piccolo.store.mirror.memory import Memory
from piccolo.store.mirror.rewriting import rewrite
from piccolo.store.mirror.write_behind import WriteBehind
from piccolo.store.mirror.writer import Writer, operation_for, value_of
from piccolo.store.rules import check, check_operation, conflict

CLOSE_SECONDS = 2.0

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
        found = [entry for entry in snapshot.entries if entry.key != EPOCH_KEY]
        self._backing = backing
        self._memory = Memory(found, epochs.first_revision(epoch))
        self._health = Health(on_degraded)
        self._writer = Writer(backing, epoch, Known(found), self._health)
        self._write_behind = WriteBehind(self._writer)
        self._follower = Follower(snapshot.revision, self._writer, self._write_behind, self._memory)
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
        return cls(backing, snapshot, await epochs.begin(backing, snapshot), on_degraded)

    @property
    def backing(self) -> Store:
        return self._backing

    # ---- reading ----

    @property
    def revision(self) -> int:
        return self._memory.revision

    @property
    def degraded(self) -> str | None:
        """Why the engine could not be used when that was last tried; None: it could."""
        return self._health.degraded

    async def get(self, key: str) -> Entry | None:
        return self._memory.get(key)

    async def list(self, prefix: str) -> Snapshot:
        return self._memory.list(prefix)

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        return self._memory.watch(prefix, after)

    # ---- writing ----

    def observe(self, key: str, value: bytes | None, *, durable: bool = True) -> int:
        """Make `value` visible at once; None: the key is gone. Returns the key's revision.

        `durable`: write it to the engine soon. Raises `InvalidSpec` as `commit` does.
        """
        _check_seen({key: value})
        self._memory.show([Change(key, value, 0)])
        if durable:
            self._write_behind.add({key: value})
        return self._memory.revision_of(key) or self.revision

    def promise(self, values: Mapping[str, bytes | None]) -> int:
        """Make all of it visible at once, as a commit does, and write it to the engine soon.

        For what is durable elsewhere already. Returns the revision after it.
        """
        _check_seen(values)
        self._write_behind.add(values)
        return self._memory.show([Change(k, v, 0) for k, v in values.items()], always=True)

    async def written(self, keys: Set[str]) -> None:
        """Wait until what was observed or promised of `keys` is in the engine."""
        await self._write_behind.written(keys)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        check(operations, conditions)
        keys = {item.key for item in (*operations, *conditions)}
        refuse_own(keys)
        await self._writer.turn(keys)
        if self._closing.is_set():
            raise Unavailable("the store is closed")
        for condition in conditions:
            if (found := self._memory.revision_of(condition.key)) != condition.revision:
                raise conflict(condition, found)
        known = self._writer.known
        stored_at = await self._writer.write(
            operations, [known.condition(condition.key) for condition in conditions]
        )
        self._write_behind.drop(operation.key for operation in operations)
        return self._memory.show(
            [Change(o.key, value_of(o), stored_at) for o in operations], always=True
        )

    async def rewrite(self, keys: Iterable[str]) -> int:
        """Have the engine store again what it has under `keys`, as it is.

        For a layer below that stores the same bytes in another way now. Nobody sees a change:
        values and the mirror's revisions stay. Returns how many were written. Raises
        `Unavailable`; some may have been written then.
        """
        return await rewrite(keys, self._writer, self._follower)

    async def compact(self, revision: int) -> None:
        if revision > self.revision:
            raise InvalidSpec(
                f"cannot compact up to revision {revision}: the store is at {self.revision}"
            )
        self._memory.forget(revision)
        await self._backing.compact(self._follower.revision)

    async def scrub(self) -> str:
        self._memory.forget(self.revision)
        return await self._backing.scrub()

    # ---- running ----

    async def run(self) -> None:
        """Write what is observed and follow what others change, until the mirror is closed.

        Raises `StaleGeneration` when another master has taken the store; nothing else.
        """
        self._idle.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                children = [
                    tasks.create_task(self._write_behind.run(), name="store flusher"),
                    tasks.create_task(self._follower.run(), name="store follower"),
                    tasks.create_task(self._health.probe(self._backing), name="store probe"),
                ]
                await self._closing.wait()
                for child in children:
                    child.cancel()
        except ExceptionGroup as group:  # they all found out the same
            raise group.exceptions[0] from None
        finally:
            self._idle.set()

    async def close(self) -> None:
        """Write what is pending, for at most two seconds, and close the engine."""
        self._closing.set()
        await self._idle.wait()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._write_behind.flush()
        except (PiccoloError, TimeoutError) as error:
            log.warning(
                "%d observations were not written: %s", len(self._write_behind.pending), error
            )
        self._memory.close()
        await self._backing.close()


def _check_seen(values: Mapping[str, bytes | None]) -> None:
    for key, value in values.items():
        check_operation(operation_for(key, value))
    refuse_own(values)
