"""Is a node alive? The master's judgement of one connection, fast and calm together.

Evidence comes from two ways: *pulses*, small datagrams a few times a second, and the *stream*,
whose messages arrive rarely and stall for seconds when packets are lost. A `Link` is asked
`verdict(now)`; it never acts by itself, and `next_deadline(now)` says when to ask again.

A link is lost when one of these holds, whichever comes first:

==================  ==========================================================================
ConnectionClosed    the stream was closed and no new session came within `reconnect_grace` (of the
                    last pulse, while the node still sends some: it lives, and is connecting)
Silent              nothing at all was heard for `silent_after` (`stream_silent_after` while no
                    datagrams get through: a lost segment alone silences TCP for seconds)
Deaf                the node is heard but has not heard the master for `deaf_after`
HeartbeatTimeout    pulses come, but `heartbeat_misses` heartbeats in a row did not (HLD 8.1):
                    the last resort, for a stream that is stuck
==================  ==========================================================================

Why this is calm: the agent repeats an unanswered pulse every `pulse_retry`, so within
`silent_after` of the wired profile about 14 pulses must *all* be lost before a living node is
judged dead. `docs/liveness.md` has the numbers. All times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from piccolo.core.nodes.states import Fault


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """Timing of one kind of link. All durations are in seconds."""

    name: str
    pulse_interval: float  # between pulses while they are answered
    pulse_retry: float  # between pulses while one is unanswered
    suspect_after: float  # of silence: a condition, not a state
    silent_after: float
    stream_silent_after: float
    deaf_after: float
    reconnect_grace: float
    backoff_cap: float  # the longest pause of an agent between two attempts to connect
    stream_stuck_after: float  # the agent gives up a stream that makes no progress
    heartbeat_interval: float = 10.0  # HLD 8.1
    heartbeat_misses: int = 3

    @property
    def heartbeat_timeout(self) -> float:
        return self.heartbeat_interval * self.heartbeat_misses


PROFILES: Mapping[str, LinkProfile] = {
    p.name: p
    for p in (
        LinkProfile(
            name="wired",
            pulse_interval=0.5,
            pulse_retry=0.1,
            suspect_after=1.8,
            silent_after=2.8,
            stream_silent_after=4.2,
            deaf_after=3.8,
            reconnect_grace=1.5,
            backoff_cap=5.0,
            stream_stuck_after=10.0,
        ),
        LinkProfile(
            name="wireless",
            pulse_interval=0.5,
            pulse_retry=0.1,
            suspect_after=2.0,
            silent_after=3.6,
            stream_silent_after=4.5,
            deaf_after=4.4,
            reconnect_grace=2.0,
            backoff_cap=5.0,
            stream_stuck_after=15.0,
        ),
        LinkProfile(
            name="cellular",
            pulse_interval=5.0,
            pulse_retry=1.0,
            suspect_after=12.0,
            silent_after=20.0,
            stream_silent_after=45.0,
            deaf_after=25.0,
            reconnect_grace=10.0,
            backoff_cap=60.0,
            stream_stuck_after=60.0,
            heartbeat_interval=30.0,
        ),
    )
}


class Link:
    """What is known of one node's connection. The caller passes `now` to everything."""

    __slots__ = (
        "_closed_at",
        "_datagram_at",
        "_fault_after_close",
        "_grace",
        "_heard_at",
        "_hears_us_at",
        "_heartbeat_at",
        "_lenient_until",
        "_probed_at",
        "generation",
        "profile",
    )

    def __init__(self, profile: LinkProfile, now: float, *, grace: float = 0.0) -> None:
        """A node that is not connected. It has `grace` seconds to come before it is judged."""
        self.profile = profile
        self.generation = 0  # of the session, 0: none yet
        self._heard_at = self._hears_us_at = self._heartbeat_at = now
        self._datagram_at: float | None = None
        self._closed_at: float | None = now
        self._probed_at = now
        self._grace = grace
        self._lenient_until = now
        self._fault_after_close = Fault.CONNECTION_CLOSED

    # ---- evidence ----

    def opened(self, generation: int, now: float) -> None:
        """A new session replaces whatever was before; an older generation changes nothing."""
        if generation <= self.generation:
            return
        self.generation = generation
        self._closed_at = None
        self._datagram_at = None
        self._heard_at = self._hears_us_at = self._heartbeat_at = now
        self._fault_after_close = Fault.CONNECTION_CLOSED

    def heard(
        self,
        generation: int,
        now: float,
        *,
        heard_us_ago: float | None = None,
        datagram: bool = False,
        heartbeat: bool = False,
    ) -> None:
        """Something authentic came from the node, in this session.

        `heard_us_ago`: how long before sending it the node had last heard the master, in seconds.
        """
        if generation != self.generation or self._closed_at is not None:
            return
        self._heard_at = now
        if datagram:
            self._datagram_at = now
        if heartbeat:
            self._heartbeat_at = now
        if heard_us_ago is not None:
            self._hears_us_at = max(self._hears_us_at, now - heard_us_ago)

    def closed(self, generation: int, now: float, *, said_goodbye: bool = False) -> None:
        """The stream of this session ended. After a goodbye there is nothing to wait for."""
        if generation != self.generation or self._closed_at is not None:
            return
        self._closed_at = self._probed_at = now
        self._grace = self.profile.reconnect_grace
        if now < self._lenient_until:
            self._grace += self.profile.backoff_cap
        if said_goodbye:
            self._grace = 0.0
            self._fault_after_close = Fault.AGENT_STOPPED

    def probed(self, generation: int, now: float) -> None:
        """A pulse of the session that was closed: the node lives, and is on its way back.

        That puts the verdict off, for at most `stream_stuck_after` from the closing: on a link that
        loses packets it takes seconds to connect, and a node that cannot is of no use.
        """
        if generation == self.generation and not self.open and self.fault(now) is None:
            self._probed_at = now

    def forgive(self, seconds: float, now: float) -> None:
        """The judge itself slept that long (frozen, or starved): nobody is to blame for it.

        The node may have given up meanwhile, so for a while it has more time to come back. What
        came during the sleep was read before this is called, so no time is moved beyond `now`.
        """
        p = self.profile
        self._lenient_until = now + p.stream_silent_after
        waiting = not self.open and self.fault(now - seconds) is None
        if waiting and self._fault_after_close is Fault.CONNECTION_CLOSED:
            self._grace = max(self._grace, p.reconnect_grace + p.backoff_cap)
        self._heard_at = min(now, self._heard_at + seconds)
        self._hears_us_at = min(now, self._hears_us_at + seconds)
        self._heartbeat_at = min(now, self._heartbeat_at + seconds)
        if self._closed_at is not None:
            self._closed_at = min(now, self._closed_at + seconds)
            self._probed_at = min(now, self._probed_at + seconds)
        if self._datagram_at is not None:
            self._datagram_at = min(now, self._datagram_at + seconds)

    # ---- judgement ----

    @property
    def open(self) -> bool:
        return self._closed_at is None

    def datagrams(self, now: float) -> bool:
        """Whether pulses come as datagrams: some did, and not long before the last sign of life."""
        at = self._datagram_at
        return at is not None and self._heard_at - at < self.profile.silent_after

    def _deadlines(self, now: float) -> dict[Fault, float]:
        p = self.profile
        if self._closed_at is not None:
            latest = self._closed_at + max(self._grace, p.stream_stuck_after)
            return {self._fault_after_close: min(latest, self._probed_at + self._grace)}
        datagrams = self.datagrams(now)
        silence = p.silent_after if datagrams else p.stream_silent_after
        return {
            Fault.SILENT: self._heard_at + silence,
            Fault.DEAF: self._hears_us_at + max(p.deaf_after, silence),
            Fault.HEARTBEAT_TIMEOUT: self._heartbeat_at + p.heartbeat_timeout,
        }

    def fault(self, now: float) -> Fault | None:
        """Why the link counts as lost at `now`; None: it does not."""
        overdue = {f: t for f, t in self._deadlines(now).items() if t <= now}
        first = min(overdue, key=overdue.__getitem__) if overdue else None
        # Without datagrams a node falls deaf a moment before it falls silent; it is both.
        silent = self._heard_at + self.profile.suspect_after <= now
        return Fault.SILENT if first is Fault.DEAF and silent else first

    def suspect(self, now: float) -> bool:
        """Late, not yet dead."""
        return not self.open or self._suspect_at(now) <= now

    def _suspect_at(self, now: float) -> float:
        late = self.profile.suspect_after * (1 if self.datagrams(now) else 2)
        return min(self._heard_at, self._hears_us_at) + late

    def alive(self, now: float) -> bool:
        """Heard just now, over an open stream: whoever else claims this identity is a copy."""
        return self.open and now < self._heard_at + self.profile.silent_after

    def next_deadline(self, now: float) -> float | None:
        """When the judgement can next change by the passing of time alone; None: it cannot."""
        times = list(self._deadlines(now).values())
        if self.open:
            times.append(self._suspect_at(now))
        return min((t for t in times if t > now), default=None)

    def silence(self, now: float) -> float:
        """Seconds since anything was heard of the node."""
        return now - self._heard_at

    def explain(self, fault: Fault, now: float) -> str:
        """For people: what `fault` means here, with the figures."""
        p = self.profile
        return {
            Fault.CONNECTION_CLOSED: "the connection was closed and did not come back within"
            f" {self._grace:.1f} s",
            Fault.AGENT_STOPPED: "the agent was stopped",
            Fault.SILENT: f"nothing was heard for {self.silence(now):.1f} s"
            " (cable, power, or the agent is frozen)",
            Fault.DEAF: "the node is heard, but has not heard the master for"
            f" {now - self._hears_us_at:.1f} s (one-way link)",
            Fault.HEARTBEAT_TIMEOUT: f"{p.heartbeat_misses} heartbeats of"
            f" {p.heartbeat_interval:.0f} s missed (the stream is stuck)",
        }[fault]
