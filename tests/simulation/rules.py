"""What must never happen, looked at whenever a node's runtime is told to do something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from piccolo.agent.workloads.desired import Everything, Held
from piccolo.core.model import Container
from piccolo.core.workloads.instances import (
    LABEL_CONTAINER,
    LABEL_HASH,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_WORKLOAD,
)
from piccolo.core.workloads.workload import Dependency, DependencyCondition, RestartPolicy

UNDER_WAY = 5.0  # s that what was asked of the runtime may take, however things change meanwhile

_Place = tuple[str, str]  # a node's id and an instance's key


class Runtime(Protocol):
    def ours(self) -> Sequence[Container]: ...


class Node(Protocol):
    """Where something happens."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def runtime(self) -> Runtime: ...


class Named(Protocol):
    """A container, or one that is about to be made."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


class Broken(AssertionError):
    """Something happened that must never happen, or did not happen in time."""


class Rules:
    """`now`: the seconds that have passed."""

    def __init__(self, note: Callable[[str], None], now: Callable[[], float]) -> None:
        self.broken: list[str] = []
        self._now = now
        self._note = note
        self._wanted: dict[str, dict[str, Held]] = {}  # by node and key
        self._outdated: dict[tuple[_Place, str], float] = {}  # since when, by hash
        self._needs: dict[_Place, float] = {}  # since when, where containers outlived a change
        self._begun: set[_Place] = set()  # … and ran then, or were started since
        self._lives: Counter[_Place] = Counter()
        self._starts: Counter[tuple[_Place, int, str]] = Counter()
        self._made: dict[tuple[_Place, str], int] = {}  # in which life, by name of the container
        self._runs: Counter[tuple[_Place, int, str]] = Counter()  # … and how often it was started
        self._ran: set[str] = set()  # workloads
        self._completed: set[str] = set()

    def failed(self, text: str) -> None:
        self._note(f"BROKEN: {text}")
        self.broken.append(text)

    # ---- what an agent has taken over ----

    def desired(self, node: Node, wanted: Everything) -> None:
        """It holds this now, on its disk."""
        before = self._wanted.get(node.id, {})
        for key in before.keys() | wanted.keys():
            old, new = _hash(before.get(key)), _hash(wanted.get(key))
            place = node.id, key
            if old != new:
                self._lives[place] += 1
                self._needs.pop(place, None)
                self._begun.discard(place)
                self._outdated[place, old] = self._now()
                since = self._outdated.pop((place, new), None)
                if since is not None:
                    self._taken_over(node, place, new, since, begun=bool(old))
            elif _dependencies(before.get(key)) != _dependencies(wanted.get(key)):
                self._taken_over(node, place, new, self._now(), begun=True)
        self._wanted[node.id] = dict(wanted)

    def _taken_over(
        self, node: Node, place: _Place, hash_: str, since: float, *, begun: bool
    ) -> None:
        """It was wanted as well before, until then: what is there of it may be left to run on, or
        be about to start. `begun`: it was not to be removed in between, so what runs counts."""
        labels = {LABEL_INSTANCE: place[1], LABEL_HASH: hash_}
        there = [c for c in node.runtime.ours() if labels.items() <= c.labels.items()]
        if there:
            self._needs[place] = since
        if begun and any(c.state in ("running", "paused") for c in there):
            self._begun.add(place)

    def _check_wanted(self, node: Node, key: str, hash_: str, what: str) -> None:
        held = self._wanted.get(node.id, {}).get(key)
        if _hash(held) == hash_:
            return
        since = self._outdated.get(((node.id, key), hash_))
        if since is None:
            self.failed(f"{node.name} {what} {key} {hash_}, which it was never told to run")
        elif self._now() - since > UNDER_WAY:
            age = self._now() - since
            self.failed(f"{node.name} {what} {key} {hash_}, outdated there for {age:.1f} s")

    # ---- what its runtime is told ----

    def created(self, node: Node, request: Named) -> None:
        labels = request.labels
        if labels[LABEL_NODE] != node.id:
            self.failed(f"{node.name} creates a container of another node: {request.name}")
        place, name = (node.id, labels[LABEL_INSTANCE]), labels[LABEL_CONTAINER]
        self._check_wanted(node, place[1], labels[LABEL_HASH], "creates")
        self._made[place, name] = self._lives[place]

    def started(self, node: Node, container: Container) -> None:
        labels = container.labels
        if labels.get(LABEL_NODE) != node.id:
            return  # by hand
        key, hash_, name = labels[LABEL_INSTANCE], labels[LABEL_HASH], labels[LABEL_CONTAINER]
        self._check_wanted(node, key, hash_, "starts")
        self._check_alone(node, container)
        self._ran.add(labels[LABEL_WORKLOAD])
        held = self._wanted.get(node.id, {}).get(key)
        if held is None or held.instance is None or held.instance.hash != hash_:
            return
        workload, place = held.instance.workload, (node.id, key)
        life = place, self._lives[place], name
        self._starts[life] += 1
        main = name in {c.name for c in workload.containers}
        # What was deleted may still be about to start when it is declared anew, and is not that.
        run = place, self._made[place, name], name
        self._runs[run] += 1
        if workload.restart.policy is RestartPolicy.NEVER and main and self._runs[run] > 1:
            self.failed(f"{node.name} runs {key} {name} {hash_} a second time, with policy Never")
        begun = self._starts[life] > 1 or place in self._begun
        if self._made[place, name] == self._lives[place]:
            self._begun.add(place)  # so have its other containers, even if this one is removed
        if begun:
            return  # only the first start counts
        if self._now() - self._needs.get(place, -UNDER_WAY) < UNDER_WAY:
            return  # it was on its way before it depended on it
        for needed in workload.depends_on:
            held_once = self._ran
            if needed.condition is DependencyCondition.COMPLETED:
                held_once = self._completed
            if needed.workload not in held_once:
                self.failed(
                    f"{node.name} starts {key}, but {needed.workload} was never {needed.condition}"
                )

    def _check_alone(self, node: Node, container: Container) -> None:
        labels = container.labels
        for other in node.runtime.ours():
            same = other.labels[LABEL_INSTANCE] == labels[LABEL_INSTANCE]
            if other.id == container.id or not same or other.state != "running":
                continue
            twice = other.labels[LABEL_CONTAINER] == labels[LABEL_CONTAINER]
            if twice or other.labels[LABEL_HASH] != labels[LABEL_HASH]:
                self.failed(f"{node.name} runs {labels[LABEL_INSTANCE]} twice")

    def ended(self, container: Container) -> None:
        if container.exit_code == 0 and LABEL_WORKLOAD in container.labels:
            self._completed.add(container.labels[LABEL_WORKLOAD])

    def touched(self, node: Node, verb: str, container: Container) -> None:
        if container.labels.get(LABEL_NODE) != node.id:
            self.failed(f"{node.name}: {verb} of a foreign container, {container.name}")


def _hash(held: Held | None) -> str:
    return held.instance.hash if held is not None and held.instance is not None else ""


def _dependencies(held: Held | None) -> tuple[Dependency, ...]:
    return held.instance.workload.depends_on if held is not None and held.instance else ()
