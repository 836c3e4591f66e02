"""An instance in virtual time: its state machine, and a runtime that does what it is told.

The runtime's listings come late or not at all, its answers get lost, and the agent may be killed
before or after any action. `Simulation.check` holds the invariants that must never break.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from piccolo.core.model import Container as Listed
from piccolo.core.pods.machine import PodMachine
from piccolo.core.pods.restarts import Record
from piccolo.core.pods.steps import (
    Action,
    Answer,
    Answered,
    Away,
    Check,
    Checked,
    Clean,
    Create,
    CreatePod,
    Done,
    EnsureImage,
    Event,
    Inspect,
    Inspected,
    Inspection,
    Look,
    Looked,
    Observed,
    Refused,
    Remove,
    RemovePod,
    Save,
    Start,
    Stop,
    Tail,
    Tell,
    Tick,
)
from piccolo.core.workloads.containers import Container, Mount, MountKind
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    Instance,
    InstanceStatus,
    Phase,
)
from piccolo.core.workloads.workload import Restart, RestartPolicy, Workload


def instance(
    *names: str,
    inits: Iterable[str] = (),
    policy: RestartPolicy = RestartPolicy.ALWAYS,
    hash: str = "h1",
    generation: int = 1,
    **more: object,
) -> Instance:
    """Of a workload `web` with these containers."""
    scratch = (Mount("/s", MountKind.SCRATCH, "s"),)
    workload = Workload(
        "web",
        tuple(Container(n, f"image-{n}", mounts=scratch) for n in names or ("main",)),
        tuple(Container(n, f"image-{n}") for n in inits),
        restart=Restart(policy),
    )
    return Instance(replace(workload, **more), 0, generation, hash)  # type: ignore[arg-type]


@dataclass(slots=True)
class Box:
    """A container of the simulated runtime."""

    id: str
    name: str
    labels: Mapping[str, str]
    pod: str
    state: str = "created"
    exit_code: int = 0
    oom_killed: bool = False
    starts: int = 0

    @property
    def listed(self) -> Listed:
        return Listed(self.id, self.name, state=self.state, labels=self.labels, pod=self.pod)

    @property
    def inspection(self) -> Inspection:
        finished = self.state == "exited"
        return Inspection(
            self.state, self.exit_code, self.oom_killed, "", "10.0.0.1", self.starts > 0, finished
        )


@dataclass(slots=True)
class FakeRuntime:
    boxes: dict[str, Box] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    record: Record = field(default_factory=Record)  # on the disk
    starts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by name and hash
    log: list[str] = field(default_factory=list)
    numbers: count[int] = field(default_factory=lambda: count(1))
    wells: dict[str, bool | None] = field(default_factory=dict)  # what probes find, by kind

    def named(self, name: str) -> Box:
        (found,) = (b for b in self.boxes.values() if b.labels[LABEL_CONTAINER] == name)
        return found

    @property
    def left(self) -> list[str]:
        """All that there is."""
        return [*self.boxes, *self.pods, *self.volumes]

    @property
    def hashes(self) -> set[str]:
        return {box.labels[LABEL_HASH] for box in self.boxes.values()}

    def listing(self) -> Observed:
        return Observed([b.listed for b in self.boxes.values()])

    def end(self, name: str, exit_code: int = 0, *, oom: bool = False) -> None:
        box = self.named(name)
        box.state, box.exit_code, box.oom_killed = "exited", exit_code, oom

    def do(self, action: Answered) -> Answer:
        """Carry it out, as the contract of `runtime.base` says."""
        self.log.append(type(action).__name__)
        box = self.boxes.get(getattr(action, "id", ""))
        match action:
            case Look():
                return Looked(action, self.listing().containers, dict(self.pods))
            case Inspect():
                return Inspected(action, box.inspection if box else None)
            case Check():
                return Checked(action, self.wells.get(action.kind, True), "no")
            case CreatePod(asked):
                if self.pods.setdefault(asked.key, asked.hash) != asked.hash:
                    return Refused(action, "NameTaken", "a pod is called so")
            case Create():
                return self._create(action)
            case Start():
                if box is None:
                    return Refused(action, "Refused", "there is no such container")
                if box.state != "running":
                    box.state, box.starts = "running", box.starts + 1
                    self.starts[box.labels[LABEL_CONTAINER], box.labels[LABEL_HASH]] += 1
            case Stop():
                if box is not None and box.state == "running":
                    box.state, box.exit_code = "exited", 143
            case Remove(id):
                self.boxes.pop(id, None)
            case RemovePod(name):
                self.pods.pop(name, None)
                self.boxes = {i: b for i, b in self.boxes.items() if b.pod != name}
            case Clean(last):
                self.volumes.clear()
                if last:
                    self.record = Record()
            case Save(record):
                self.record = record
            case EnsureImage():
                pass
        return Done(action)

    def _create(self, action: Create) -> Answer:
        asked, name = action.instance, action.container.name
        several = len(asked.workload.containers) > 1 or asked.workload.init_containers
        pod = asked.key if several else ""
        if pod and pod not in self.pods:
            return Refused(action, "Refused", "there is no such pod")
        labels = {LABEL_CONTAINER: name, LABEL_HASH: asked.hash}
        for there in self.boxes.values():
            if there.name == f"{asked.key}.{name}":
                if there.labels != labels:
                    return Refused(action, "NameTaken", "a container is called so")
                return Done(action, there.id)
        id = f"id{next(self.numbers)}"
        self.boxes[id] = Box(id, f"{asked.key}.{name}", labels, pod)
        self.volumes.add(f"{asked.key}.s")
        return Done(action, id)


class Simulation:
    """The machine of one agent on a runtime; `kill` replaces it by that of another agent."""

    def __init__(self, asked: Instance, runtime: FakeRuntime | None = None) -> None:
        self.asked = asked
        self.runtime = runtime or FakeRuntime()
        self.now = 1000.0
        self.chance = 1.0
        self.told: list[Tell] = []
        self.statuses: list[InstanceStatus] = []
        self.pending: list[Answered] = []
        self.done: list[Action] = []
        self.refuse: Callable[[Answered], Answer | None] = lambda action: None
        self.machine = PodMachine(asked, self.runtime.record)
        self.events: list[Event] = [self.runtime.listing()]

    @property
    def status(self) -> InstanceStatus:
        return self.machine.status

    def shows(self, *phases: Phase) -> bool:
        return self.machine.status.phase in phases

    @property
    def reasons(self) -> list[str]:
        return [tell.reason for tell in self.told]

    def feed(self, *events: Event) -> None:
        """Give the machine these events, and what waits."""
        given, self.events = [*self.events, *events], []
        for action in self.machine.step(given, self.now, self.chance):
            if isinstance(action, Tail):
                self.told.append(action.tell)
            elif isinstance(action, Tell):
                self.told.append(action)
            else:
                self.pending.append(action)
        if not self.statuses or self.statuses[-1] != self.status:
            self.statuses.append(self.status)

    def answer(self, index: int = 0) -> None:
        """Carry out one of the actions under way."""
        action = self.pending.pop(index)
        self.done.append(action)
        self.feed(self.refuse(action) or self.runtime.do(action))

    def settle(self, *, listing: bool = True) -> None:
        """Carry out all that can be done without time passing."""
        self.feed()
        for _ in range(200):
            if self.pending:
                self.answer()
            elif listing:
                listing = False
                self.feed(self.runtime.listing())
            else:
                return
        raise AssertionError(f"it does not come to rest: {self.runtime.log[-20:]}")

    def until(self, at: float, *, listing: bool = True) -> None:
        """Time passes."""
        self.settle(listing=listing)
        while self.machine.wake_at <= at:
            assert self.machine.wake_at > self.now, "it wants to be woken in the past"
            self.now = self.machine.wake_at
            self.feed(Tick())
            self.settle(listing=listing)
        self.now = max(self.now, at)

    def after(self, seconds: float, *, listing: bool = True) -> None:
        self.until(self.now + seconds, listing=listing)

    def kill(self, *, power_cut: bool = False) -> None:
        """The agent is killed; another takes over. A power cut ends all containers besides."""
        if power_cut:
            for box in self.runtime.boxes.values():
                box.state = "exited" if box.state == "exited" else "created"
        self.pending = []
        self.machine = PodMachine(self.asked, self.runtime.record)
        self.events = [self.runtime.listing()]

    def lose(self, rng: random.Random) -> None:
        """An answer gets lost on its way, or the action never reaches the runtime."""
        action = self.pending.pop(rng.randrange(len(self.pending)))
        if rng.random() < 0.5:
            self.runtime.do(action)
        if isinstance(action, Check):
            self.feed(Checked(action, None, "away"))
        elif isinstance(action, Save):
            self.feed(Refused(action, "DiskFull", "no space left"))
        else:
            self.feed(Away(action, "away"))

    def check(self) -> None:
        """What holds at any moment."""
        names = Counter(box.name for box in self.runtime.boxes.values())
        assert all(n == 1 for n in names.values()), f"a container twice: {names}"
        slots = Counter(action.slot for action in self.pending)
        assert all(n == 1 for n in slots.values()), f"two actions at once: {slots}"
