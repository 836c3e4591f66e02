"""The simulated agent's way to its master: one session after the other, heartbeats, and pulses,
which go on as probes between sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from piccolo.agent.workloads.desired import Change, Spec
from piccolo.core.backoff import pause
from piccolo.core.nodes.pulse import Pacer
from piccolo.core.report import Delta
from piccolo.rpc import convert, wire
from tests.simulation.pure.messages import (
    Beat,
    BeatAck,
    Goodbye,
    Hello,
    PulseAnswer,
    Resync,
    Snapshot,
    StreamPulse,
    Taken,
    Told,
    Welcome,
)
from tests.simulation.pure.network import Stream

if TYPE_CHECKING:
    from tests.simulation.pure.agent import Agent

_DIAL = 3.0  # s until a connection that nobody answers is given up
_WELCOME_WITHIN = 10.0  # s
_STEADY = 10.0  # s: a session that lasted so long was a success
_CONNECTING, _PROBE_EVERY, _PROBES_END = 10.0, 0.5, 120.0  # s: see `agent.pulser`
_PROMPT = 2.0  # s: after an outage, a stream that does not move within that is given up


class Host(Protocol):
    """Where the master answers, if it runs."""

    def connect(
        self, node_id: str, receive: Callable[[Any], None], ended: Callable[[], None]
    ) -> Stream | None:
        """`receive` and `ended` are the agent's end; None: nobody listens."""
        ...

    def pulse(
        self, node_id: str, generation: int, number: int, heard_ago: float, answer: Answer
    ) -> None: ...


Answer = Callable[[int, int], None]  # generation and number of the pulse


class AgentSession:
    def __init__(self, agent: Agent, host: Host) -> None:
        self._agent = agent
        self._node = agent.node
        self._clock = agent.node.clock
        self._rng = agent.node.rng
        self._local = agent.node.local
        self._host = host
        self._stream: Stream | None = None
        self._number = 0  # counts sessions: what is of another one is history
        self._welcome = False  # it was welcomed
        self._greeted = 0  # the digest that Hello told
        self._seq = 0
        self._attempt = 0
        self._began = 0.0
        self._waiting = False  # for the next attempt
        self._pacer: Pacer | None = None
        self._generation = 0  # of the pulses
        self._ended_at: float | None = None
        self._parts: list[wire.Desired] = []
        self._acked = self._oldest = 0
        self._since = 0.0
        self._beats = 0  # counts their timers
        self._outage = False

    def begin(self) -> None:
        self._connect()

    def dead(self) -> None:
        """Its agent was killed: the kernel hangs up, if it still runs."""
        if self._stream is not None:
            self._stream.up.end()

    # ---- sessions ----

    def _connect(self) -> None:
        link, self._began = self._node.link, self._local.monotonic()
        self._number += 1
        self._waiting = False
        if not link.whole:
            self._clock.after(_DIAL, self._agent, self._failed, self._number)
            return
        number = self._number
        stream = self._stream = self._host.connect(
            self._node.id, partial(self._receive, number), partial(self._failed, number)
        )
        if stream is None:
            self._clock.after(link.lag, self._agent, self._failed, number)
            return
        self._welcome, self._seq, self._parts = False, 0, []
        self._greeted = self._agent.report.digest
        held = {key: held.digest for key, held in self._agent.desired.held.items()}
        stream.up.send(Hello(self._greeted, held))
        self._clock.after(_WELCOME_WITHIN, self._agent, self._unanswered, number)

    def _unanswered(self, number: int) -> None:
        if not self._welcome:
            self._failed(number)

    def _failed(self, number: int) -> None:
        """The session is over, or there never was one: again, after a pause."""
        if number != self._number or self._waiting or not self._agent.alive:
            return
        self._waiting = True
        now = self._local.monotonic()
        if self._stream is not None:
            self._stream.end()
            self._stream = None
        if self._welcome:
            self._welcome = False
            self._ended_at = now
            assert self._pacer is not None
            self._agent.alone(min(now, self._pacer.heard_at()))
        if now - self._began > _STEADY:
            self._attempt = 0
        self._attempt += 1
        cap = self._node.profile.backoff_cap
        seconds = pause(self._attempt, self._rng.random(), cap=cap)
        self._clock.after(seconds, self._agent, self._again, self._number)

    def _again(self, number: int) -> None:
        if number == self._number and self._waiting:
            self._connect()

    def _queue(self, make: Callable[..., object], *values: object) -> int:
        self._seq += 1
        if self._stream is not None:
            self._stream.up.send(make(self._seq, *values))
        return self._seq

    # ---- what comes ----

    def _receive(self, number: int, message: Any) -> None:
        if number != self._number or self._waiting or not self._agent.alive:
            return
        if isinstance(message, Welcome):
            self._welcomed(message)
        elif not self._welcome or self._pacer is None:
            return
        else:
            self._pacer.heard(self._local.monotonic())
            match message:
                case wire.MasterMessage():
                    self._on_desired(message.desired)
                case BeatAck(seq):
                    self._acked = seq
                case Resync():
                    self._snapshot()
                case PulseAnswer(seq):
                    self._pacer.answered(seq, self._local.monotonic())
                case Goodbye():
                    self._failed(number)

    def _welcomed(self, message: Welcome) -> None:
        self._welcome = True
        self._generation, self._ended_at = message.generation, None
        self._pacer = Pacer(self._node.profile, self._local.monotonic())
        if message.need_snapshot or self._greeted != self._agent.report.digest:
            self._snapshot()
        else:
            self._queue(Told, Delta())
        self._agent.welcomed()
        self._acked = self._oldest = 0
        self._outage = False
        self._pulse(self._generation)
        self._beat(prompt=False)
        self._watch(self._number)

    def _on_desired(self, message: wire.Desired | None) -> None:
        assert message is not None
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
        self._agent.receive(change, states)

    # ---- what goes ----

    def told(self, delta: Delta) -> None:
        if self._welcome:
            self._queue(Told, delta)

    def taken(self, digest: int, error: str) -> None:
        if self._welcome:
            self._queue(Taken, digest, error)

    def _snapshot(self) -> None:
        self._queue(Snapshot, tuple(self._agent.report.instances.values()))

    def _beat(self, *, prompt: bool) -> None:
        """A heartbeat, and when the next one is due, or this one must have been acknowledged."""
        profile, now = self._node.profile, self._local.monotonic()
        agent = self._agent
        seq = self._queue(Beat, agent.report.digest, agent.desired.digest)
        if self._acked >= self._oldest:
            self._oldest, self._since = seq, now
        self._beats += 1
        patience = _PROMPT if prompt else profile.stream_stuck_after
        interval = profile.heartbeat_interval
        self._clock.after(min(patience, interval), agent, self._stuck, self._beats, patience)

    def _stuck(self, beats: int, patience: float) -> None:
        if beats != self._beats or not self._welcome:
            return
        waited = self._local.monotonic() - self._since
        if self._acked < self._oldest and waited >= 0.9 * patience:
            self._failed(self._number)
            return
        rest = max(0.0, self._node.profile.heartbeat_interval - patience)
        self._clock.after(rest, self._agent, self._next_beat, beats)

    def _next_beat(self, beats: int) -> None:
        if beats == self._beats and self._welcome:
            self._beat(prompt=False)

    def _watch(self, number: int) -> None:
        """Notice a silent master, and after an outage see that the stream moves again."""
        pacer = self._pacer
        if number != self._number or not self._welcome or pacer is None:
            return
        now = self._local.monotonic()
        if pacer.lost(now):
            self._failed(number)
            return
        silent = pacer.silent_for(now) >= pacer.profile.silent_after
        if self._outage and not silent:
            self._beat(prompt=True)
        self._outage = silent
        every = max(0.5, pacer.profile.pulse_interval / 2)
        self._clock.after(every, self._agent, self._watch, number)

    # ---- pulses ----

    def _pulse(self, generation: int) -> None:
        """Send one if it is due, and come back when the next one is."""
        pacer = self._pacer
        if generation != self._generation or pacer is None:
            return
        now = self._local.monotonic()
        due = self._next_pulse(pacer, now)
        if due <= now:
            heard_ago = now - pacer.heard_at()
            number = pacer.send(now)
            self._node.link.datagram(
                True, self._host.pulse, self._node.id, generation, number, heard_ago, self._answered
            )
            if self._welcome and pacer.silent_for(now) >= pacer.fallback_after:
                self._queue(StreamPulse, number, heard_ago)
            due = self._next_pulse(pacer, now)
        if self._ended_at is None or now - self._ended_at <= _PROBES_END:
            self._clock.at(self._local.ours(due) + 1e-6, self._agent, self._pulse, generation)

    def _next_pulse(self, pacer: Pacer, now: float) -> float:
        due = pacer.next_pulse()
        if self._ended_at is not None and now - self._ended_at > _CONNECTING:
            due = max(due, pacer.sent_at() + _PROBE_EVERY)
        return due

    def _answered(self, generation: int, number: int) -> None:
        if generation != self._generation or self._pacer is None or not self._agent.alive:
            return
        if self._pacer.answered(number, self._local.monotonic()) and self._waiting:
            # The way is free again. Not all at once, should there be many of us.
            wait = self._rng.random() * 0.2
            self._clock.after(wait, self._agent, self._again, self._number)
