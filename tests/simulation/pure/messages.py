"""What agent and master say to each other on a stream: `proto/`, as far as it matters here.

What the master says of instances are real messages, from the real feed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piccolo.core.report import Delta
from piccolo.core.workloads.instances import InstanceStatus

# ---- of the agent ----


@dataclass(frozen=True, slots=True)
class Hello:
    digest: int  # of its report
    held: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Told:
    seq: int
    delta: Delta


@dataclass(frozen=True, slots=True)
class Snapshot:
    seq: int
    instances: Sequence[InstanceStatus]


@dataclass(frozen=True, slots=True)
class Beat:
    seq: int
    digest: int
    desired_digest: int


@dataclass(frozen=True, slots=True)
class Taken:
    seq: int
    digest: int
    error: str


@dataclass(frozen=True, slots=True)
class StreamPulse:
    seq: int
    number: int
    heard_ago: float


# ---- of the master ----


@dataclass(frozen=True, slots=True)
class Welcome:
    generation: int
    need_snapshot: bool


@dataclass(frozen=True, slots=True)
class BeatAck:
    seq: int


@dataclass(frozen=True, slots=True)
class Resync:
    pass


@dataclass(frozen=True, slots=True)
class PulseAnswer:
    number: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    pass
