"""Drives one instance: executes what the state machine in `core.pods.machine` asks for.

All decisions are made there; here are the clock, chance and the tasks. Each action is a task of the
runner's, and its answer the next event. Cancelled, a runner leaves everything as it is: containers
run on, and the next runner finds them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Protocol

from piccolo.agent.workloads import records
from piccolo.agent.workloads.executor import Executor
from piccolo.core.model import Container, Severity
from piccolo.core.pods.machine import PodMachine
from piccolo.core.pods.restarts import with_lines
from piccolo.core.pods.steps import (
    Answered,
    Blocked,
    Event,
    Held,
    Observed,
    Remove,
    Retired,
    Start,
    Tail,
    Tell,
    Tick,
    Updated,
)
from piccolo.core.workloads.instances import Instance, InstanceStatus, Secrets
from piccolo.runtime.base import Runtime


class Surroundings(Protocol):
    """What a runner tells and asks of whoever made it."""

    def status(self, status: InstanceStatus) -> None:
        """News of the instance; called on a change only."""
        ...

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        """For the cluster's events."""
        ...

    def blocked(self, instance: Instance) -> str:
        """Why it must not start now; empty: it may."""
        ...


class PodRunner:
    """`directory` exists; `files/` and `record.json` in it are this runner's.

    Whoever has a listing of the runtime's says `observed` before `run`, which saves one.
    """

    def __init__(
        self,
        runtime: Runtime,
        instance: Instance,
        secrets: Secrets,
        directory: Path,
        node_id: str,
        surroundings: Surroundings,
    ) -> None:
        """Blocking: reads the record. Raises `Unavailable` when the disk cannot be read."""
        self._instance = instance
        self._surroundings = surroundings
        self._executor = Executor(runtime, instance, secrets, directory, node_id)
        self._machine = PodMachine(instance, records.load(directory))
        self._events: list[Event] = []
        self._woken = asyncio.Event()
        self._reading: dict[str, asyncio.Event] = {}  # logs, by id of the container; set: read
        self._said: InstanceStatus | None = None

    async def run(self) -> None:
        """Drive it until cancelled, when its containers run on, or until it is retired and
        nothing is left."""
        self.wake()
        clock = asyncio.get_running_loop().time
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while not self._machine.done:
                self._woken.clear()
                for action in self._step(clock()):
                    task = tasks.create_task(self._do(action), name=_name(action, self._instance))
                    running.add(task)
                    task.add_done_callback(running.discard)
                await self._wait(clock())
            for task in running:  # such as fetching an image that nobody needs any more
                task.cancel()

    def update(self, instance: Instance, secrets: Secrets) -> None:
        """A new spec: the same hash is adopted, another one replaces the containers."""
        self._instance = self._executor.instance = instance
        self._executor.secrets = secrets
        self._happen(Blocked(self._surroundings.blocked(instance)))
        self._happen(Updated(instance))

    def observed(self, containers: Sequence[Container]) -> None:
        """All containers of this instance, by label, as the runtime lists them now."""
        self._happen(Observed(containers))

    def wake(self) -> None:
        """What `Surroundings.blocked` says may have changed."""
        self._happen(Blocked(self._surroundings.blocked(self._instance)))

    def hold(self, why: str | None) -> None:
        """Stop it gracefully and keep it so; None: it may run."""
        self._happen(Held(why))

    def retire(self) -> None:
        """Stop and remove all of it; `run` then returns."""
        self._happen(Retired())

    # ---- inside ----

    def _happen(self, event: Event) -> None:
        self._events.append(event)
        self._woken.set()

    async def _wait(self, now: float) -> None:
        """For the next event, or for when the machine wants to be asked."""
        wake_at = self._machine.wake_at
        if self._machine.done or self._events:
            return
        try:
            async with asyncio.timeout(None if wake_at == inf else max(0.0, wake_at - now)):
                await self._woken.wait()
        except TimeoutError:
            self._events.append(Tick())

    def _step(self, now: float) -> list[Answered | Tail]:
        """Take in all that happened since, and tell of it; what else is to do."""
        events, self._events = self._events, []
        actions = self._machine.step(events, now, random.random())
        for action in actions:
            if isinstance(action, Tell):
                self._tell(action)
        self._say(self._machine.status)
        return [action for action in actions if not isinstance(action, Tell)]

    def _say(self, status: InstanceStatus) -> None:
        before = self._said
        same_phase = before is not None and before.phase is status.phase
        since = before.since if before is not None and same_phase else datetime.now(UTC)
        status = replace(status, since=since)
        if status != before:
            self._said = status
            self._surroundings.status(status)

    async def _do(self, action: Answered | Tail) -> None:
        if isinstance(action, Tail):
            await self._tell_last(action)
            return
        if isinstance(action, Start | Remove) and action.id in self._reading:
            await self._reading[action.id].wait()
        self._happen(await self._executor.execute(action))

    async def _tell_last(self, action: Tail) -> None:
        """Whoever starts or removes the container waits: a log is that of the last run only."""
        read = self._reading[action.id] = asyncio.Event()
        try:
            lines = await self._executor.tail(action.id)
        finally:
            self._reading.pop(action.id, None)  # two overlap if somebody started it meanwhile
            read.set()
        tell = action.tell
        self._tell(replace(tell, message=with_lines(tell.message, lines)))

    def _tell(self, tell: Tell) -> None:
        key = self._instance.key
        self._surroundings.happened(tell.severity, key, tell.reason, tell.message)


def _name(action: Answered | Tail, instance: Instance) -> str:
    where = action.id if isinstance(action, Tail) else action.slot
    return f"{instance.key}: {type(action).__name__} {where}"
