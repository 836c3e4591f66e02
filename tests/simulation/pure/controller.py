"""What a simulated master does of its own accord: it plans, and commits what was planned.

As `master.action_controller`, on the real planner. One round after the other; in each as many
commits as the plan asks for, and the master may be killed before or after each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.core.model import NodeState
from piccolo.core.planning.planner import Candidate, Plan, Step, Verb, plan
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.master import keys
from piccolo.master.workloads.churn import Churn
from tests.simulation.pure.record import Place
from tests.simulation.pure.rounds import Rounds

if TYPE_CHECKING:
    from tests.simulation.pure.master import Master

Commit = tuple[dict[str, object | None], dict[str, int]]


class Controller:
    def __init__(self, master: Master) -> None:
        self.unplaced: Mapping[str, str] = {}
        self.rounds = Rounds(master.clock, master, self._once, master.rest)
        self._master = master
        self._record = master.record
        self._churn = Churn()
        self._ready: dict[Place, tuple[object, float]] = {}
        self._failures = 0
        self._batch = master.rng.choice((1, 3, 60))  # keys in a commit

    def plan(self) -> Plan:
        """What is to be done now."""
        record = self._record
        declared, assignments = record.declared(), record.store.assignments.values()
        master = self._master
        return plan(
            declared,
            assignments,
            self.candidates(),
            record.seen,
            ready_for=self._ready_for(),
            blocked=master.specs.blocked(d.workload for d in declared.values()),
            history={name: list(pasts.values()) for name, pasts in record.store.pasts.items()},
            held=master.holdings.with_these(assignments),
            lost=master.holdings.lost(master.specs.untold(assignments)),
        )

    def candidates(self) -> list[Candidate]:
        found = []
        for node in self._record.store.nodes.values():
            status = self._record.statuses[node.id]
            ready = status.state is NodeState.READY
            one = Candidate(
                node.id, node.name, node.labels, node.role, node.type, status.resources, ready
            )
            found.append(one)
        return found

    def _ready_for(self) -> dict[Place, float]:
        now = self._master.clock.now
        before, self._ready = self._ready, {}
        for place, status in self._record.seen.items():
            if status.ready:
                life = _life(status)
                known = before.get(place)
                self._ready[place] = known if known and known[0] == life else (life, now)
        return {place: now - since for place, (_, since) in self._ready.items()}

    # ---- carrying out ----

    def _once(self, done: Callable[[float | None], None]) -> None:
        found = self.plan()
        steps, wait = self._due(found.steps)
        self.unplaced = found.unplaced
        wakes = [s for s in (found.wake_after, wait) if s is not None]
        self._master.watch.planned(steps)

        def over(error: PiccoloError | None) -> None:
            if error is None:
                self._failures = 0
                for together in _by_workload(steps):
                    self._churn.done(self._as_asked(together), self._master.clock.now)
            else:
                self._failures += 1
                wakes[:] = [pause(self._failures, self._master.rng.random(), base=0.1)]
            done(min(wakes, default=None))

        self._commit(self._transactions(steps, found.gone), over)

    def _commit(self, commits: list[Commit], over: Callable[[PiccoloError | None], None]) -> None:
        if not commits:
            over(None)
            return
        (values, conditions), *others = commits

        def committed(error: PiccoloError | None) -> None:
            if error is not None:
                over(error)
            else:
                self._commit(others, over)

        self._master.commit(values, conditions, committed)

    def _due(self, steps: Iterable[Step]) -> tuple[list[Step], float | None]:
        due: list[Step] = []
        waits: list[float] = []
        for together in _by_workload(steps):
            wait = self._churn.wait(self._as_asked(together), self._master.clock.now)
            if wait:
                waits.append(wait)
            else:
                due += together
        return due, min(waits, default=None)

    def _as_asked(self, steps: list[Step]) -> tuple[frozenset[Step], int]:
        return frozenset(steps), self._record.revision_of(keys.workload(steps[0].workload))

    def _transactions(self, steps: Iterable[Step], gone: Iterable[str]) -> list[Commit]:
        found: list[Commit] = []

        def add(together: list[str], value: object | None) -> None:
            if not found or len(found[-1][0]) + len(together) > self._batch:
                found.append(({}, {}))
            values, conditions = found[-1]
            values.update(dict.fromkeys(together, value))
            conditions[together[0]] = self._record.revision_of(together[0])

        for step in steps:
            after = step.assignment
            key = keys.assignment(after.node_id, after.key)
            add([key], None if step.verb is Verb.STOP else after)
        for name in gone:
            pasts = [keys.past(name, n) for n in self._record.store.pasts.get(name, {})]
            add([keys.workload(name), *pasts], None)
        return found


def _life(status: InstanceStatus) -> object:
    return status.generation, status.hash, status.restarts, status.since


def _by_workload(steps: Iterable[Step]) -> list[list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.workload, []).append(step)
    return list(found.values())
