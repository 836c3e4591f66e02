"""Pulses: tiny authenticated datagrams that show life beside the stream (P6, Z6).

Two parts, neither of which does I/O: the format, and the agent's pacing of it.

A pulse is 34 bytes::

    magic "P" | kind | session id (8) | sequence (4) | heard (4) | MAC (16)

`kind` is 1 for an agent's pulse and 2 for the master's answer, which repeats the sequence number
that it answers. `heard` is the milliseconds since the sender last heard the other side. The MAC is
HMAC-SHA256 over all before it, cut to 16 bytes (RFC 2104, section 5), under the session's key.

Replay: in each direction only a sequence number above the highest one seen counts.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from piccolo.core.nodes.liveness import LinkProfile

PULSE = 1
ANSWER = 2
KEY_BYTES = 32
_HEAD = struct.Struct("!cBQII")
_MAC_BYTES = 16
SIZE = _HEAD.size + _MAC_BYTES
NEVER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Pulse:
    kind: int
    session_id: int
    seq: int
    heard_ms_ago: int  # NEVER: not yet


def encode(pulse: Pulse, key: bytes) -> bytes:
    head = _HEAD.pack(b"P", pulse.kind, pulse.session_id, pulse.seq, pulse.heard_ms_ago)
    return head + hmac.digest(key, head, "sha256")[:_MAC_BYTES]


def session_of(datagram: bytes) -> int | None:
    """The session a datagram claims to belong to, unchecked; None: it is no pulse at all."""
    if len(datagram) != SIZE or datagram[:1] != b"P":
        return None
    return int(_HEAD.unpack_from(datagram)[2])


def decode(datagram: bytes, key: bytes, kind: int) -> Pulse | None:
    """The pulse, if it is well-formed, of this kind and authentic; else None."""
    if session_of(datagram) is None:
        return None
    head, mac = datagram[: _HEAD.size], datagram[_HEAD.size :]
    if not hmac.compare_digest(hmac.digest(key, head, "sha256")[:_MAC_BYTES], mac):
        return None
    _, its_kind, session_id, seq, heard = _HEAD.unpack(head)
    return Pulse(its_kind, session_id, seq, heard) if its_kind == kind else None


def ms_ago(then: float | None, now: float) -> int:
    """`then` as the wire has it."""
    return NEVER if then is None else min(NEVER - 1, max(0, int((now - then) * 1000)))


class Pacer:
    """When the agent sends its next pulse, and what silence means to it.

    While pulses are answered, one goes out every `pulse_interval`. An unanswered one is followed
    by others every `pulse_retry`: repeating is what makes detection calm on a lossy link. When
    nothing is heard for `fallback_after`, pulses go over the stream as well.
    """

    __slots__ = (
        "_answered_at",
        "_confirm",
        "_heard_at",
        "_sent_at",
        "_unanswered",
        "profile",
        "rtt",
        "seq",
    )

    def __init__(self, profile: LinkProfile, now: float) -> None:
        self.profile = profile
        self.seq = 0
        self.rtt: float | None = None  # seconds, of the newest answered pulse
        self._heard_at: float = now  # anything of the master's, by whichever way
        self._answered_at = 0  # the highest sequence number answered
        self._sent_at: float | None = None
        self._unanswered = 0
        self._confirm = False  # the other side is to know at once that it is heard again

    @property
    def fallback_after(self) -> float:
        return self.profile.pulse_interval + 3 * self.profile.pulse_retry

    def heard_at(self) -> float:
        return self._heard_at

    def sent_at(self) -> float:
        """When the newest pulse went out; 0: none did."""
        return self._sent_at or 0.0

    def next_pulse(self) -> float:
        """When the next pulse is due."""
        if self._sent_at is None:
            return 0.0
        # The first repetition waits for a slow answer as well.
        waiting = self._unanswered > 0 or self._confirm
        p = self.profile
        gap = max(p.pulse_retry, 1.5 * min(self.rtt or 0.0, p.pulse_interval)) if waiting else None
        return self._sent_at + (p.pulse_interval if gap is None else gap)

    def send(self, now: float) -> int:
        """A pulse goes out now; returns its sequence number."""
        self.seq += 1
        self._sent_at = now
        self._heard_at = min(self._heard_at, now)  # see `forgive`
        self._unanswered += 1
        return self.seq

    def answered(self, seq: int, now: float) -> bool:
        """An answer came. False: it is a repetition or answers nothing that was sent."""
        if not self._answered_at < seq <= self.seq:
            return False
        self._confirm = self.silent_for(now) >= self.fallback_after
        self._answered_at = seq
        self._unanswered = 0
        if seq == self.seq and self._sent_at is not None:
            self.rtt = now - self._sent_at
        self._heard_at = now
        return True

    def heard(self, now: float) -> None:
        """A message of the master's came on the stream."""
        self._heard_at = now

    def forgive(self, seconds: float) -> None:
        """The agent itself was frozen that long: the master is not to blame for it.

        Where an answer was read since, this reaches into the future; the next `send` sets it right.
        """
        self._heard_at += seconds

    def silent_for(self, now: float) -> float:
        return now - self._heard_at

    def lost(self, now: float) -> bool:
        """Nothing at all came from the master for so long that the stream is given up."""
        return self.silent_for(now) >= self.profile.stream_silent_after
