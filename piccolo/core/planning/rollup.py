"""What a workload is doing, in one word: `piccolo get workloads` shows it, and commands wait on it.

`settled` is what ends their waiting: nothing will change by itself any more, be it that all is as
asked, or that it cannot be (`failed`). What waits for a node that is away is settled as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from piccolo.core import words
from piccolo.core.planning.copies import Seen, is_outdated, is_well, status_of, tells_of
from piccolo.core.workloads.declared import Assignment, Declared
from piccolo.core.workloads.instances import InstanceStatus, Phase

_NAMES = 3  # in a message
_HELD = "no action has launched it, or one has terminated it"


class State(StrEnum):
    HELD = "Held"  # no action has launched it, or one has terminated it
    PENDING = "Pending"  # a copy has no node, or its node is away
    WAITING = "Waiting"  # for what it depends on
    STARTING = "Starting"
    UPDATING = "Updating"
    RUNNING = "Running"
    DEGRADED = "Degraded"  # some copies are well, or the only one is not well at present
    CRASH_LOOP = "CrashLoop"
    ERROR = "Error"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"


@dataclass(frozen=True, slots=True)
class Rollup:
    state: State
    reason: str = ""  # one CamelCase word
    message: str = ""
    wanted: int = 0  # copies
    placed: int = 0  # of them on a node
    updated: int = 0  # of them of the current generation, and running or completed
    ready: int = 0  # of them well, on nodes that are ready
    restarts: int = 0
    settled: bool = False
    failed: bool = False


def roll_up(
    declared: Declared,
    assignments: Iterable[Assignment],
    seen: Seen,
    nodes_ready: Mapping[str, bool],
    unplaced: str | None,
    names: Mapping[str, str] | None = None,
) -> Rollup:
    """`assignments` are those of the workload. `seen` may hold others too, which only takes longer.

    `unplaced`: what the plan says of it; `names`: of the nodes, by id.
    """
    name, names = declared.workload.name, names or {}
    copies = [
        _Copy(
            a,
            status_of(a, seen),
            names.get(a.node_id, a.node_id),
            away=not nodes_ready.get(a.node_id),
            outdated=is_outdated(a, declared),
        )
        for a in sorted(assignments, key=lambda a: (a.index, names.get(a.node_id, a.node_id)))
    ]
    mine = {(c.assignment.node_id, c.assignment.key) for c in copies}
    left = [place for place, s in seen.items() if s.workload == name and place not in mine]
    leaving = sorted((k, names.get(n, n)) for n, k in left if nodes_ready.get(n))
    cut_off = sorted((k, names.get(n, n)) for n, k in left if nodes_ready.get(n) is False)
    if declared.deleting_since or not declared.active:
        found = _going(declared, copies, leaving, cut_off)
    else:
        found = _Staying(declared, copies, leaving, unplaced or "").rollup()
    return replace(
        found,
        placed=len(copies),
        updated=sum(c.current and c.phase in (Phase.RUNNING, Phase.COMPLETED) for c in copies),
        ready=sum(c.well for c in copies),
        restarts=sum(c.status.restarts for c in copies if c.status),
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    assignment: Assignment
    status: InstanceStatus | None
    node: str  # its name
    away: bool  # the node is not ready: the status is what it said last
    outdated: bool  # what was assigned is not what is declared

    @property
    def told(self) -> bool:
        """Its status is of what was assigned."""
        return self.status is not None and tells_of(self.status, self.assignment)

    @property
    def current(self) -> bool:
        return self.told and not self.outdated and not self.away

    @property
    def phase(self) -> Phase | None:
        return self.status.phase if self.status else None

    @property
    def well(self) -> bool:
        return self.status is not None and is_well(self.status) and not self.away

    @property
    def as_asked(self) -> bool:
        """As far as is known: its node may be away."""
        return self.told and not self.outdated and self.status is not None and is_well(self.status)

    def __str__(self) -> str:
        return f"{self.assignment.key} on {self.node}"


Places = Sequence[tuple[str, str]]  # instance and node, by name


def _going(declared: Declared, copies: Sequence[_Copy], leaving: Places, cut_off: Places) -> Rollup:
    """It is deleted, or not to run."""
    settled = not copies and not leaving
    state = State.STOPPING if declared.deleting_since or not settled else State.HELD
    there = [*map(str, copies), *(f"{key} on {node}" for key, node in leaving)]
    if there:
        message = f"still there: {words.some(there, _NAMES)}"
    elif cut_off:
        nodes = words.some(sorted({node for _, node in cut_off}), _NAMES)
        message = f"{nodes}: not ready; what is there stops once the node is back"
    else:
        message = "" if declared.deleting_since else _HELD
    return Rollup(state, message=message, settled=settled)


class _Staying:
    """It is to run."""

    def __init__(
        self, declared: Declared, copies: Sequence[_Copy], leaving: Places, unplaced: str
    ) -> None:
        workload = declared.workload
        self._declared = declared
        self._copies = copies
        self._leaving = leaving
        self._unplaced = unplaced
        self._wanted = max(1, len(copies)) if workload.one_per_node else workload.replicas
        self._missing = self._wanted > len(copies)
        here = [c for c in copies if not c.away]
        self._away = [c for c in copies if c.away]
        self._before = [c for c in here if c.outdated]
        self._bad = sorted((c for c in here if c.current and c.phase in _BAD), key=_badness)
        done = {*_BAD, Phase.COMPLETED}
        self._moving = [
            c for c in here if not c.outdated and not (c.told and (c.phase in done or c.well))
        ]
        self._well = any(c.well for c in copies)

    def rollup(self) -> Rollup:
        state, reason, message = self._state()
        settled = self._settled()
        failed = settled and bool(
            self._bad or self._unplaced or self._missing or self._before or self._lost
        )
        return Rollup(state, reason, message, wanted=self._wanted, settled=settled, failed=failed)

    def _settled(self) -> bool:
        update = self._declared.workload.update
        halted = bool(self._unplaced) or len(self._bad) >= max(1, update.max_unavailable)
        if self._moving or self._leaving:
            return False
        if self._missing and not self._unplaced:
            return False
        return halted or not self._before

    @property
    def _lost(self) -> bool:
        """Whether copies that are not as asked wait for nodes that are not ready.

        With one on each node those that are away do not matter, as long as it runs anywhere.
        """
        if self._declared.workload.one_per_node:
            return bool(self._away) and not self._well
        return not all(c.as_asked for c in self._away)

    def _state(self) -> tuple[State, str, str]:
        if self._bad:
            worst = self._bad[0]
            state = State.DEGRADED if self._well else _BAD[worst.phase or Phase.ERROR]
            halted = "; the update has stopped" if self._before and self._settled() else ""
            return state, _reason(worst), _described(self._bad) + halted
        if self._unplaced:
            state = State.DEGRADED if self._well else State.PENDING
            return state, "Unplaced", self._unplaced
        late = [c for c in self._moving if c.status is not None and not c.told]
        if self._before or late:
            new = sum(c.current for c in self._copies)
            generation = self._declared.generation
            return State.UPDATING, "", f"{new} of {self._wanted} in generation {generation}"
        if self._leaving:
            there = [f"{key} on {node}" for key, node in self._leaving]
            return State.UPDATING, "", f"stops {words.some(there, _NAMES)}"
        if self._missing:
            return State.PENDING, "", "it is about to get a node"
        if self._moving:
            return self._on_its_way()
        if self._away:
            nodes = words.some(sorted({c.node for c in self._away}), _NAMES)
            state = State.DEGRADED if self._well else State.PENDING
            return state, "NodeNotReady", f"{nodes}: not ready; what is there is not known"
        if not self._copies:
            return State.RUNNING, "", "no copies are asked for"
        if all(c.phase is Phase.COMPLETED for c in self._copies):
            return State.COMPLETED, "", ""
        return State.RUNNING, "", ""

    def _on_its_way(self) -> tuple[State, str, str]:
        """Nothing is wrong but that it is not done yet."""
        replaced = [c for c in self._moving if c.phase is Phase.STOPPING and _is_replaced(c)]
        fresh = [c for c in self._moving if c.phase in _FRESH]
        waiting = [c for c in self._moving if c.phase is Phase.WAITING]
        if replaced:
            return State.UPDATING, _reason(replaced[0]), _described(replaced)
        if fresh:
            return State.STARTING, _reason(fresh[0]), _described(fresh)
        if waiting:
            return State.WAITING, _reason(waiting[0]), _described(waiting)
        # As far as it tells: what is not well any more is mostly Unhealthy, or has been restarted.
        never_well = not self._well and all(map(_is_not_well_yet, self._moving))
        state = State.STARTING if never_well else State.DEGRADED
        return state, _reason(self._moving[0]), _described(self._moving)


_BAD = {
    Phase.ERROR: State.ERROR,
    Phase.CRASH_LOOP: State.CRASH_LOOP,
    Phase.FAILED: State.FAILED,
}
_FRESH = (None, Phase.PULLING, Phase.STARTING)
_NOT_READY = "NotReady"


def _badness(copy: _Copy) -> int:
    return [*_BAD].index(copy.phase or Phase.ERROR)


def _reason(copy: _Copy) -> str:
    if copy.status is None:
        return "NotTakenUp"
    if copy.status.reason:
        return copy.status.reason
    unready = copy.phase is Phase.RUNNING and not copy.status.ready
    return _NOT_READY if unready else copy.status.phase.value


def _is_replaced(copy: _Copy) -> bool:
    """The containers of the version before are stopped for those of this one."""
    return copy.status is not None and copy.status.reason == "Replaced"


def _is_not_well_yet(copy: _Copy) -> bool:
    fresh = copy.status is not None and copy.status.restarts == 0
    return fresh and copy.phase is Phase.RUNNING and _reason(copy) == _NOT_READY


def _described(copies: Sequence[_Copy]) -> str:
    """The first of them, and how many more there are."""
    first = copies[0]
    what = "its node has not taken it up yet"
    if first.status is not None:
        what = first.status.message or _reason(first)
    said = f": {what}" if what != first.phase else ""  # the state says that much
    more = f" (and {len(copies) - 1} more)" if len(copies) > 1 else ""
    return f"{first}{said}{more}"
