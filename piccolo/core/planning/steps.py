"""Steps of a plan: single changes of assignments, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from piccolo.core.workloads.declared import Assignment


class Verb(StrEnum):
    START = "start"
    REPLACE = "replace"  # by another generation, or by fresh containers, on its node
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Step:
    """`generation` and `restarts` are those that it leads to; of a STOP those that end."""

    verb: Verb
    workload: str
    index: int
    node_id: str
    generation: int
    restarts: int
    reason: str  # for people

    @property
    def assignment(self) -> Assignment:
        return Assignment(self.workload, self.index, self.node_id, self.generation, self.restarts)


def step(verb: Verb, a: Assignment, reason: str) -> Step:
    return Step(verb, a.workload, a.index, a.node_id, a.generation, a.restarts, reason)


def applied(assignments: Iterable[Assignment], steps: Iterable[Step]) -> tuple[Assignment, ...]:
    """The assignments after carrying out the steps."""
    found = {(a.node_id, a.key): a for a in assignments}
    for one in steps:
        after = one.assignment
        if one.verb is Verb.STOP:
            found.pop((after.node_id, after.key), None)
        else:
            found[after.node_id, after.key] = after
    return tuple(found.values())


def merged(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The same in the end, with at most one step for each instance on each node."""
    found: dict[tuple[str, str], Step] = {}
    for one in steps:
        place = one.node_id, one.assignment.key
        before = found.pop(place, None)
        if before is None:
            found[place] = one
        elif one.verb is not Verb.STOP:
            verb = Verb.START if before.verb is Verb.START else Verb.REPLACE
            found[place] = replace(one, verb=verb)
        elif before.verb is not Verb.START:
            found[place] = one
    return tuple(found.values())
