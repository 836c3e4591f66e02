"""How many may be inside, and who has to go when it is full.

Bookkeeping only: no sockets, no clock. Two rules hold everywhere. The oldest makes room, as an
honest peer is quick and an attacker's half-open connections pile up, but for one that waits for
our answer; and the party that has the most loses first, so that one source never keeps another one
out.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

_RESERVE = 128  # descriptors that stay for the store, the logs, the pulses


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one server. Times in seconds, sizes in bytes."""

    message: int = 4 << 20
    message_time: float = 30.0  # within which a message that was begun is complete
    anonymous_message: int = 64 << 10  # of peers without a certificate: requests to join are small

    # Before TLS: connections that have not sent a whole ClientHello yet. They cost a descriptor.
    lobby: int = 1024
    lobby_per_source: int = 512
    # In TLS: these cost memory and a signature. A source that has fewer than its share gets a
    # place at once, at the expense of the one with the most.
    handshakes: int = 128
    handshake_share: int = 16
    handshake_time: float = 5.0  # for both together
    patience: float = 1.0  # how long a handshake keeps its place when others want it
    trickle: float = 5.0  # new connections/s from a blocked source: honest nodes may be behind it

    # Established ones.
    anonymous: int = 256
    anonymous_per_source: int = 128
    anonymous_time: float = 20.0  # how long they live
    anonymous_patience: float = 2.0  # how long they keep their place when others want it
    known: int = 4096
    per_identity: int = 32
    preface_time: float = 5.0  # from TLS to the first frame of HTTP/2
    idle_time: float = 60.0  # without an open stream

    # HTTP/2. All streams together fit into the window of the connection, so that requests which
    # wait for each other cannot use it up: `streams` × `stream_window` ≤ `window`.
    streams: int = 100
    anonymous_streams: int = 8
    window: int = 1 << 20
    anonymous_window: int = 64 << 10
    stream_window: int = 8 << 10
    large_window: int = 256 << 10  # of the stream whose large message is being read
    headers: int = 16 << 10  # as RFC 9113, 6.5.2 counts: 32 more per field
    control_rate: float = 100.0  # resets, pings, settings, empty frames per second
    control_burst: float = 500.0
    backlog: int = 4 << 20  # what a peer that does not read may leave in our send buffer

    def within(self, descriptors: int) -> Limits:
        """The same for a process that may have that many descriptors."""
        room = max(descriptors - _RESERVE, 64)
        lobby = min(self.lobby, room // 4)
        handshakes = min(self.handshakes, room // 16)  # two descriptors each
        anonymous = min(self.anonymous, room // 8)
        return replace(
            self,
            lobby=lobby,
            lobby_per_source=min(self.lobby_per_source, max(lobby // 2, 1)),
            handshakes=handshakes,
            anonymous=anonymous,
            known=min(self.known, room - lobby - 2 * handshakes - anonymous),
        )

    @property
    def descriptors(self) -> int:
        """How many are needed for all of this."""
        return self.lobby + 2 * self.handshakes + self.anonymous + self.known + _RESERVE


def descriptors(wanted: int) -> int:
    """How many this process may have (getrlimit(2)), after raising its soft limit to what is
    wanted, as far as the hard one allows: 1024 is a default for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


@dataclass(slots=True)
class Bucket:
    """A token bucket: `burst` at once, `rate` per second in the long run."""

    rate: float
    burst: float
    _spent: float = 0.0
    _at: float = 0.0

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Whether there was enough; if not, nothing is taken."""
        left = max(0.0, self._spent - (now - self._at) * self.rate)
        self._at = now
        self._spent = left + cost if left + cost <= self.burst else left
        return left + cost <= self.burst


T = TypeVar("T")


class Crowd(Generic[T]):
    """Members by the party that they belong to, and since when. Nothing takes longer in a larger
    crowd: when hundreds want in at once, each of them is judged by what is here.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[T, float]] = {}
        self._total = 0
        self._by_size: list[dict[str, None]] = [{}]  # parties by how many members they have

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[T]:
        """All members, as they are now: the crowd may be changed meanwhile."""
        return iter([member for members in self._of.values() for member in members])

    def of(self, party: str) -> int:
        return len(self._of.get(party, ()))

    def add(self, party: str, member: T, now: float) -> None:
        members = self._of.setdefault(party, {})
        members[member] = now
        self._total += 1
        self._resized(party, len(members) - 1, len(members))

    def remove(self, party: str, member: T) -> bool:
        """Whether it was in."""
        members = self._of.get(party, {})
        if member not in members:
            return False
        del members[member]
        self._total -= 1
        self._resized(party, len(members) + 1, len(members))
        if not members:
            del self._of[party]
        return True

    def _resized(self, party: str, before: int, now: int) -> None:
        self._by_size[before].pop(party, None)
        if now == len(self._by_size):
            self._by_size.append({})
        if now:
            self._by_size[now][party] = None
        while len(self._by_size) > 1 and not self._by_size[-1]:
            self._by_size.pop()

    def oldest(self, party: str) -> tuple[T, float]:
        """And since when it is in."""
        return next(iter(self._of[party].items()))

    def members(self, party: str) -> Iterator[tuple[T, float]]:
        """Oldest first, and since when each is in."""
        return iter(self._of[party].items())

    def largest(self) -> str:
        """The party with the most members; there must be one."""
        return next(iter(self._by_size[-1]))

    def all_largest(self) -> list[str]:
        """Those that have as many."""
        return list(self._by_size[-1])


class Member(Protocol):
    """An established connection."""

    @property
    def waits(self) -> bool:
        """Whether it has said all that it wants, and we owe it an answer."""
        ...

    def dismiss(self, reason: str) -> None:
        """Close it now."""
        ...

    def finish(self, reason: str) -> None:
        """Say goodbye, and close it."""
        ...


class Connections:
    """Those that have completed TLS: by certificate, or by source where there is none."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.anonymous: Crowd[Member] = Crowd()
        self.known: Crowd[Member] = Crowd()
        # Who has one certificate sends one large message at a time, on however many connections.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turns(self, identity: str) -> asyncio.Lock:
        """Held while a large message of theirs is read."""
        return self._turns.setdefault(identity, asyncio.Lock())

    def enter(self, member: Member, source: str, identity: str, now: float) -> bool:
        """`identity` is empty without a certificate. False: there is no room for it."""
        if identity:
            entered = self._room_for_known(identity)
            if entered:
                self.known.add(identity, member, now)
        else:
            entered = self._room_for_anonymous(source, now)
            if entered:
                self.anonymous.add(source, member, now)
        return entered

    def leave(self, member: Member, source: str, identity: str) -> None:
        (self.known if identity else self.anonymous).remove(identity or source, member)

    def _room_for_known(self, identity: str) -> bool:
        limits = self._limits
        if self.known.of(identity) >= limits.per_identity:
            self._dismiss(self.known, identity, self.known.oldest(identity)[0])
        elif len(self.known) >= limits.known:
            largest = self.known.largest()
            if self.known.of(largest) <= self.known.of(identity) + 1:
                return False
            self._dismiss(self.known, largest, self.known.oldest(largest)[0])
        return True

    def _room_for_anonymous(self, source: str, now: float) -> bool:
        """Who waits for us keeps its place, but for sources that have more than others: when many
        come at once, it is the one that is served next.
        """
        limits, crowd = self._limits, self.anonymous
        if crowd.of(source) >= limits.anonymous_per_source:
            rivals = [source]
        elif len(crowd) >= limits.anonymous:
            rivals = crowd.all_largest()
        else:
            return True
        unfair = crowd.of(rivals[0]) > crowd.of(source) + 1
        for rival in rivals:
            for member, since in crowd.members(rival):
                if not unfair and now - since < limits.anonymous_patience:
                    break  # those behind it are younger
                if not member.waits:
                    self._dismiss(crowd, rival, member)
                    return True
        if unfair:
            self._dismiss(crowd, rivals[0], crowd.oldest(rivals[0])[0])
        return unfair

    @staticmethod
    def _dismiss(crowd: Crowd[Member], party: str, member: Member) -> None:
        crowd.remove(party, member)
        member.dismiss("a newer connection takes its place")
