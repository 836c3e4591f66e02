"""How a workload gets from one generation to the next: which of its copies may change now.

Of a rolling update at most `max_unavailable` copies are not well at any time. What is not well
already has nothing to lose and goes first. What is only not known to be well, because its node
says nothing yet or it has not lasted for long enough, waits until the others are: so a master that
starts anew does not take everything down before it has heard from everybody. What its node has not
got, and will not get as it was decided, is not waited for: nothing would ever be heard of it.

What no probe vouches for is ready as soon as it runs, even if it ends a moment later. So before the
next copy goes, it must have run for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from piccolo.core.planning.copies import is_well, tells_of
from piccolo.core.workloads.declared import Assignment
from piccolo.core.workloads.instances import InstanceStatus, Phase
from piccolo.core.workloads.workload import Update, Workload

UNPROBED_READY = 2.0  # s that a copy must last at least, if no probe says that it is ready


class Health(IntEnum):
    """In the order in which copies change."""

    AWAY = 0  # its node is: it learns of it all when it is back, and does not count
    BROKEN = 1  # it is not well
    UNSURE = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """One that is assigned to a node."""

    assignment: Assignment
    health: Health
    lasts: float | None = None  # s until it counts as well, if it stays as it is
    why: str = ""  # it has to change; empty: it is as it is to be
    moves: bool = False  # to another node
    same: bool = False  # the change leaves its containers alone


def must_last(workload: Workload) -> float:
    """For so many seconds a copy must be ready, until the next one may be taken down."""
    probes = [c.probes for c in workload.containers]
    probed = all(p.readiness is not None or p.startup is not None for p in probes)
    return workload.update.min_ready if probed else max(workload.update.min_ready, UNPROBED_READY)


def health(
    assignment: Assignment,
    status: InstanceStatus | None,
    *,
    lost: bool,
    ready: bool,
    lasted: float,
    must: float,
) -> tuple[Health, float | None]:
    """How a copy is, and the seconds until it counts as well where only time is missing.

    `lost`: its node has not got it, and cannot be told; `ready`: its node; `lasted`: for so many
    seconds the copy has been well; `must`: see `must_last`.
    """
    if not ready:
        return Health.AWAY, None
    if status is None:
        return Health.BROKEN if lost else Health.UNSURE, None
    if not is_well(status):
        return Health.BROKEN, None
    if not tells_of(status, assignment):
        return Health.UNSURE, None
    if status.phase is Phase.COMPLETED or lasted >= must:
        return Health.WELL, None
    return Health.UNSURE, must - lasted


@dataclass(frozen=True, slots=True)
class Turn:
    """Which copies change now. `wake_after`: in so many seconds it may be the turn of others."""

    now: tuple[Copy, ...] = ()
    wake_after: float | None = None


def rolling(update: Update, copies: Sequence[Copy], missing: int) -> Turn:
    """`missing`: so many copies are on no node at present, but soon will be."""
    now = [c for c in copies if c.why and (c.same or c.health <= Health.BROKEN)]
    most = max(1, update.max_unavailable)
    down = missing + sum(Health.AWAY < c.health < Health.WELL for c in copies)
    down += sum(c.health is Health.WELL for c in now)  # until its node has said that it is again
    waiting = [c for c in copies if c.why and not c.same and c.health > Health.BROKEN]
    if down <= most:
        unsure = [c for c in waiting if c.health is Health.UNSURE]
        well = [c for c in waiting if c.health is Health.WELL]
        now += unsure + well[: most - down]
    soon = [c.lasts for c in copies if c.lasts is not None]
    return Turn(_sorted(now), min(soon, default=None))


def _sorted(copies: Sequence[Copy]) -> tuple[Copy, ...]:
    return tuple(sorted(copies, key=lambda c: c.health))
