"""What was observed and waits to be written: the latest value of each key, soon and together.

While the engine is away it waits here, and is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence, Set

from piccolo.core.backoff import pause
from piccolo.core.errors import Conflict, PiccoloError, StaleGeneration
from piccolo.store.base import Delete, Operation
from piccolo.store.mirror.writer import Writer, operation_for, value_of
from piccolo.store.rules import MAX_COMMIT_BYTES, MAX_CONDITIONS, check_operation

GATHER_SECONDS = 0.25  # how long observations are collected before they are written


class WriteBehind:
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known = writer.known
        self._health = writer.health
        self._pending: dict[str, bytes | None] = {}
        self._dropped = asyncio.Event()  # replaced each time something is no longer pending
        self._work = asyncio.Event()
        writer.on_end = self._look_again

    @property
    def pending(self) -> Set[str]:
        """The keys that wait."""
        return self._pending.keys()

    def add(self, values: Mapping[str, bytes | None]) -> None:
        """Write them soon; None: the key is gone."""
        self._pending.update(values)
        self._work.set()

    def drop(self, keys: Iterable[str]) -> None:
        """Of these nothing needs to be written any more."""
        for key in keys:
            self._pending.pop(key, None)
        self._dropped.set()
        self._dropped = asyncio.Event()

    async def written(self, keys: Set[str]) -> None:
        """Wait until none of `keys` is pending."""
        while not self._pending.keys().isdisjoint(keys):
            await self._dropped.wait()

    async def run(self) -> None:
        """Write what is added, for ever. Raises `StaleGeneration`; nothing else."""
        attempt = 0
        while True:
            await self._work.wait()
            await asyncio.sleep(pause(attempt, random.random()) if attempt else GATHER_SECONDS)
            self._work.clear()
            try:
                await self.flush()
                if self._health.fails("write"):  # a commit failed: does the engine write again?
                    await self._writer.write_stamp()
                attempt = 0
            except StaleGeneration:
                raise
            except PiccoloError as error:
                attempt += 1
                self._health.report("write", error)
                self._work.set()

    async def flush(self) -> None:
        """Write all that is pending, except where a commit is under way."""
        while batch := self._batch():
            try:
                await self._writer.write(batch, [self._known.condition(o.key) for o in batch])
            except StaleGeneration:
                raise
            except Conflict:  # we did not know all; now we ask, and write on top of it
                for operation in batch:
                    entry = await self._writer.engine.get(operation.key)
                    value, revision = (entry.value, entry.revision) if entry else (None, 0)
                    self._known.note(operation.key, value, revision)
            else:  # what was replaced meanwhile stays
                self.drop(o.key for o in batch if self._pending.get(o.key) is value_of(o))

    def _batch(self) -> Sequence[Operation]:
        """As much of what is pending as one transaction can take."""
        batch: list[Operation] = []
        there = []  # what turned out to be in the engine
        size = 0
        for key, value in self._pending.items():
            if key in self._writer.busy:
                continue
            if self._known.has(key, value):
                there.append(key)
                continue
            operation = operation_for(key, value)
            size += check_operation(operation) + check_operation(Delete(key))  # and the condition
            if len(batch) == MAX_CONDITIONS or size > MAX_COMMIT_BYTES:
                break
            batch.append(operation)
        self.drop(there)
        return batch

    def _look_again(self) -> None:
        """A write is over: its keys may have been wanted, or it is to be found out when writing
        works again."""
        if self._pending or self._health.fails("write"):
            self._work.set()
