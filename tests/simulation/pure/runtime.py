"""The containers of a simulated node: they outlive its agent, and do what the contract of
`runtime.base` says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Protocol

from piccolo.core.model import Container as Listed
from piccolo.core.pods.steps import (
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
    Inspect,
    Inspected,
    Inspection,
    Look,
    Looked,
    Refused,
    Remove,
    RemovePod,
    Save,
    Start,
    Stop,
)
from piccolo.core.workloads.containers import MountKind
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
    Instance,
)
from tests.simulation.wishes import FLAKY, JOB

JOB_LASTS, FLAKY_LASTS = 1.0, 2.0  # s


class Watch(Protocol):
    """Who looks for what must never happen."""

    def created(self, runtime: NodeRuntime, container: Listed) -> None: ...

    def started(self, runtime: NodeRuntime, container: Listed) -> None: ...

    def ended(self, container: Listed) -> None: ...


@dataclass(slots=True, eq=False)
class Box:
    """A container."""

    id: str
    name: str
    key: str  # of its instance
    image: str
    ports: frozenset[int]
    pod: str
    labels: dict[str, str]
    state: str = "created"
    exit_code: int = 0
    started: bool = False
    finished: bool = False
    runs: int = 0
    since: datetime | None = None

    @property
    def listed(self) -> Listed:
        return Listed(
            self.id, self.name, self.image, self.state, exit_code=self.exit_code, labels=self.labels
        )


class NodeRuntime:
    """`changed` is told of which instance something is otherwise, `later` carries out after so
    many seconds."""

    def __init__(
        self,
        id: str,
        name: str,
        rng: random.Random,
        watch: Watch,
        changed: Callable[[str], None],
        later: Callable[..., None],
    ) -> None:
        self.id, self.name = id, name
        self.away = False
        self.steady = False  # what is flaky is well now
        self.unwell = 0.0  # so many checks fail
        self.failures: dict[type, int] = {}  # how often an action is still to be refused
        self.boxes: dict[str, Box] = {}  # by name
        self.pods: dict[str, str] = {}  # hash by key
        self.scratch: dict[str, None] = {}  # keys
        self._rng = rng
        self._watch = watch
        self._changed = changed
        self._later = later
        self._ids = count(1)

    # ---- what there is ----

    def ours(self) -> list[Listed]:
        return [box.listed for box in self.boxes.values()]

    def of(self, key: str) -> list[Box]:
        return [box for box in self.boxes.values() if box.key == key]

    def listing(self, key: str) -> list[Listed]:
        return [box.listed for box in self.boxes.values() if box.key == key]

    def keys(self) -> list[str]:
        """Of all instances of which something is there."""
        boxes = (box.key for box in self.boxes.values())
        return list(dict.fromkeys((*boxes, *self.pods, *self.scratch)))

    @property
    def at_work(self) -> bool:
        """Whether something runs that will end by itself."""
        return any(box.state == "running" and box.image == JOB for box in self.boxes.values())

    def _by_id(self, id: str) -> Box | None:
        return next((box for box in self.boxes.values() if box.id == id), None)

    # ---- what its agent asks ----

    def do(self, action: Answered, instance: Instance) -> Answer:
        """`instance`: the latest that its runner knows of."""
        if self.away:
            return unheard(action)
        if self.failures.get(type(action), 0) > 0:
            self.failures[type(action)] -= 1
            return Refused(action, "Refused", "not now")
        match action:
            case Look():
                return self._look(action, instance.key)
            case Inspect(id):
                box = self._by_id(id)
                return Inspected(action, _inspection(box) if box else None)
            case Check(id=id):
                box = self._by_id(id)
                if box is None or box.state != "running":
                    return Checked(action, None, "it does not run")
                return Checked(action, self._rng.random() >= self.unwell, "not well")
            case CreatePod(instance):
                if self.pods.setdefault(instance.key, instance.hash) != instance.hash:
                    return Refused(action, "NameTaken", "a pod is called so")
            case Create():
                return self._create(action)
            case Start():
                return self._start(action)
            case Stop(id):
                self._stop(id)
            case Remove(id):
                self.remove(self._by_id(id))
            case RemovePod(name):
                self.remove_pod(name)
            case Clean():
                self.scratch.pop(instance.key, None)
            case Save() | EnsureImage():
                pass
        return Done(action)

    def _look(self, action: Look, key: str) -> Answer:
        pods = {key: self.pods[key]} if key in self.pods else {}
        return Looked(action, self.listing(key) if action.containers else (), pods)

    def _create(self, action: Create) -> Answer:
        instance, container = action.instance, action.container
        workload, key = instance.workload, instance.key
        pod = key if len(workload.containers) > 1 or workload.init_containers else ""
        if pod and pod not in self.pods:
            return Refused(action, "Refused", "there is no such pod")
        labels = {
            LABEL_CONTAINER: container.name,
            LABEL_HASH: instance.hash,
            LABEL_INSTANCE: key,
            LABEL_NODE: self.id,
            LABEL_WORKLOAD: workload.name,
        }
        name = f"{key}.{container.name}"
        there = self.boxes.get(name)
        if there is not None:
            if there.labels != labels:
                return Refused(action, "NameTaken", "a container is called so")
            return Done(action, there.id)
        ports = frozenset(port.host_port for port in container.ports)
        box = Box(f"{self.id}-{next(self._ids)}", name, key, container.image, ports, pod, labels)
        self._watch.created(self, box.listed)
        self.boxes[name] = box
        if any(m.kind is MountKind.SCRATCH for m in container.mounts):
            self.scratch[key] = None
        self._changed(key)
        return Done(action, box.id)

    def _start(self, action: Start) -> Answer:
        box = self._by_id(action.id)
        if box is None:
            return Refused(action, "Refused", "there is no such container")
        if box.state == "running":
            return Done(action)
        others = (b for b in self.boxes.values() if b.state == "running" and b is not box)
        if any(box.ports & other.ports for other in others):
            return Refused(action, "PortTaken", "a port of this node is in use")
        self._run(box)
        return Done(action)

    def _run(self, box: Box) -> None:
        box.state, box.started, box.finished = "running", True, False
        box.exit_code, box.runs = 0, box.runs + 1
        self._watch.started(self, box.listed)
        self._changed(box.key)
        if box.image == JOB:
            self._later(JOB_LASTS, self._over, box, box.runs, 0)
        elif box.image == FLAKY and not self.steady:
            self._later(FLAKY_LASTS, self._over, box, box.runs, 3)

    def _over(self, box: Box, run: int, exit_code: int) -> None:
        if box.runs == run and not (exit_code and self.steady):
            self.end(box, exit_code)

    def end(self, box: Box, exit_code: int) -> None:
        """By itself."""
        if box.state == "running" and self.boxes.get(box.name) is box:
            box.state, box.exit_code, box.finished = "exited", exit_code, True
            self._watch.ended(box.listed)
            self._changed(box.key)

    def _stop(self, id: str) -> None:
        if (box := self._by_id(id)) is not None:
            self.end(box, 143)

    def remove(self, box: Box | None) -> None:
        """By the agent, or by hand."""
        if box is not None and self.boxes.get(box.name) is box:
            del self.boxes[box.name]
            self._changed(box.key)

    def remove_pod(self, key: str) -> None:
        if self.pods.pop(key, None) is not None:
            for box in [b for b in self.boxes.values() if b.pod == key]:
                self.remove(box)

    def power_cut(self) -> None:
        """Nothing runs any more, and nobody noted how it ended."""
        for box in self.boxes.values():
            if box.state == "running":
                box.state, box.runs = self._rng.choice(("created", "exited")), box.runs + 1


def states(listing: Sequence[Listed]) -> list[tuple[str, str]]:
    return [(container.id, container.state) for container in listing]


def unheard(action: Answered) -> Answer:
    """What the executor makes of it when the runtime does not answer."""
    if isinstance(action, Check):
        return Checked(action, None, "away")
    return Away(action, "away")


def _inspection(box: Box) -> Inspection:
    return Inspection(box.state, box.exit_code, False, "", "10.0.0.1", box.started, box.finished)
