"""The supervisor: has a slot for each instance that is to run here, and for each that is not but
left something behind, and tells them what the runtime says.

Nothing is made or removed before the runtime has been seen: until then all that can be said of an
instance is why. Nothing is removed either before it is sure what is to run here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from piccolo.agent.reporter import Reporter
from piccolo.agent.workloads import leftovers
from piccolo.agent.workloads.desired import Everything, Held
from piccolo.agent.workloads.journal import Journal
from piccolo.agent.workloads.slot import Place, Slot, plain_status
from piccolo.agent.workloads.throttled import Throttled
from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Condition, Container, Severity
from piccolo.core.pods.status import NEXT
from piccolo.core.report import Delta
from piccolo.core.workloads.instances import Instance, InstanceStatus, Phase
from piccolo.runtime.base import Runtime

log = logging.getLogger(__name__)

_CAP = 60.0  # s between two attempts to find what was left


class Supervisor:
    """`blocked` and `held_back`: see `Dependencies.blocked` and `Isolation.why`."""

    def __init__(
        self,
        runtime: Runtime | None,
        reporter: Reporter,
        node_id: str,
        directory: Path,
        journal: Journal,
        blocked: Callable[[Instance], str],
        held_back: Callable[[Instance], str | None],
    ) -> None:
        self.blocked = blocked
        self._reporter = reporter
        self._journal = journal
        self._held_back = held_back
        self._node_id = node_id
        self._place = (
            Place(Throttled(runtime), node_id, directory, self) if runtime is not None else None
        )
        self._slots: dict[str, Slot] = {}
        self._wanted: Everything = {}
        self._dependents: dict[str, set[str]] = {}  # keys by workload that they depend on
        self._sure = False  # what is not wanted is not to be here
        self._containers: dict[str, dict[str, Container]] = {}  # by key and id
        self._owners: dict[str, str] = {}  # key by id of a container
        self._left: set[str] = set()  # keys of what is left and is no container
        self._empty = asyncio.Event()  # nothing runs here, and nothing is left
        self._search = asyncio.Event()
        self._searched = False
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; then containers run on."""
        self._reporter.observer = self._observed
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._observed(Delta(tuple(self._reporter.report.containers.values())), None)
                if self._place is not None:
                    await self._find_leftovers(self._place)
                await asyncio.Event().wait()
        finally:
            self._reporter.observer = None
            self._tasks = None

    # ---- what is wanted ----

    def follow(self, wanted: Everything, *, sure: bool) -> None:
        """These are to run here; `sure`: and nothing else."""
        gone = self._wanted.keys() - wanted.keys()
        fresh = [h for k, h in wanted.items() if self._wanted.get(k) != h]
        self._wanted, self._sure = wanted, sure
        self._dependents = _dependents(wanted)
        # Before any of them starts: whoever depends on one must not take it for another node's.
        self._introduce([h for h in fresh if h.instance is None or h.key not in self._slots])
        for key in gone:
            if key in self._slots:
                self._slots[key].want(None)
            else:
                self._reporter.instances(removed=[key])
        for held in fresh:
            if held.key in self._slots:
                self._slots[held.key].want(held)
        self.review()
        self._open()

    async def emptied(self) -> None:
        """Until nothing that is ours runs here, and nothing is left, as far as one can know."""
        if self._seen:
            await self._empty.wait()

    def review(self) -> None:
        """What holds instances back may have changed."""
        for slot in self._slots.values():
            if slot.held is not None and slot.held.instance is not None:
                slot.hold(self._held_back(slot.held.instance))

    def wake(self, workloads: Iterable[str]) -> None:
        """There is news of these, on which others depend."""
        for workload in workloads:
            for key in self._dependents.get(workload, ()):
                if key in self._slots:
                    self._slots[key].wake()

    def wake_all(self) -> None:
        """What holds of a dependency is decided in another way now."""
        self.wake(self._dependents.keys())

    def _introduce(self, fresh: list[Held]) -> None:
        phase, reason, message = Phase.WAITING, "", NEXT
        condition = self._reporter.condition
        if not self._seen and condition.reason != "Starting":
            phase, reason, message = Phase.ERROR, condition.reason, condition.message
        self._reporter.instances(
            [
                plain_status(h.key, h, phase, reason, message)
                if h.instance is not None
                else plain_status(h.key, h, Phase.ERROR, "UnknownSpec", _too_new(h))
                for h in fresh
            ]
        )

    # ---- slots ----

    def _open(self) -> None:
        """A slot for each key that needs one and has none."""
        if self._place is None or not self._reporter.known or self._tasks is None:
            return
        left = self._left | self._containers.keys() if self._sure else set()
        for key in dict.fromkeys((*self._wanted, *left)):  # most are in both: one slot for each
            if key in self._slots:
                continue
            self._left.discard(key)
            held = self._wanted.get(key)
            slot = self._slots[key] = Slot(key, self._place, held)
            slot.observed(self._group(key))
            if held is not None and held.instance is not None:
                slot.hold(self._held_back(held.instance))
            self._tasks.create_task(self._keep(slot), name=f"instance {key}")
        if self._sure and not self._searched:
            self._search.set()
        if self._slots:
            self._empty.clear()
        elif self._searched:
            self._empty.set()

    async def _keep(self, slot: Slot) -> None:
        await slot.run()
        del self._slots[slot.key]
        self._containers.pop(slot.key, None)
        self._reporter.instances(removed=[slot.key])
        self._open()

    async def _find_leftovers(self, place: Place) -> None:
        """Once, as soon as the runtime can say, and it is sure what is not to run here."""
        await self._search.wait()
        failures = 0
        while not self._searched:
            try:
                found = await leftovers.find(place.runtime, place.node_id, place.directory)
                self._left = found - self._wanted.keys()
                self._searched = True
            except PiccoloError as error:
                failures += 1
                log.info("leftovers of instances are not known: %s; trying again", error)
                await asyncio.sleep(pause(failures, random.random(), base=1.0, cap=_CAP))
        self._open()

    # ---- the runtime ----

    @property
    def _seen(self) -> bool:
        """Whether the runtime ever said what there is."""
        return self._place is not None and self._reporter.known

    def _observed(self, delta: Delta, condition: Condition | None) -> None:
        touched = set()
        for container in delta.changed:
            if key := leftovers.owner(container, self._node_id):
                self._owners[container.id] = key
                self._containers.setdefault(key, {})[container.id] = container
                touched.add(key)
        for id in delta.removed:
            if key := self._owners.pop(id, ""):
                group = self._containers.get(key, {})
                group.pop(id, None)
                if not group:
                    self._containers.pop(key, None)
                touched.add(key)
        for key in touched & self._slots.keys():
            self._slots[key].observed(self._group(key))
        if condition is not None and not self._seen:
            self._introduce(list(self._wanted.values()))
        self._open()

    def _group(self, key: str) -> tuple[Container, ...]:
        return tuple(self._containers.get(key, {}).values())

    # ---- the office of the slots ----

    def publish(self, status: InstanceStatus) -> None:
        self._reporter.instances([status])
        self.wake({status.workload})

    def happened(self, severity: Severity, subject: str, reason: str, message: str) -> None:
        self._journal.note(severity, subject, reason, message)


def _too_new(held: Held) -> str:
    return f"this agent does not understand the spec, upgrade it: {held.unreadable}"


def _dependents(wanted: Everything) -> dict[str, set[str]]:
    """The keys of those that depend on a workload, by its name."""
    found: dict[str, set[str]] = {}
    for key, held in wanted.items():
        for dependency in held.instance.workload.depends_on if held.instance else ():
            found.setdefault(dependency.workload, set()).add(key)
    return found
