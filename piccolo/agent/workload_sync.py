"""The part of a session that is about workloads: what is to run here comes, what happened goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from piccolo.agent.workloads.desired import Change, Spec
from piccolo.agent.workloads.journal import Batch
from piccolo.agent.workloads.service import Workloads
from piccolo.rpc import convert, wire

_CHUNK = 256_000  # bytes of a message, so that heartbeats come through in between
_EVENTS_AGAIN = 30.0  # s without an acknowledgement; the master knows what it has already


class WorkloadSync:
    """For one session. `queue` sends a message: `queue(desired_ack=…)`."""

    def __init__(self, workloads: Workloads, queue: Callable[..., object]) -> None:
        self._workloads = workloads
        self._queue = queue
        self._parts: list[wire.Desired] = []  # of a change whose last message has not come

    def held(self) -> list[wire.HeldInstance]:
        held = self._workloads.held()
        return [wire.HeldInstance(key=key, digest=digest) for key, digest in held.items()]

    @property
    def digest(self) -> int:
        return self._workloads.digest

    def begin(self) -> None:
        """The master has welcomed us. Nothing may wait between this and what leads to `end`."""
        self._workloads.connected()

    def end(self, heard_at: float) -> None:
        self._workloads.alone(heard_at)

    # ---- what is to run here ----

    def on_desired(self, message: wire.Desired) -> None:
        self._parts.append(message)
        if not message.last:
            return
        parts, self._parts = self._parts, []
        change = Change(
            tuple(Spec(i.key, i.spec, i.secrets) for part in parts for i in part.set),
            frozenset(key for part in parts for key in part.removed),
            any(part.reset for part in parts),
            message.digest,
        )
        states = [convert.dependency_from_wire(d) for part in parts for d in part.dependencies]
        self._workloads.take_over(change, states, self._taken_over)

    def _taken_over(self, digest: int, error: str) -> None:
        self._queue(desired_ack=wire.DesiredAck(digest=digest, error=error))

    def on_held_query(self, query: wire.HeldQuery) -> None:
        self._workloads.tell(frozenset(query.keys), _CHUNK, self._held_specs)

    def _held_specs(self, specs: Sequence[Spec], error: str) -> None:
        instances = [
            wire.DesiredInstance(key=s.key, spec=s.spec, secrets=dict(s.secrets)) for s in specs
        ]
        self._queue(held_specs=wire.HeldSpecs(instances=instances, error=error))

    # ---- what happened ----

    def on_events_ack(self, ack: wire.EventsAck) -> None:
        self._workloads.journal.acknowledged(ack.stream, ack.seq)

    async def send_events(self) -> None:
        """One batch after the other, for ever; the next one when the master has the last."""
        journal = self._workloads.journal
        again_at = 0.0
        while True:
            journal.news.clear()
            now = time.monotonic()
            if not journal.under_way or now >= again_at:
                batch, again_at = journal.next_batch(), now + _EVENTS_AGAIN
                if batch is not None:
                    self._send(batch)
            try:
                async with asyncio.timeout(again_at - now if journal.under_way else None):
                    await journal.news.wait()
            except TimeoutError:
                pass

    def _send(self, batch: Batch) -> None:
        happenings = [convert.happening_to_wire(h) for h in batch.happenings]
        self._queue(
            events=wire.AgentEvents(stream=batch.stream, events=happenings, lost=batch.lost)
        )
