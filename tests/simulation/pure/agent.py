"""A simulated agent: one run of it, between its start and the moment it is killed.

It follows the runtime, keeps a slot for each instance, takes over what the master wants, and
reports. How it talks to the master stands in `session`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import Protocol

from piccolo.agent.workloads.desired import Change, Everything, Held
from piccolo.core.backoff import pause
from piccolo.core.errors import PiccoloError
from piccolo.core.model import Container as Listed
from piccolo.core.nodes.liveness import LinkProfile
from piccolo.core.pods.steps import Answered, Check, EnsureImage, Inspect, Look
from piccolo.core.report import Delta, Report
from piccolo.core.workloads.instances import DependencyState, Instance, InstanceStatus
from piccolo.core.workloads.workload import OnIsolation
from tests.simulation.pure.clock import Clock, LocalClock
from tests.simulation.pure.disk import DependenciesOnDisk, DesiredOnDisk, Disk
from tests.simulation.pure.network import Link
from tests.simulation.pure.runtime import NodeRuntime, states
from tests.simulation.pure.slots import Slot

_LISTED_EVERY = 60.0  # s
_LISTING_CAP = 15.0  # s
_HARMLESS = Look | Inspect | Check | EnsureImage


class Watch(Protocol):
    def desired(self, node: Node, wanted: Everything) -> None: ...


class Node:
    """What outlives its agent: the containers, the disk, a clock, a link."""

    alive = True

    def __init__(
        self,
        name: str,
        profile: LinkProfile,
        clock: Clock,
        local: LocalClock,
        rng: random.Random,
        watch: Watch,
    ) -> None:
        self.name, self.id = name, f"id-{name}"
        self.profile = profile
        self.clock, self.local = clock, local
        self.rng = rng
        self.watch = watch
        self.disk = Disk()
        self.link: Link
        self.runtime: NodeRuntime
        self.agent: Agent | None = None
        self.slowness = 0.2  # s that an action, and its answer, may take
        self.mute = 0.0  # so many answers of the runtime get lost
        self.deaf = 0.0  # so many of its changes are not heard of
        self.fatal = 0  # so many actions until the agent is killed
        self.shot: Callable[[Node], None]

    def kill(self) -> None:
        """As by SIGKILL; the containers run on."""
        if self.agent is not None:
            self.agent.alive = False
            self.agent.ended()
        self.agent = None
        self.fatal = 0

    def changed(self, key: str) -> None:
        if self.agent is not None:
            self.agent.notice(key)


class Session(Protocol):
    """The way to the master, as the agent's other parts see it."""

    def begin(self) -> None: ...

    def told(self, delta: Delta) -> None: ...

    def taken(self, digest: int, error: str) -> None: ...

    def dead(self) -> None: ...


class Agent:
    def __init__(self, node: Node) -> None:
        self.alive = True
        self.node = node
        self.local = node.local
        self.session: Session
        self.report = Report()
        self.desired = DesiredOnDisk(node.disk)
        self.slots: dict[str, Slot] = {}
        self.connected = 0  # counts sessions, their beginnings and their ends
        self._dependencies = DependenciesOnDisk(node.disk, self.report.instances)
        self._wanted: Everything = {}
        self._sure = False
        self._dependents: dict[str, dict[str, None]] = {}
        self._news: deque[tuple[Change, tuple[DependencyState, ...], int]] = deque()
        self._reviews = 0  # counts their timers
        self._known = False  # the runtime said what there is
        self._listed: dict[str, list[tuple[str, str]]] = {}  # and what, by key
        self._noticed: dict[str, None] = {}
        self._failures = 0
        self._alone_since: float | None = self.local.monotonic()

    def start(self) -> None:
        self._follow()
        self._look()

    def ended(self) -> None:
        """It was killed."""
        self.session.dead()

    def perform(self, action: Answered | None, work: Callable[[], object]) -> None:
        """Unless it is killed right now."""
        node = self.node
        if not self.alive:
            return
        if isinstance(action, _HARMLESS) or node.fatal == 0:
            work()
            return
        node.fatal -= 1
        if node.fatal or node.rng.random() < 0.5:
            work()
        if not node.fatal:
            node.shot(node)

    # ---- the runtime ----

    def _look(self) -> None:
        """List everything, now and then."""
        node, runtime = self.node, self.node.runtime
        if runtime.away:
            self._failures += 1
            again = pause(self._failures, node.rng.random(), base=0.5, cap=_LISTING_CAP)
            node.clock.after(again, self, self._look)
            return
        self._failures = 0
        first, self._known = not self._known, True
        for key in dict.fromkeys((*runtime.keys(), *self._listed)):
            self._observed(key, runtime.listing(key))
        self._open()
        node.clock.after(_LISTED_EVERY, self, self._look)
        if first:
            self.session.begin()

    def notice(self, key: str) -> None:
        """The runtime has an event."""
        node = self.node
        if key in self._noticed or not self._known or node.rng.random() < node.deaf:
            return
        self._noticed[key] = None
        node.clock.after(node.rng.random() * 0.02, self, self._list, key)

    def _list(self, key: str) -> None:
        node = self.node
        self._noticed.pop(key, None)
        if node.runtime.away:
            return
        late = 0.0 if node.rng.random() < 0.8 else node.rng.random() * node.slowness
        node.clock.after(late, self, self._observed, key, node.runtime.listing(key))

    def _observed(self, key: str, listing: Sequence[Listed]) -> None:
        now = states(listing)
        if now == self._listed.get(key, []):
            return
        if now:
            self._listed[key] = now
        else:
            self._listed.pop(key, None)
        if (slot := self.slots.get(key)) is not None:
            slot.observed(listing)
        else:
            self._open()

    # ---- what is wanted ----

    def receive(self, change: Change, dependencies: Iterable[DependencyState]) -> None:
        """It is taken over to the end, one change after the other, even if the session is over."""
        self._news.append((change, tuple(dependencies), self.connected))
        if len(self._news) == 1:
            self._take_next()

    def _take_next(self) -> None:
        """Writing takes its time."""
        change = self._news[0][0]
        writes = change.set or change.removed or change.reset
        late = self.node.rng.random() * 0.02 if writes else 0.0
        self.node.clock.after(late, self, self.perform, None, self._take_over)

    def _take_over(self) -> None:
        change, dependencies, session = self._news[0]
        error, changed = "", False
        try:
            changed = self.desired.take_over(change)
        except PiccoloError as failed:
            error = str(failed)
        if session == self.connected:
            self._wake(self._dependencies.told(dependencies, reset=change.reset))
        if changed:
            self._follow()
        if session == self.connected:
            self.session.taken(self.desired.digest, error)
        self._news.popleft()
        if self._news:
            self._take_next()

    def _follow(self) -> None:
        wanted, sure = self.desired.everything, self.desired.whole
        self.node.watch.desired(self.node, wanted)
        if sure:
            self._dependencies.keep(wanted.keys())
        gone = [key for key in self._wanted if key not in wanted]
        fresh = [held for key, held in wanted.items() if self._wanted.get(key) != held]
        self._wanted, self._sure = wanted, sure
        self._dependents = _dependents(wanted)
        self._say([_introduced(h, self) for h in fresh if h.key not in self.slots and h.instance])
        for key in gone:
            if key in self.slots:
                self.slots[key].want(None)
            else:
                self._say(removed=[key])
        for held in fresh:
            if held.key in self.slots:
                self.slots[held.key].want(held)
        self._review()
        self._open()

    def _open(self) -> None:
        """A slot for each key that needs one and has none."""
        if not self._known:
            return
        disk, runtime = self.node.disk, self.node.runtime
        left = (*self._listed, *runtime.keys(), *disk.folders) if self._sure else ()
        fresh = [key for key in dict.fromkeys((*self._wanted, *left)) if key not in self.slots]
        for key in fresh:
            held = self._wanted.get(key)
            slot = self.slots[key] = Slot(self, key, held)
            slot.observed(runtime.listing(key))
            if held is not None and held.instance is not None:
                slot.hold(self._held_back(held.instance))
            slot.run()

    def closed(self, slot: Slot) -> None:
        """Nothing is wanted there, and nothing is left."""
        del self.slots[slot.key]
        self._listed.pop(slot.key, None)
        self._say(removed=[slot.key])
        self._open()

    # ---- what holds instances back ----

    def blocked(self, instance: Instance) -> str:
        found = self._dependencies.blocked(instance)
        if self._dependencies.unwritten:
            later = self.node.rng.random() * 0.05
            self.node.clock.after(later, self, self._dependencies.write)
        return found

    def _left(self, instance: Instance) -> float:
        """Seconds until it must stop, as this node is alone."""
        rule = instance.workload.on_isolation
        if self._alone_since is None or rule.action is not OnIsolation.STOP:
            return inf
        return self._alone_since + rule.after - self.local.monotonic()

    def _held_back(self, instance: Instance) -> str | None:
        return None if self._left(instance) > 0 else "this node has been without the master"

    def _review(self) -> None:
        """What holds instances back may have changed; and again when the next of them must stop."""
        instances = [s.held.instance for s in self.slots.values() if s.held and s.held.instance]
        for slot in list(self.slots.values()):
            if slot.held is not None and slot.held.instance is not None:
                slot.hold(self._held_back(slot.held.instance))
        left = min((s for i in instances if 0 < (s := self._left(i)) < inf), default=None)
        if left is not None:
            self._reviews += 1
            self.node.clock.after(left + 0.01, self, self._review_again, self._reviews)

    def _review_again(self, number: int) -> None:
        if number == self._reviews:
            self._review()

    def _wake(self, workloads: Collection[str]) -> None:
        for workload in sorted(workloads):
            for key in self._dependents.get(workload, ()):
                if key in self.slots:
                    self.slots[key].wake()

    # ---- sessions ----

    def welcomed(self) -> None:
        self.connected += 1
        self._alone_since = None
        self._review()

    def alone(self, heard_at: float) -> None:
        self.connected += 1
        self._alone_since = heard_at
        self._dependencies.alone()
        self._wake(self._dependents.keys())
        self._review()

    # ---- what is reported ----

    def publish(self, status: InstanceStatus) -> None:
        self._say([status])
        self._wake([status.workload])

    def _say(self, changed: Sequence[InstanceStatus] = (), removed: Sequence[str] = ()) -> None:
        known = self.report.instances
        delta = Delta(
            instances=tuple(s for s in changed if known.get(s.key) != s),
            removed_instances=tuple(key for key in removed if key in known),
        )
        if delta:
            self.report.apply(delta)
            self.session.told(delta)


def _dependents(wanted: Everything) -> dict[str, dict[str, None]]:
    """The keys of those that depend on a workload, by its name."""
    found: dict[str, dict[str, None]] = {}
    for key, held in wanted.items():
        for dependency in held.instance.workload.depends_on if held.instance else ():
            found.setdefault(dependency.workload, {})[key] = None
    return found


def _introduced(held: Held, agent: Agent) -> InstanceStatus:
    workload, _, index = held.key.rpartition(".")
    generation = held.instance.generation if held.instance else 0
    return InstanceStatus(workload, int(index), generation, since=agent.local.utc())
