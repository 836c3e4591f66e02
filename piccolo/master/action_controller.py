"""ActionController (LLD 1.2): carries out what the planner decides.

The planner (`core.planning.planner`) is pure: from all that is declared, assigned and seen it makes
a plan, and where that has led it makes none. Here it is asked whenever something changes, and the
assignments that it wants are committed; `DesiredState` tells the agents.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from piccolo.core.backoff import pause
from piccolo.core.errors import Conflict, StaleGeneration, Unavailable
from piccolo.core.model import NodeState
from piccolo.core.planning import planner as planning
from piccolo.core.planning.planner import Plan, Step, Verb
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.master import keys
from piccolo.master.clock import Clock
from piccolo.master.event_log import EventLog
from piccolo.master.rounds import Rounds, Slices
from piccolo.master.state_manager import StateManager
from piccolo.master.workloads.churn import FREE, Churn
from piccolo.master.workloads.events import Place, WorkloadEvents
from piccolo.master.workloads.holdings import Holdings
from piccolo.master.workloads.instance_specs import InstanceSpecs
from piccolo.master.workloads.rebuild import RestoredCluster

log = logging.getLogger(__name__)

_BATCH = 60  # keys in one transaction, each of which may be a condition too

_Life = tuple[int, str, int, datetime | None]  # generation, hash, restarts, begin of an instance


class ActionController:
    """Keep `run` running."""

    def __init__(
        self,
        state: StateManager,
        events: EventLog,
        specs: InstanceSpecs,
        clock: Clock,
        restored: RestoredCluster,
        holdings: Holdings,
    ) -> None:
        self._state = state
        self._restored = restored
        self._holdings = holdings
        holdings.freed = self.poke
        self._specs = specs
        self._clock = clock
        self._events = WorkloadEvents(state, events)
        self.unplaced: Mapping[str, str] = {}  # workloads that lack a place, and why
        self._ready: dict[Place, tuple[_Life, float]] = {}  # since when, monotonic
        self._churn = Churn()
        self._failures = 0  # in a row
        self._rounds = Rounds(
            state,
            self._once,
            urgent=(keys.WORKLOAD, keys.SECRET, keys.NODE, keys.RETURNED),
            others=(keys.ASSIGNMENT, keys.INSTANCE, keys.STATUS),
        )

    def poke(self) -> None:
        """Plan now."""
        self._rounds.poke()

    async def run(self) -> None:
        await self._rounds.run()

    def preview(self, declared: Mapping[str, Declared]) -> Plan:
        """What would be done first if this was all that is declared."""
        return self._plan(declared)

    # ---- planning ----

    def _plan(self, declared: Mapping[str, Declared]) -> Plan:
        assignments = self._state.assignments()
        if not declared and not assignments:  # as while a thousand nodes join
            return Plan()
        return planning.plan(
            declared,
            assignments,
            self._candidates(),
            self._state.seen(),
            ready_for=self._ready_for(),
            blocked=self._specs.blocked(d.workload for d in declared.values()),
            history=self._history(),
            held=self._holdings.with_these(assignments),
            lost=self._holdings.lost(self._specs.untold(assignments)),
        )

    def _history(self) -> dict[str, list[Past]]:
        found: dict[str, list[Past]] = defaultdict(list)
        for past in self._state.below(keys.HISTORY):
            found[past.workload.name].append(past)
        return found

    def _candidates(self) -> list[planning.Candidate]:
        found = []
        for node in self._state.nodes():
            status = self._state.status(node.id)
            if node.admitted and status.state is not NodeState.TERMINATING:
                ready = status.state is NodeState.READY
                found.append(
                    planning.Candidate(
                        node.id,
                        node.name,
                        node.labels,
                        node.role,
                        node.type,
                        status.resources,
                        ready,
                    )
                )
        return found

    def _ready_for(self) -> dict[Place, float]:
        """For how many seconds instances have been well, by this master's clock."""
        now = self._clock.monotonic()
        before, self._ready = self._ready, {}
        for place, status in self._state.seen().items():
            if status.ready:
                life = status.generation, status.hash, status.restarts, status.since
                known = before.get(place)
                self._ready[place] = known if known and known[0] == life else (life, now)
        return {place: now - since for place, (_, since) in self._ready.items()}

    # ---- carrying out ----

    async def _once(self) -> float | None:
        if (wait := self._restored.wait()) is not None:
            return wait
        declared = self._state.declared()
        plan, before = self._plan(declared), self._assigned()
        steps, wait = self._due(plan.steps)
        gone = [name for name in plan.gone if not self._restored.may_return(declared[name])]
        try:
            for values, conditions in self._transactions(steps, gone):
                await self._state.commit(values, conditions)
        except StaleGeneration:
            raise
        except (Conflict, Unavailable) as error:
            if not self._failures:
                log.warning("planning again: %s", error)
            self._failures += 1
            wait = pause(self._failures, random.random(), base=0.1)
        else:
            self._failures = 0
            self._note(steps)
        slices = Slices(self._clock.monotonic)
        await self._events.done(steps, before, self._assigned(), slices)
        self._events.deleted(gone, self._state.group(keys.WORKLOAD))
        self._events.unplaced(plan.unplaced)
        self.unplaced = plan.unplaced
        self._show_unplaced(declared)
        return min((s for s in (plan.wake_after, wait) if s is not None), default=None)

    def _show_unplaced(self, declared: Mapping[str, Declared]) -> None:
        """For those who watch workloads: they cannot see plans."""
        for key in list(self._state.group(keys.UNPLACED)):
            if key.removeprefix(keys.UNPLACED) not in self.unplaced:
                self._state.observe(key, None, durable=False)
        for name, reason in self.unplaced.items():
            asked = declared[name]
            found = keys.Unplaced(reason, asked.generation, asked.restarts)
            self._state.observe(keys.unplaced(name), found, durable=False)

    def _assigned(self) -> dict[Place, Assignment]:
        return {(a.node_id, a.key): a for a in self._state.assignments()}

    def _due(self, steps: Iterable[Step]) -> tuple[list[Step], float | None]:
        """Without those of workloads that go round in circles; and after how many seconds these
        may go on."""
        due: list[Step] = []
        waits: list[float] = []
        for together in _by_workload(steps):
            wait = self._churn.wait(self._as_asked(together), self._clock.monotonic())
            if wait:
                waits.append(wait)
            else:
                due += together
        return due, min(waits, default=None)

    def _note(self, steps: Iterable[Step]) -> None:
        for together in _by_workload(steps):
            times = self._churn.done(self._as_asked(together), self._clock.monotonic())
            if times >= FREE:
                name, verbs = together[0].workload, {step.verb for step in together}
                log.warning("%s: %s for the %dth time", name, " and ".join(sorted(verbs)), times)

    def _as_asked(self, steps: Sequence[Step]) -> tuple[frozenset[Step], int]:
        """Steps of one workload, and what they are for: whoever applies and deletes the same again
        and again gets just that."""
        return frozenset(steps), self._state.revision_of(keys.workload(steps[0].workload))

    def _transactions(
        self, steps: Iterable[Step], gone: Iterable[str]
    ) -> list[tuple[dict[str, object | None], dict[str, int]]]:
        """With conditions, so that a write that was believed lost, and comes through late, undoes
        nothing, and so that what somebody declares anew meanwhile is not deleted."""
        found: list[tuple[dict[str, object | None], dict[str, int]]] = []

        def add(together: Sequence[str], value: object | None) -> None:
            if not found or len(found[-1][0]) + len(together) > _BATCH:
                found.append(({}, {}))
            values, conditions = found[-1]
            values.update(dict.fromkeys(together, value))
            conditions[together[0]] = self._state.revision_of(together[0])

        for step in steps:
            after = step.assignment
            key = keys.assignment(after.node_id, after.key)
            add([key], None if step.verb is Verb.STOP else after)
        for name in gone:
            add([keys.workload(name), *self._state.group(keys.history(name))], None)
        return found


def _by_workload(steps: Iterable[Step]) -> list[list[Step]]:
    found: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        found[step.workload].append(step)
    return list(found.values())
