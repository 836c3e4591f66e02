"""In which order things may start and go that depend on each other, and where they cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from piccolo.core.planning.copies import Seen, status_of, tells_of
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import DependencyState, Phase


def find_cycles(graph: Mapping[str, Iterable[str]], limit: int = 10) -> list[tuple[str, ...]]:
    """Cycles that a walk along the dependencies finds, each as `(a, b, c)`: c depends on a.

    None are returned only if there are none. Names that are no keys depend on nothing. Takes time
    in proportion to the graph, and no recursion.
    """
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for root in graph:
        if root in done:
            continue
        way = {root: iter(graph[root])}  # the names on the way here, in order
        while way:
            name = next(reversed(way))
            following = next(way[name], None)
            if following is None:
                done.add(name)
                del way[name]
            elif following in way:
                names = list(way)
                found.append(tuple(names[names.index(following) :]))
                if len(found) == limit:
                    return found
            elif following not in done and following in graph:
                way[following] = iter(graph[following])
    return found


def state_of(
    name: str, assignments: Iterable[Assignment], seen: Seen, declared: Declared | None
) -> DependencyState:
    """What holds of a workload, over all its copies: `assignments` are those of it.

    Of one that is not declared, or has no copy on any node, nothing holds.
    """
    copies = list(assignments) if declared is not None else []
    found = [status_of(copy, seen) for copy in copies]
    told = [s for s, copy in zip(found, copies, strict=True) if s and tells_of(s, copy)]
    if not copies or len(told) < len(copies):
        return DependencyState(name)
    running = all(s.phase is Phase.RUNNING for s in told)
    return DependencyState(
        name,
        running=running,
        healthy=running and all(s.ready for s in told),
        completed=all(s.phase is Phase.COMPLETED for s in told),
    )


def dependents_of(names: Iterable[str], declared: Mapping[str, Declared]) -> set[str]:
    """All workloads that depend on one of these, directly or by way of others; not they."""
    found = set(names)
    dependents = _dependents(declared)
    waiting = list(found)
    while waiting:
        for name in dependents.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found.difference(names)


def _dependents(declared: Mapping[str, Declared]) -> dict[str, list[str]]:
    """By workload, those that depend on it directly."""
    found: dict[str, list[str]] = {}
    for name, one in declared.items():
        for dependency in one.workload.depends_on:
            found.setdefault(dependency.workload, []).append(name)
    return found


def in_order(
    deleting: Mapping[str, Declared], assigned: Set[str], seen: Set[str]
) -> tuple[str, ...]:
    """Which of the workloads that are being deleted may stop now: dependents go first.

    `assigned`: those that have copies, `seen`: those of which something is still there. A circle,
    which should not be, goes at once.
    """
    dependents = _dependents(deleting)
    there = [name for name in deleting if name in assigned or name in seen]
    open_ = dict.fromkeys(there, 0)  # how many dependents must go before
    for name in there:
        open_[name] = len({d for d in dependents.get(name, ()) if d in open_ and d != name})
    free = [name for name in there if not open_[name]]
    stopped: set[str] = set()
    going = False  # some are stopped, but not gone yet
    while free:
        name = free.pop()
        stopped.add(name)
        if name in seen:
            going = True
            continue
        for needed in {d.workload for d in deleting[name].workload.depends_on} - {name}:
            if needed in open_:
                open_[needed] -= 1
                if not open_[needed]:
                    free.append(needed)
    return tuple(name for name in there if name in stopped or not going)
