"""Sources that fail to prove who they are, and the growing pauses that they are given.

Pure: `now` comes in, monotonic, in seconds. A source is an address, or the /64 network of an IPv6
address, as whoever has one address of it has all (RFC 6177): see `source_of`.

A success clears nothing. Whoever has one valid login would otherwise use it between two guesses at
another, and an honest node behind the same NAT address would give its neighbour new guesses each
time it calls. Time alone clears.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from dataclasses import dataclass, field

FREE = 5  # failures that have no consequence: mistyped, or a clock that is wrong
MEMORY = 600.0  # s without failure until a source is as if it had never failed
LONGEST = 300.0  # s
SOURCES = 4096


def source_of(host: str) -> str:
    """What `host` counts as: an IPv4 address itself, also when mapped into IPv6 (RFC 4291,
    2.5.5.2), an IPv6 address its /64. Anything else, and what is a source already, is left alone.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(frozen=True, slots=True)
class Block:
    """A pause that has just begun."""

    source: str
    failures: int  # so far, since the source was last forgotten
    seconds: float


@dataclass(slots=True)
class _Record:
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=FREE + 1))
    failures: int = 0
    until: float = 0.0  # the end of the last block
    seconds: float = 0.0  # how long it was; 0: there was none

    def forgotten(self, now: float) -> bool:
        return now - self.recent[-1] >= MEMORY and now >= self.until


class Blocklist:
    """Counts failures per source. At most `SOURCES` are remembered: the one whose last failure is
    longest ago makes room, those blocked only when there are no others.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}  # in the order of their last failures

    def __len__(self) -> int:
        return len(self._records)

    def failed(self, source: str, now: float) -> Block | None:
        """Another failure. Returns the block that it begins, if it does.

        The first `FREE` within `MEMORY` seconds are free; the next begins a block of 1 s, and each
        one after the end of a block begins another, twice as long, up to `LONGEST`. Failures
        during a block are counted, but do not prolong it: an honest node behind the same address
        would otherwise never get in.
        """
        record = self._records.pop(source, None)
        if record is None or record.forgotten(now):
            record = _Record()
        self._make_room(now)
        self._records[source] = record
        record.recent.append(now)
        record.failures += 1
        if now < record.until:
            return None
        if not record.seconds and not self._too_many(record, now):
            return None
        record.seconds = min(2 * record.seconds, LONGEST) or 1.0
        record.until = now + record.seconds
        return Block(source, record.failures, record.seconds)

    def blocked_for(self, source: str, now: float) -> float:
        """Seconds until `source` may try again; 0: it may."""
        record = self._records.get(source)
        return max(0.0, record.until - now) if record is not None else 0.0

    @staticmethod
    def _too_many(record: _Record, now: float) -> bool:
        return len(record.recent) > FREE and now - record.recent[0] < MEMORY

    def _make_room(self, now: float) -> None:
        if len(self._records) < SOURCES:
            return
        unblocked = (s for s, record in self._records.items() if record.until <= now)
        oldest = next(unblocked, None) or min(
            self._records, key=lambda source: self._records[source].until
        )
        del self._records[oldest]
