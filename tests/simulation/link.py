"""The network between an agent and the master: streams that are ordered, and break at any moment.

A direction that is cut delivers nothing; what was sent waits, as TCP does, and arrives late, also
on a stream whose other end is long gone. When a stream breaks, an unknown part of what was under
way still arrives, and each side notices by itself, or not at all.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from piccolo.core.errors import PiccoloError, Unavailable
from piccolo.rpc import wire

T = TypeVar("T")

_BUFFER = 40  # messages that are under way before the sender has to wait
_DIAL = 3.0  # s until a connection that nobody answers is given up


class Pipe(Generic[T]):
    """One direction of a stream."""

    def __init__(self, rng: random.Random, lag: float) -> None:
        self.cut = False
        self._rng = rng
        self._lag = lag
        self._due = 0.0
        self._queue: deque[tuple[float, T]] = deque()
        self._ended = False
        self._error: PiccoloError | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def send(self, message: T) -> None:
        while len(self._queue) >= _BUFFER and not self._ended:
            self._room.clear()
            await self._room.wait()
        if not self._ended:
            now = asyncio.get_running_loop().time()
            self._due = max(self._due, now + self._lag * self._rng.random())
            self._queue.append((self._due, message))
            self._news.set()

    async def receive(self) -> T | None:
        """None: the other side has ended it. Raises why it broke."""
        while True:
            if not self.cut:
                if self._queue:
                    wait = self._queue[0][0] - asyncio.get_running_loop().time()
                    if wait <= 0:
                        self._room.set()
                        return self._queue.popleft()[1]
                    await asyncio.sleep(wait)
                    continue
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return None
            self._news.clear()
            await self._news.wait()

    def end(self, error: PiccoloError | None = None, *, lose: bool = False) -> None:
        """Nothing more comes after what is under way, of which some gets lost with `lose`."""
        if lose and self._queue:
            keep = self._rng.randrange(len(self._queue) + 1)
            while len(self._queue) > keep:
                self._queue.pop()
        if not self._ended:
            self._ended, self._error = True, error
        self._room.set()
        self._news.set()

    def heal(self) -> None:
        self.cut = False
        self._news.set()


class End:
    """One end of a stream, as grpclib shows it to either side."""

    def __init__(
        self,
        out: Pipe[Any],
        into: Pipe[Any],
        told: Callable[[Any], None] = lambda message: None,
    ) -> None:
        self.out, self.into = out, into
        self._told = told
        self.status: PiccoloError | None = None  # with which the master ended it

    async def send_message(self, message: Any) -> None:
        self._told(message)
        await self.out.send(message)

    async def recv_message(self) -> Any:
        return await self.into.receive()

    def __aiter__(self) -> End:
        return self

    async def __anext__(self) -> Any:
        message = await self.into.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    # ---- of the agent ----

    async def __aenter__(self) -> End:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.out.end(Unavailable("the agent hung up"))

    async def end(self) -> None: ...

    async def recv_trailing_metadata(self) -> None:
        if self.status is not None:
            raise self.status


class Host(Protocol):
    """Where the master answers."""

    def accept(self, node_id: str, stream: End) -> bool: ...


@dataclass(slots=True)
class Stream:
    agent: End
    master: End

    @property
    def pipes(self) -> tuple[Pipe[Any], Pipe[Any]]:
        return self.agent.out, self.master.out


@dataclass(slots=True)
class Link:
    """The way from one node to the master. It is the `channel` of the agent's sessions."""

    node_id: str
    host: Host
    rng: random.Random
    lag: float
    cut: tuple[bool, bool] = (False, False)  # from the agent to the master, and back
    sent: Callable[[Any], None] = lambda message: None  # is told of what the master sends
    streams: list[Stream] = field(default_factory=list)

    async def dial(self) -> None:
        if any(self.cut):
            await asyncio.sleep(_DIAL)
            raise Unavailable("nobody answers")

    def request(self, *_: object) -> End:
        up: Pipe[wire.AgentMessage] = Pipe(self.rng, self.lag)
        down: Pipe[wire.MasterMessage] = Pipe(self.rng, self.lag)
        stream = Stream(End(up, down), End(down, up, self.sent))
        up.cut, down.cut = self.cut
        if not self.host.accept(self.node_id, stream.master):
            raise Unavailable("the master does not listen")
        self.streams = [*self.streams[-3:], stream]
        return stream.agent

    def hung_up(self, end: End, error: PiccoloError | None) -> None:
        """The master has ended a stream."""
        for stream in self.streams:
            if stream.master is end:
                stream.agent.status = error
        end.out.end()

    def part(self, up: bool, down: bool) -> None:
        """Cut it, in these directions; (False, False) heals it."""
        self.cut = up, down
        for stream in self.streams:
            for pipe, cut in zip(stream.pipes, self.cut, strict=True):
                if cut:
                    pipe.cut = True
                else:
                    pipe.heal()

    def break_streams(self) -> None:
        """Each side notices in its own time; until then it believes in the stream."""
        loop = asyncio.get_running_loop()
        for stream in self.streams:
            for pipe in stream.pipes:
                broken = Unavailable("the connection was lost")
                late = self.rng.choice((0.0, 0.5, 3.0)) * self.rng.random()
                loop.call_later(late, partial(pipe.end, broken, lose=True))
