"""Work that is done in rounds: at once when something changes, and all of it together in a burst.

A round looks at the whole state, so it does not matter what woke it, nor how often. After each one
there is a short rest, which only what is urgent cuts short. While a thousand nodes come in, there
is something urgent all the time, and each round is long: so four fifths of the time are left to
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from piccolo.core.errors import Compacted
from piccolo.master.state_manager import StateManager

REST = 0.02  # s
BREATH = 4  # times as long as the round was
LONGEST_BREATH = 0.1  # s
SLICE = 0.003  # s of the loop's time at once


class Rounds:
    def __init__(
        self,
        state: StateManager,
        once: Callable[[], Awaitable[float | None]],
        *,
        urgent: tuple[str, ...],
        others: tuple[str, ...],
    ) -> None:
        """`once` is a round; what it returns is after how many seconds the next one is due in any
        case. `urgent`, `others`: the prefixes of the keys whose changes wake it."""
        self._state = state
        self._once = once
        self._prefixes = urgent, others
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()

    def poke(self) -> None:
        """There is something to do now."""
        self._news.set()
        self._hurry.set()

    async def run(self) -> None:
        """Raises what `once` raises."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="changes that matter")
                tasks.create_task(self._work(), name="rounds")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _follow(self) -> None:
        urgent, others = self._prefixes
        while True:
            with suppress(Compacted):  # more happened than is kept: the next round sees it all
                async with aclosing(self._state.changes("", self._state.revision)) as changes:
                    async for change in changes:
                        if change.key.startswith(urgent):
                            self.poke()
                        elif change.key.startswith(others):
                            self._news.set()
            self.poke()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        due: float | None = 0.0
        while True:
            await _wait(self._news, due)
            self._news.clear()
            self._hurry.clear()
            began = loop.time()
            due = await self._once()
            await asyncio.sleep(min(BREATH * (loop.time() - began), LONGEST_BREATH))
            await _wait(self._hurry, REST)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Slices:
    """Lets others have the loop, within a round that takes longer."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + SLICE

    async def next(self) -> None:
        if self._monotonic() >= self._end:
            await asyncio.sleep(0)
            self._end = self._monotonic() + SLICE
