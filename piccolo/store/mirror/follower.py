"""What others change in the engine, brought into the mirror.

The engine tells the mirror's own writes too, late: what is known already is no news.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing

from piccolo.core.backoff import pause
from piccolo.core.errors import Compacted, PiccoloError, StaleGeneration
from piccolo.store.base import Change
from piccolo.store.mirror.epoch import EPOCH_KEY
from piccolo.store.mirror.memory import Memory
from piccolo.store.mirror.write_behind import WriteBehind
from piccolo.store.mirror.writer import Writer

log = logging.getLogger(__name__)


class Follower:
    def __init__(
        self, revision: int, writer: Writer, write_behind: WriteBehind, memory: Memory
    ) -> None:
        self.revision = revision  # the engine's, up to which all was taken in
        self._writer = writer
        self._engine = writer.engine
        self._known = writer.known
        self._health = writer.health
        self._write_behind = write_behind
        self._memory = memory

    async def run(self) -> None:
        """Follow for ever, over lost connections. Raises `StaleGeneration`; nothing else."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            started = loop.time()
            try:
                if attempt:
                    await self._catch_up()
                self._health.report("watch", None)
                await self._follow()
            except StaleGeneration:
                raise
            except PiccoloError as error:
                if not isinstance(error, Compacted):
                    self._health.report("watch", error)
                attempt = 1 if loop.time() - started > 10.0 else attempt + 1
                log.info("reading the store again: %s", error)
                await asyncio.sleep(pause(attempt, random.random()))

    async def take(self, change: Change) -> None:
        """Take in what the engine says of a key, unless we know better."""
        await self._writer.turn({change.key})
        if change.key != EPOCH_KEY and self._known.is_news(change.key, change.revision):
            self._known.note(change.key, change.value, change.revision)
            if change.key not in self._write_behind.pending:
                self._memory.show([change])

    async def _follow(self) -> None:
        async with aclosing(self._engine.watch("", self.revision)) as changes:
            async for change in changes:
                await self.take(change)
                self._known.told(change.revision)
                self.revision = change.revision - 1  # there may be more of the same transaction

    async def _catch_up(self) -> None:
        """Compare with all of the engine, because some changes can no longer be told."""
        snapshot = await self._engine.list("")
        for entry in snapshot.entries:
            await self.take(Change(entry.key, entry.value, entry.revision))
        present = {entry.key for entry in snapshot.entries}
        for key in self._known.held():
            if key not in present:
                await self.take(Change(key, None, snapshot.revision))
        self._known.told(snapshot.revision)
        self.revision = snapshot.revision
