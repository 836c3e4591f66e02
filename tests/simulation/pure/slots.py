"""The instances of a simulated agent: what its supervisor, slots, runners and executor do.

Each instance is driven by the real state machine. An action takes a while, and the agent may be
killed before it, or while nobody knows whether it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from piccolo.agent.workloads.desired import Held
from piccolo.core.backoff import pause
from piccolo.core.model import Container as Listed
from piccolo.core.pods.machine import PodMachine
from piccolo.core.pods.restarts import Record
from piccolo.core.pods.steps import (
    Answer,
    Answered,
    Blocked,
    Clean,
    Event,
    Observed,
    Refused,
    Retired,
    Save,
    Stop,
    Tail,
    Tell,
    Tick,
    Updated,
)
from piccolo.core.pods.steps import (
    Held as HeldBack,
)
from piccolo.core.workloads.instances import Instance, InstanceStatus, Phase
from tests.simulation.pure.runtime import unheard

if TYPE_CHECKING:
    from tests.simulation.pure.agent import Agent

_CAP = 60.0  # s between two attempts to remove what is left


class Slot:
    """The place of one instance: whatever is to run there, one after the other."""

    def __init__(self, agent: Agent, key: str, held: Held | None) -> None:
        self.key = key
        self.held = held
        self._agent = agent
        self._rng = agent.node.rng
        self._clock = agent.node.clock
        self._machine: PodMachine | None = None
        self._instance: Instance | None = None
        self._events: list[Event] = []
        self._woken = False  # a step is about to be made
        self._timer = 0  # counts them: only the last one counts
        self._life = 0  # counts the machines
        self._retiring = False
        self._listing: Sequence[Listed] = ()
        self._removed: set[str] = set()  # ids; old listings may still have them
        self._why: str | None = None
        self._machine_said: InstanceStatus | None = None
        self._said: InstanceStatus | None = None  # the same, with its time
        self._failures = 0

    # ---- what it is told ----

    def want(self, held: Held | None) -> None:
        self.held = held
        if self._machine is None or self._retiring:
            return
        if held is None:
            self._retiring = True
            self._happen(Retired())
        elif (instance := held.instance) is not None:
            self._instance = instance
            self._happen(Blocked(self._agent.blocked(instance)), Updated(instance))

    def observed(self, listing: Sequence[Listed]) -> None:
        self._removed &= {container.id for container in listing}
        self._listing = [c for c in listing if c.id not in self._removed]
        if self._machine is not None:
            self._happen(Observed(self._listing))

    def hold(self, why: str | None) -> None:
        if why != self._why:
            self._why = why
            if self._machine is not None:
                self._happen(HeldBack(why))

    def wake(self) -> None:
        if self._machine is not None and self._instance is not None:
            self._happen(Blocked(self._agent.blocked(self._instance)))

    # ---- what it does ----

    def run(self) -> None:
        """Begin with what is wanted now."""
        if self.held is None:
            self._clear()
        elif (instance := self.held.instance) is not None:
            agent, disk = self._agent, self._agent.node.disk
            disk.folders[self.key] = None
            self._life += 1
            self._retiring, self._instance = False, instance
            self._said = self._machine_said = None
            self._machine = PodMachine(instance, disk.records.get(self.key, Record()))
            self._events = []
            held = HeldBack(self._why)
            self._happen(held, Observed(self._listing), Blocked(agent.blocked(instance)))

    def _happen(self, *events: Event) -> None:
        self._events += events
        if not self._woken:
            self._woken = True
            self._clock.after(0.0, self._agent, self._step)

    def _step(self) -> None:
        self._woken = False
        machine, agent = self._machine, self._agent
        if machine is None:
            return
        events, self._events = self._events, []
        actions = machine.step(events, agent.local.monotonic(), self._rng.random())
        self._say(machine.status)
        for action in actions:
            if not isinstance(action, Tell | Tail):
                agent.perform(action, partial(self._do, action))
        if machine.done:
            self._machine = self._instance = None
            agent.node.disk.folders.pop(self.key, None)
            agent.node.disk.records.pop(self.key, None)
            self._gone()
            return
        self._timer += 1
        if machine.wake_at < inf:
            at = agent.local.ours(machine.wake_at) + 1e-6
            self._clock.at(at, agent, self._tick, self._timer)

    def _tick(self, timer: int) -> None:
        if timer == self._timer and not self._woken:
            self._happen(Tick())

    def _say(self, status: InstanceStatus) -> None:
        if status == self._machine_said:
            return
        self._machine_said, before = status, self._said
        same = before is not None and before.phase is status.phase
        since = before.since if same and before is not None else self._agent.local.utc()
        status = replace(status, since=since)
        if status != before:
            self._said = status
            if self.held is None or self.held.instance is not None:
                self._agent.publish(status)

    def _gone(self) -> None:
        self._removed.update(container.id for container in self._listing)
        self._listing = ()
        if self.held is None:
            self._agent.closed(self)
        else:
            self.run()

    # ---- actions ----

    def _do(self, action: Answered) -> None:
        """It is under way: carried out, then answered, a moment after each other."""
        rng, slow = self._rng, self._agent.node.slowness
        quick = rng.random() < 0.8
        takes = rng.random() * (0.01 if quick else slow)
        if isinstance(action, Stop):
            takes += rng.choice((0.0, 0.5, 1.0)) * action.grace
        instance = self._instance
        assert instance is not None
        self._clock.after(takes, self._agent.node, self._carry_out, action, instance, self._life)

    def _carry_out(self, action: Answered, instance: Instance, life: int) -> None:
        """Even if the agent was killed since."""
        agent, node = self._agent, self._agent.node
        if isinstance(action, Save | Clean) and (not agent.alive or node.disk.full):
            if agent.alive:
                self._answer(Refused(action, "DiskFull", "no space left"), life)
            return
        answer = node.runtime.do(action, instance)
        if isinstance(action, Save):
            node.disk.records[self.key] = action.record
        elif isinstance(action, Clean) and action.last:
            node.disk.records.pop(self.key, None)
        if self._rng.random() < node.mute:
            answer = unheard(action)
        late = 0.0 if self._rng.random() < 0.8 else self._rng.random() * node.slowness
        self._clock.after(late, agent, self._answer, answer, life)

    def _answer(self, answer: Answer, life: int) -> None:
        if life == self._life and self._machine is not None:
            self._happen(answer)

    # ---- leftovers ----

    def _clear(self) -> None:
        """Remove what is left of an instance that is not to run here."""
        runtime = self._agent.node.runtime
        if runtime.away:
            self._failures += 1
            seconds = pause(self._failures, self._rng.random(), base=1.0, cap=_CAP)
            self._clock.after(seconds, self._agent, self.run)
            return
        boxes = runtime.of(self.key)
        if boxes or self.key in runtime.pods:
            self._agent.publish(_leftover(self.key, self._agent))
        steps: list[Callable[[], object]] = [
            partial(runtime.end, box, 143) for box in boxes if box.state == "running"
        ]
        steps.append(partial(runtime.remove_pod, self.key))
        steps += [partial(runtime.remove, box) for box in boxes]
        steps.append(lambda: runtime.scratch.pop(self.key, None))
        self._clear_on(steps)

    def _clear_on(self, steps: list[Callable[[], object]]) -> None:
        disk = self._agent.node.disk
        if not steps:
            disk.folders.pop(self.key, None)
            disk.records.pop(self.key, None)
            self._gone()
            return
        first, *others = steps

        def carry_out() -> None:
            first()
            self._clear_on(others)

        seconds = self._rng.random() * 0.05
        self._agent.perform(None, partial(self._clock.after, seconds, self._agent, carry_out))


def _leftover(key: str, agent: Agent) -> InstanceStatus:
    """Of what is not wanted, and removed."""
    workload, _, index = key.rpartition(".")
    since = agent.local.utc()
    return InstanceStatus(workload, int(index), 0, Phase.STOPPING, reason="Leftover", since=since)
