"""What agents saw happen to their instances, taken into the cluster's events: in order, each once.

An agent keeps its events until they are acknowledged, and sends them again on its next session.
They are acknowledged when the store has them, so none is lost with the master either. How far a
node's were taken in is kept beside them: what comes again is known.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from piccolo.core.model import Node, Severity
from piccolo.core.workloads.instances import Happening
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.keys import AgentStream
from piccolo.master.sessions import Session
from piccolo.master.state_manager import StateManager
from piccolo.rpc import convert, wire

KIND = "workload"  # of these events; their subject is the key of the instance
_AHEAD = timedelta(seconds=5)  # so far may an agent's clock be ahead of ours
_MOST = 4096  # characters of a text

_Sender = tuple[Session, str]  # and the stream


class AgentEvents:
    """Keep `run` running."""

    def __init__(self, state: StateManager, events: EventLog, clock: Clock) -> None:
        self._state = state
        self._events = events
        self._clock = clock
        self._waiting: dict[_Sender, tuple[int, set[str]]] = {}  # up to where, and for what
        self._work = asyncio.Event()

    def take(self, session: Session, told: wire.AgentEvents) -> None:
        """Raises `InvalidSpec` for what cannot be read; nothing is taken in then."""
        node = self._state.node(session.node_id)
        if node is None:
            return
        happenings = sorted(map(convert.happening_from_wire, told.events), key=lambda h: h.seq)
        known = self._state.agent_stream(node.id)
        same = known is not None and known.stream == told.stream
        done = known.seq if known is not None and same else 0
        stored = {keys.agent_events(node.id)}
        if happenings and happenings[0].seq > done:  # else it was told when these came before
            lost = min(told.lost, happenings[0].seq - done - 1) if same else told.lost
            stored |= self._note_lost(node, lost)
        for happening in happenings:
            if happening.seq > done:
                done = happening.seq
                stored.add(self._add(node, happening))
        if len(stored) > 1:
            self._state.observe(keys.agent_events(node.id), AgentStream(told.stream, done))
        sender = session, told.stream
        self._waiting[sender] = done, stored | self._waiting.get(sender, (0, set[str]()))[1]
        self._work.set()

    def _note_lost(self, node: Node, lost: int) -> set[str]:
        if not lost:
            return set()
        message = f"{lost} events before the next ones are lost: they were too many to keep"
        return {
            self._events.add(Severity.WARNING, "node", node.name, "EventsLost", message, node.name)
        }

    def _add(self, node: Node, h: Happening) -> str:
        kind, subject = (KIND, h.subject) if h.subject else ("node", node.name)
        message = h.message[:_MOST] + (f" (×{h.count})" if h.count > 1 else "")
        now = self._clock.utc()
        return self._events.add(
            Severity(h.severity),
            kind,
            subject[:_MOST],
            h.reason[:_MOST],
            message,
            node.name,
            h.time if h.time <= now + _AHEAD else now,
        )

    async def run(self) -> None:
        """Acknowledge what is stored."""
        while True:
            await self._work.wait()
            self._work.clear()
            waiting, self._waiting = self._waiting, {}
            stored = (found for _, found in waiting.values())
            await self._state.store.written(set[str]().union(*stored))
            for (session, stream), (seq, _) in waiting.items():
                session.send(wire.MasterMessage(events_ack=wire.EventsAck(stream=stream, seq=seq)))
