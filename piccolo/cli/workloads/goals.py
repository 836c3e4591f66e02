"""What a command waits for, and how far it is: pure, fed by a watch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from piccolo.rpc import wire


@dataclass(frozen=True, slots=True)
class Goal:
    """That a workload is settled in at least this generation of its spec, or that it is gone."""

    name: str
    generation: int = 0
    gone: bool = False


class Stage(Enum):
    """In the order in which they are shown where there is no room for all."""

    FAILED = auto()
    OPEN = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """How far one goal is. `seen`: the workload, unless it is gone or was not heard of yet."""

    goal: Goal
    stage: Stage
    seen: wire.Workload | None = None


@dataclass(slots=True)
class Progress:
    """All goals of a command. A workload that failed may still recover: `over` counts."""

    goals: dict[str, Goal]
    seen: dict[str, wire.Workload] = field(default_factory=dict)
    synced: bool = False  # the first list is complete
    _listed: set[str] = field(default_factory=set)  # since a list began
    _gone: set[str] = field(default_factory=set)  # that were to go, and went: they stay reached

    @classmethod
    def of(cls, goals: Iterable[Goal]) -> Progress:
        """Of several goals for one workload, the last counts."""
        return cls({g.name: g for g in goals})

    def begin(self) -> None:
        """A list begins: what is not in it is gone."""
        self._listed.clear()

    def take(self, response: wire.WatchResponse) -> None:
        workload = response.workload
        if response.type == wire.ChangeType.RESYNC:
            self.begin()
        elif response.type == wire.ChangeType.SYNCED:
            self.synced = True
            self.seen = {n: w for n, w in self.seen.items() if n in self._listed}
            self._gone |= self.goals.keys() - self._listed
        elif workload is not None and workload.name in self.goals:
            if response.type == wire.ChangeType.DELETED:
                self.seen.pop(workload.name, None)
                self._listed.discard(workload.name)
                self._gone.add(workload.name)
            else:
                self.seen[workload.name] = workload
                self._listed.add(workload.name)

    @property
    def steps(self) -> list[Step]:
        """In the order of the goals."""
        return [self._step(goal) for goal in self.goals.values()]

    def at(self, stage: Stage) -> list[Step]:
        return [step for step in self.steps if step.stage is stage]

    @property
    def over(self) -> bool:
        return self.synced and not self.at(Stage.OPEN)

    def _step(self, goal: Goal) -> Step:
        seen = self.seen.get(goal.name)
        if goal.gone and goal.name in self._gone:
            return Step(goal, Stage.DONE)
        if seen is None:
            vanished = self.synced and not goal.gone
            return Step(goal, Stage.FAILED if vanished else Stage.OPEN)
        if not seen.settled or seen.generation < goal.generation:
            return Step(goal, Stage.OPEN, seen)
        if seen.failed:
            return Step(goal, Stage.FAILED, seen)
        return Step(goal, Stage.OPEN if goal.gone else Stage.DONE, seen)
