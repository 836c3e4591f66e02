"""The place of one instance on this node: whatever is to run there, one after the other.

While an instance is wanted, its runner drives it. A runner that fails is a defect of the agent; it
is told, and another one takes over after a pause. What is left of an instance that is not wanted,
because the agent was killed while it removed it, is removed. So for each key there is one task that
makes and removes containers, and never two.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from piccolo.agent.workloads import leftovers
from piccolo.agent.workloads.desired import Held
from piccolo.agent.workloads.runner import PodRunner
from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Container, Severity
from piccolo.core.pods.state import TRIED_AGAIN
from piccolo.core.workloads.instances import Instance, InstanceStatus, Phase
from piccolo.runtime.base import Runtime
from piccolo.security.files import private_dir

log = logging.getLogger(__name__)

_CAP = 60.0  # s between two runners, or two attempts to remove what is left


class Office(Protocol):
    """Where slots report to."""

    def publish(self, status: InstanceStatus) -> None: ...

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None: ...

    def blocked(self, instance: Instance) -> str: ...


@dataclass(frozen=True, slots=True)
class Place:
    """What all slots of a node have in common."""

    runtime: Runtime
    node_id: str
    directory: Path
    office: Office


class Slot:
    def __init__(self, key: str, place: Place, held: Held | None) -> None:
        """`held` None: there are only leftovers."""
        self.key = key
        self.held = held
        self._place = place
        self._containers: Sequence[Container] = ()
        self._removed: set[str] = set()  # ids; old listings may still have them
        self._why: str | None = None  # it is held back
        self._runner: PodRunner | None = None
        self._retiring = False
        self._defect: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # of what is wanted
        self._directory = place.directory / key

    # ---- what it is told ----

    def want(self, held: Held | None) -> None:
        """Another spec, or None: it is not to run here any more."""
        self.held = held
        self._changed.set()
        if self._runner is None or self._retiring:
            return
        if held is None:
            self._retiring = True
            self._tell(lambda runner: runner.retire())
        elif held.instance is not None:
            instance = held.instance
            self._tell(lambda runner: runner.update(instance, held.secrets))

    def observed(self, containers: Sequence[Container]) -> None:
        """All containers of this instance."""
        self._removed &= {container.id for container in containers}
        there = tuple(c for c in containers if c.id not in self._removed)
        self._containers = there
        self._tell(lambda runner: runner.observed(there))

    def hold(self, why: str | None) -> None:
        if why != self._why:
            self._why = why
            self._tell(lambda runner: runner.hold(why))

    def wake(self) -> None:
        self._tell(lambda runner: runner.wake())

    def _tell(self, what: Callable[[PodRunner], None]) -> None:
        if self._runner is None or self._defect is not None:
            return
        try:
            what(self._runner)
        except Exception as error:
            self._defect = error
            assert self._task is not None
            self._task.cancel()  # once: see `_to_blame`

    # ---- what it does ----

    async def run(self) -> None:
        """Until nothing is wanted and nothing is left; it returns in the moment that it sees so."""
        self._task = asyncio.current_task()
        failures = 0
        gone = False  # nothing is left, for sure
        while self.held is not None or not gone:
            self._changed.clear()
            try:
                if self.held is None:
                    await self._clear()
                    gone = True
                elif self.held.instance is None:
                    gone = False
                    await self._changed.wait()
                else:
                    gone = await self._drive()
                failures = 0
            except (Exception, asyncio.CancelledError) as error:
                gone = False
                failures += 1
                self._failed(self._to_blame(error))
                await self._pause(pause(failures, random.random(), base=1.0, cap=_CAP))

    async def _drive(self) -> bool:
        """As long as it is wanted. Cancelled, its containers run on. Whether nothing is left."""
        held = self.held
        assert held is not None
        runner = await asyncio.to_thread(self._make_runner, held)
        if runner is None or self.held is not held:
            return False
        self._retiring = False
        runner.hold(self._why)
        runner.observed(self._containers)
        self._runner = runner
        try:
            await runner.run()
        finally:
            self._runner = None
        if self._defect is not None or not self._retiring:
            raise RuntimeError("the runner ended by itself")
        self._forget(self._containers)
        await self._remove_directory()
        return True

    def _make_runner(self, held: Held) -> PodRunner | None:
        """Blocking: it reads what the one before it has left."""
        place = self._place
        if held.instance is None:
            return None
        return PodRunner(
            place.runtime,
            held.instance,
            held.secrets,
            private_dir(self._directory),
            place.node_id,
            surroundings=self,
        )

    def _to_blame(self, error: BaseException) -> Exception:
        """For a cancellation by `_tell`, the defect that it was for. Raises any other."""
        defect, self._defect = self._defect, None
        if defect is not None and self._task is not None and self._task.uncancel() == 0:
            return defect
        if defect is not None or not isinstance(error, Exception):
            raise asyncio.CancelledError
        return error

    async def _clear(self) -> None:
        """Remove what is left of an instance that is not to run here."""
        runtime, node_id = self._place.runtime, self._place.node_id
        before = self._containers
        left = await leftovers.look(runtime, node_id, self.key)
        if left:
            log.info("%s is not to run here: what is left of it is removed", self.key)
            self._place.office.publish(plain_status(self.key, None, Phase.STOPPING, "Leftover"))
        await leftovers.remove(runtime, self.key, left)
        self._forget(before)
        await self._remove_directory()

    def _forget(self, containers: Sequence[Container]) -> None:
        """They are gone. Whoever begins here next must not take them for running."""
        self._removed.update(container.id for container in containers)
        self.observed(self._containers)

    async def _remove_directory(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _failed(self, error: Exception) -> None:
        if isinstance(error, PiccoloError):
            reason, message = "Unavailable", f"{error}; {TRIED_AGAIN}"
            log.warning("%s: %s; trying again", self.key, error)
        else:
            reason, message = "AgentDefect", f"the agent has a defect, see its log: {error!r}"
            log.error("%s: the agent has a defect; trying again", self.key, exc_info=error)
            self.happened(Severity.ERROR, self.key, reason, message)
        phase = Phase.STOPPING if self.held is None else Phase.ERROR
        self._place.office.publish(plain_status(self.key, self.held, phase, reason, message))

    # ---- the surroundings of the runner ----

    def status(self, status: InstanceStatus) -> None:
        if self.held is None or self.held.instance is not None:
            self._place.office.publish(status)

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        self._place.office.happened(severity, subject, reason, message)

    def blocked(self, instance: Instance) -> str:
        return self._place.office.blocked(instance)


def plain_status(
    key: str, held: Held | None, phase: Phase, reason: str = "", message: str = ""
) -> InstanceStatus:
    """Of an instance that no runner speaks for."""
    workload, _, index = key.rpartition(".")
    instance = held.instance if held is not None else None
    return InstanceStatus(
        workload,
        int(index) if index.isdecimal() else 0,
        instance.generation if instance is not None else 0,
        phase,
        reason=reason,
        message=message,
        since=datetime.now(UTC),
    )
