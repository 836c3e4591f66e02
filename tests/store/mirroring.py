"""A mirror whose engine the test has in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from piccolo.core.errors import Unavailable
from piccolo.store.base import Change, Condition, Entry, Operation, Put, Snapshot, Store
from piccolo.store.mirror import EPOCH_KEY, MirroredStore
from tests.store.contract import watching


class Backing:
    """A real engine that can be delayed, cut off, and made to lose its answers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.writes: list[Sequence[Operation]] = []
        self.away = False  # nothing gets through
        self.deaf = False  # a commit gets through, its answer does not
        self.gate = asyncio.Event()  # commits wait for it
        self.gate.set()
        self.news = asyncio.Event()  # watches wait for it
        self.news.set()
        self.refusal: Exception | None = None

    async def get(self, key: str) -> Entry | None:
        self._check()
        return await self.store.get(key)

    async def list(self, prefix: str) -> Snapshot:
        self._check()
        return await self.store.list(prefix)

    async def commit(
        self, operations: Sequence[Operation], conditions: Sequence[Condition] = ()
    ) -> int:
        self._check()
        self.writes.append(operations)
        await self.gate.wait()
        revision = await self.store.commit(operations, conditions)
        if self.deaf:
            raise Unavailable("no answer came")
        return revision

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.away:
            raise Unavailable("the engine is away")

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        async with watching(self.store, prefix, after) as changes:
            async for change in changes:
                await self.news.wait()
                yield change

    async def compact(self, revision: int) -> None:
        await self.store.compact(revision)

    async def scrub(self) -> str:
        return await self.store.scrub()

    async def close(self) -> None:
        await self.store.close()

    def written(self) -> dict[str, bytes | None]:
        """The last value written of each key; None: deleted."""
        found: dict[str, bytes | None] = {}
        for operations in self.writes:
            for operation in operations:
                found[operation.key] = operation.value if isinstance(operation, Put) else None
        found.pop(EPOCH_KEY, None)
        return found


@asynccontextmanager
async def mirroring(backing: Store, **options: Any) -> AsyncIterator[MirroredStore]:
    """A mirror while it runs."""
    mirror = await MirroredStore.load(backing, **options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(mirror.run())
        await asyncio.sleep(0)
        try:
            yield mirror
        finally:
            await mirror.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def value_of(store: Store, key: str) -> bytes | None:
    entry = await store.get(key)
    return entry.value if entry else None


async def settled(mirror: MirroredStore) -> None:
    await until(lambda: not mirror._write_behind.pending)
