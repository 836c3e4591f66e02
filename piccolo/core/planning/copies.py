"""A copy of a workload: what was decided of it, beside what was seen of it.

Agents need a moment. Until one has taken over what was decided, its status still tells of the
containers of before: they may run and be well, and yet are not what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import InstanceStatus, Phase

Seen = Mapping[tuple[str, str], InstanceStatus]  # by node and key of the instance


def status_of(copy: Assignment, seen: Seen) -> InstanceStatus | None:
    return seen.get((copy.node_id, copy.key))


def tells_of(status: InstanceStatus, copy: Assignment) -> bool:
    """Whether a status is of what the assignment asks for, and not of what was there before."""
    parts = status.hash.split("-")
    restarted = len(parts) != 3 or parts[2] == str(copy.restarts)  # without containers: no hash
    return status.generation == copy.generation and restarted


def is_well(status: InstanceStatus) -> bool:
    """It does what it is there for, or has done it."""
    return status.ready or status.phase is Phase.COMPLETED


def is_outdated(copy: Assignment, declared: Declared) -> bool:
    return (copy.generation, copy.restarts) != (declared.generation, declared.restarts)


def same_containers(status: InstanceStatus, spec: str, restarts: int) -> bool:
    """Whether the containers that there are stay with a spec of this hash."""
    parts = status.hash.split("-")
    return len(parts) == 3 and parts[::2] == [spec, str(restarts)]


def by_workload(assignments: Iterable[Assignment]) -> dict[str, list[Assignment]]:
    found: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        found.setdefault(assignment.workload, []).append(assignment)
    return found
