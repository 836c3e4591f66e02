"""A change, and then a watch over the same connection until all is as asked.

The change is sent once: after a lost connection nobody knows whether it was taken, and the person
is told so. The watch is begun anew as often as the connection is lost, until `patience` is over.
The cluster needs none of this: it goes on by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from grpclib import GRPCError

from piccolo.cli.client import Line, Stub
from piccolo.cli.workloads.goals import Goal, Progress
from piccolo.cli.workloads.live import Display
from piccolo.core.errors import Unavailable
from piccolo.rpc import wire
from piccolo.rpc.isolated import isolated

T = TypeVar("T")

_CONNECT = 10.0  # s
_ANSWER = 60.0  # s: hundreds of documents on a slow master
_PAUSE = 0.5  # s, before the connection is made anew
_TICK = 0.1  # s


class Interrupted(KeyboardInterrupt):
    """By Ctrl-C. `sent`: the change was on its way already; `answered`: the master took it."""

    def __init__(self, *, sent: bool, answered: bool) -> None:
        super().__init__()
        self.sent = sent
        self.answered = answered


@dataclass(slots=True)
class Change(Generic[T]):
    """`ask` is the call; `answered` is told its answer, and says what to wait for. `dry`: the call
    changes nothing."""

    ask: Callable[[Stub], Coroutine[Any, Any, T]]
    answered: Callable[[T], Sequence[Goal]]
    patience: float
    display: Display
    dry: bool = False
    _sent: bool = False
    _taken: bool = False

    def carry_out(self, master: Sequence[str] | None, context: str) -> Progress:
        """How far it was when the waiting ended: all is over, or the time was.

        Raises our errors for the change itself, and `Interrupted`.
        """
        line = Line(master, context)
        try:
            return asyncio.run(self._carry_out(line))
        except (KeyboardInterrupt, asyncio.CancelledError):
            # The latter when grpclib had cancelled something too.
            raise Interrupted(sent=self._sent, answered=self._taken) from None
        finally:
            self.display.close()

    async def _carry_out(self, line: Line) -> Progress:
        try:
            with _ticking(self.display.tick):
                answer = await isolated(self._ask(line))
                self._taken = True
                self.display.close()
                progress = Progress.of(self.answered(answer))
                if progress.goals:
                    await self._wait(line, progress)
                return progress
        finally:
            line.close()

    async def _ask(self, line: Line) -> T:
        await line.open(min(_CONNECT, self.patience))
        self._sent = True
        try:
            return await line.ask(self.ask, min(_ANSWER, self.patience))
        except Unavailable as error:
            if self.dry or isinstance(error.__cause__, GRPCError):
                raise  # the latter is the master's own word: nothing was changed
            raise Unavailable(
                f"{error}; whether the change was taken is not known: see `piccolo get workloads`"
                " before you do the same again"
            ) from error

    async def _wait(self, line: Line, progress: Progress) -> None:
        try:
            async with asyncio.timeout(self.patience):
                connected = True
                while not progress.over:
                    try:
                        await isolated(self._watch(line, progress, connected))
                    except Unavailable as error:
                        connected = False
                        self.display.note(f"{error}; trying again")
                        await asyncio.sleep(_PAUSE)
        except TimeoutError:
            return

    async def _watch(self, line: Line, progress: Progress, connected: bool) -> None:
        """Until all is over. Raises `Unavailable` when the connection is lost before."""
        if not connected:
            await line.open(_CONNECT)
        request = wire.WatchRequest(kind=wire.WatchKind.WORKLOAD, names=sorted(progress.goals))
        progress.begin()
        async with aclosing(line.stream(lambda stub: stub.watch(request))) as responses:
            async for response in responses:
                progress.take(response)
                self.display.show(progress)
                if progress.over:
                    return


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Calls `tick` again and again, between the steps of what is inside."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        tick()
        timer = loop.call_later(_TICK, again)

    timer = loop.call_later(_TICK, again)
    try:
        yield
    finally:
        timer.cancel()
