"""The network between a node and the master: streams that break, and datagrams that get lost.

A stream is in order, as TCP is. A direction that is cut delivers nothing; what was sent waits, and
arrives late, also when the other end has given up long ago. When a stream breaks, an unknown part
of what was under way still arrives, and each side notices by itself, or not before the link heals.
Datagrams get lost, come twice, and overtake each other.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.pure.clock import Clock

LATE = (0.0, 0.5, 3.0)  # s, about, until a side notices that a stream broke


class Pipe:
    """One direction of a stream."""

    alive = True

    def __init__(
        self, link: Link, up: bool, deliver: Callable[[Any], None], ended: Callable[[], None]
    ) -> None:
        self.up = up
        self._link = link
        self._deliver = deliver
        self._ended = ended
        self._due = 0.0
        self._queue: deque[tuple[float, Any]] = deque()
        self._closed = False
        self._over = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def send(self, message: Any) -> None:
        if not self._closed:
            link = self._link
            self._due = max(self._due, link.clock.now + link.lag * link.rng.random())
            self._queue.append((self._due, message))
            link.clock.at(self._due, self, self.pump)

    def pump(self) -> None:
        """Deliver what is due."""
        link, queue = self._link, self._queue
        while not link.cut[self.up] and not self._over:
            if queue and queue[0][0] <= link.clock.now:
                self._deliver(queue.popleft()[1])
            elif self._closed and not queue:
                self._over = True
                self._ended()
            else:
                return

    def end(self, *, lose: bool = False) -> None:
        """Nothing more comes after what is under way, of which some gets lost with `lose`."""
        if lose and self._queue:
            for _ in range(self._link.rng.randrange(len(self._queue) + 1)):
                self._queue.pop()
        self._closed = True
        self._link.clock.at(self._link.clock.now, self, self.pump)


class Stream:
    """Both directions."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.up: Pipe
        self.down: Pipe

    def end(self) -> None:
        self.up.end()
        self.down.end()


class Link:
    """The way from one node to the master."""

    alive = True

    def __init__(self, clock: Clock, rng: random.Random, lag: float, loss: float) -> None:
        self.clock = clock
        self.rng = rng
        self.lag = lag
        self.loss = loss  # of datagrams
        self.cut = {True: False, False: False}  # up: from the agent to the master; and back
        self.troubled_at = 0.0  # when it was last other than whole
        self._streams: deque[Stream] = deque(maxlen=4)

    @property
    def whole(self) -> bool:
        return not any(self.cut.values())

    def connect(
        self,
        to_master: Callable[[Any], None],
        master_ended: Callable[[], None],
        to_agent: Callable[[Any], None],
        agent_ended: Callable[[], None],
    ) -> Stream:
        stream = Stream(self)
        stream.up = Pipe(self, True, to_master, master_ended)
        stream.down = Pipe(self, False, to_agent, agent_ended)
        self._streams.append(stream)
        return stream

    def part(self, up: bool, down: bool) -> None:
        """Cut it, in these directions; (False, False) heals it."""
        self.cut = {True: up, False: down}
        self.troubled_at = self.clock.now
        for stream in self._streams:
            stream.up.pump()
            stream.down.pump()

    def break_streams(self) -> None:
        """Each side notices in its own time; until then it believes in the stream."""
        self.troubled_at = self.clock.now
        for stream in self._streams:
            for pipe in (stream.up, stream.down):
                late = self.rng.choice(LATE) * self.rng.random()
                self.clock.after(late, self, self._break, pipe)

    def _break(self, pipe: Pipe) -> None:
        self.troubled_at = self.clock.now
        pipe.end(lose=True)

    def datagram(self, up: bool, arrive: Callable[..., None], *args: Any) -> None:
        rng = self.rng
        if self.cut[up] or rng.random() < self.loss:
            return
        self.clock.after(self.lag * rng.random(), self, arrive, *args)
        if rng.random() < self.loss / 4:
            self.clock.after(5 * self.lag * rng.random(), self, arrive, *args)
