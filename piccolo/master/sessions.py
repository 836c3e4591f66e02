"""Sessions: one agent's connection each, with its generation and its pulse key.

A generation is the master's epoch (counted up in the store at every start) in the upper 32 bits
and a counter below, so generations grow across restarts without a write per session. A newer
session of a node fences the older: whatever the older one still sends is refused.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from piccolo.core.errors import StaleGeneration, Unavailable
from piccolo.core.nodes.pulse import KEY_BYTES
from piccolo.rpc import wire

_QUEUE = 256  # messages that may wait for a slow agent before its session is given up


@dataclass(slots=True, eq=False)
class Session:
    """Created by `Sessions.open`."""

    node_id: str
    instance_id: str
    generation: int
    peer: str
    session_id: int = field(default_factory=lambda: secrets.randbits(64))
    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    pulse_seq: int = 0  # the highest seen; a repeated or older one is no evidence
    message_seq: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _outgoing: asyncio.Queue[wire.MasterMessage] = field(
        default_factory=lambda: asyncio.Queue(_QUEUE)
    )
    _sent: int = 0
    _calls: dict[int, asyncio.Future[wire.CallResult]] = field(default_factory=dict)
    _call_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, message: wire.MasterMessage) -> None:
        """Queue a message. An agent that takes none of 256 is as good as gone: the session ends."""
        self._sent += 1
        message.seq = self._sent
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self.end()

    @property
    def backlog(self) -> int:
        """How many messages wait for the agent to take them."""
        return self._outgoing.qsize()

    async def next_outgoing(self) -> wire.MasterMessage:
        return await self._outgoing.get()

    def drain(self) -> list[wire.MasterMessage]:
        """What is still queued, to be sent before the stream closes."""
        return [self._outgoing.get_nowait() for _ in range(self._outgoing.qsize())]

    def end(self) -> None:
        """Close the stream, after what is queued. Calls that wait for an answer fail."""
        self.ended.set()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Unavailable("the connection to the node was lost"))

    async def call(self, call: wire.Call, timeout: float) -> wire.CallResult:
        """Ask the agent and wait for its answer.

        Raises `Unavailable` when none comes within `timeout` seconds or the session ends.
        """
        if self.ended.is_set():
            raise Unavailable("the connection to the node was lost")
        call.call_id = next(self._call_ids)
        call.deadline_ms = max(0, int(timeout * 1000))
        future: asyncio.Future[wire.CallResult] = asyncio.get_running_loop().create_future()
        self._calls[call.call_id] = future
        try:
            self.send(wire.MasterMessage(call=call))
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise Unavailable(f"the node did not answer within {timeout:g} s") from None
        finally:
            del self._calls[call.call_id]

    def answered(self, result: wire.CallResult) -> None:
        future = self._calls.get(result.call_id)
        if future is not None and not future.done():
            future.set_result(result)


class Sessions:
    """All sessions, by node and by session id."""

    def __init__(self, epoch: int) -> None:
        self._generations = itertools.count((epoch << 32) + 1)
        self._by_node: dict[str, Session] = {}
        self._by_id: dict[int, Session] = {}
        self._last: dict[str, Session] = {}  # also after its end, see `by_id`

    def open(self, node_id: str, instance_id: str, peer: str) -> Session:
        """A new session; an older one of the node is fenced and told so."""
        session = Session(node_id, instance_id, next(self._generations), peer)
        old = self._by_node.get(node_id)
        if old is not None:
            old.send(
                wire.MasterMessage(
                    goodbye=wire.Goodbye(
                        reason="Replaced", message="a newer session of this node was opened"
                    )
                )
            )
            old.end()
        self.forget(node_id)
        self._by_node[node_id] = self._last[node_id] = session
        self._by_id[session.session_id] = session
        return session

    def close(self, session: Session) -> None:
        session.end()
        if self._by_node.get(session.node_id) is session:
            del self._by_node[session.node_id]

    def forget(self, node_id: str) -> None:
        """The node's sessions are no longer known, not even by their pulses."""
        self._by_node.pop(node_id, None)
        last = self._last.pop(node_id, None)
        if last is not None:
            del self._by_id[last.session_id]

    def of_node(self, node_id: str) -> Session | None:
        return self._by_node.get(node_id)

    def by_id(self, session_id: int) -> Session | None:
        """The session, even one that has ended, until the node has a newer one: its pulses are
        still answered, so that an agent that lost its stream learns that the way is free again.
        """
        return self._by_id.get(session_id)

    def all(self) -> list[Session]:
        return list(self._by_node.values())

    def check(self, node_id: str, generation: int) -> None:
        """Raises `StaleGeneration` unless `generation` is the node's current session."""
        current = self._by_node.get(node_id)
        if current is None or current.generation != generation:
            raise StaleGeneration(
                "this session was replaced by a newer one, or ended; open a new session"
            )

    async def call(
        self, node_id: str, make: Callable[[], wire.Call], timeout: float
    ) -> wire.CallResult:
        """As `Session.call`, again on the next session when one breaks, until `timeout` is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            session = self._by_node.get(node_id)
            left = deadline - loop.time()
            if session is not None:
                try:
                    return await session.call(make(), left)
                except Unavailable:
                    if not session.ended.is_set():
                        raise
            if left <= 0.1:
                raise Unavailable(f"the node was not connected within {timeout:g} s")
            await asyncio.sleep(min(0.1, left))
