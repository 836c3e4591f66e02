"""Whoever works on the same keys takes turns; all others go on side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager


class Turns:
    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._freed = asyncio.Event()  # replaced whenever keys are free again

    @asynccontextmanager
    async def of(self, keys: Set[str]) -> AsyncIterator[None]:
        """Inside, nobody else has any of `keys`. They are taken all at once: no two wait for each
        other."""
        while not self._taken.isdisjoint(keys):
            await self._freed.wait()
        self._taken |= keys
        try:
            yield
        finally:
            self._taken -= keys
            self._freed.set()
            self._freed = asyncio.Event()
