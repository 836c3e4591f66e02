"""The mirror's only way to write to its engine.

Who writes the same keys takes turns. What the engine is known to hold follows from what came of
each write: nobody can tell whether one that was not answered came through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set

from piccolo.core.errors import Conflict, InvalidSpec, PiccoloError
from piccolo.store.base import Condition, Delete, Operation, Put, Store
from piccolo.store.known import Known
from piccolo.store.mirror.epoch import stamp
from piccolo.store.mirror.health import Health


class Writer:
    def __init__(self, engine: Store, epoch: int, known: Known, health: Health) -> None:
        self.engine = engine  # to read from
        self.known = known
        self.health = health
        self.on_end: Callable[[], None] = lambda: None  # called at the end of each write
        self._stamp = stamp(epoch)
        self._busy: set[str] = set()
        self._freed = asyncio.Event()  # replaced each time keys are no longer busy

    @property
    def busy(self) -> Set[str]:
        """The keys that are being written."""
        return self._busy

    async def turn(self, keys: Set[str]) -> None:
        """Wait until none of `keys` is busy; the turn is lost to others at the next await."""
        while not self._busy.isdisjoint(keys):
            await self._freed.wait()

    async def write(self, operations: Sequence[Operation], conditions: Sequence[Condition]) -> int:
        """Commit to the engine, keeping other writers off the keys; returns its revision.

        None of the keys may be busy. Raises what the engine raises.
        """
        keys = {item.key for item in (*operations, *conditions)}
        self._busy |= keys
        try:
            revision = await self.engine.commit(operations, conditions)
        except BaseException as error:
            if not isinstance(error, Conflict | InvalidSpec):
                for operation in operations:
                    self.known.doubt(operation.key)
                if isinstance(error, PiccoloError):
                    self.health.report("write", error)
            raise
        else:
            for operation in operations:
                self.known.note(operation.key, value_of(operation), revision)
            self.health.report("write", None)
            return revision
        finally:
            self._busy -= keys
            self._freed.set()
            self._freed = asyncio.Event()
            self.on_end()

    async def write_stamp(self) -> None:
        """Write the mirror's own key again, as it is."""
        await self.write([self._stamp], [])


def operation_for(key: str, value: bytes | None) -> Operation:
    return Delete(key) if value is None else Put(key, value)


def value_of(operation: Operation) -> bytes | None:
    return operation.value if isinstance(operation, Put) else None
