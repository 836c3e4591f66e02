"""StateManager (LLD 1.2, HLD 3.2): the state of the cluster, and every change to it.

Objects are kept typed in memory, on top of a `MirroredStore` that keeps their bytes and their
history. Two ways to change something, chosen by what may be lost:

* `commit`: what somebody was promised. It is on disk before anyone sees it, or it failed.
* `observe`: what was seen. Everyone sees it at once; it reaches the disk soon after, or, for what
  changes all the time, never. A store that is away delays it, and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from operator import itemgetter
from typing import Any, TypeVar

from piccolo.core.errors import Compacted, InvalidSpec, NotFound
from piccolo.core.model import Container, ContainerUsage, Node, NodeLive, NodeStatus, Secret
from piccolo.core.workloads.declared import Assignment, Declared, Past
from piccolo.core.workloads.instances import InstanceStatus
from piccolo.master import keys
from piccolo.master.changeset import Changesets, fits
from piccolo.master.keys import AgentStream
from piccolo.master.objects import Objects
from piccolo.master.turns import Turns
from piccolo.store import codec
from piccolo.store.base import Change, Condition, Delete, Put
from piccolo.store.mirror import MirroredStore

log = logging.getLogger(__name__)

T = TypeVar("T")


class StateManager:
    """Call `load` first, and keep `run` running."""

    def __init__(self, store: MirroredStore) -> None:
        self._store = store
        self._objects = Objects()
        self._revisions: dict[str, int] = {}  # also of what was deleted, until that is `_followed`
        self._of_workloads: dict[str, set[str]] = defaultdict(set)  # keys, by workload
        self._graves: deque[tuple[int, str]] = deque()
        self._changesets = Changesets(store)
        self._turns = Turns()
        self._followed = 0  # changes up to this revision are all taken in

    async def load(self) -> None:
        """Take in all that the store holds. Raises `InvalidSpec` for what cannot be read."""
        await self._changesets.recover()
        snapshot = await self._store.list("")
        for entry in snapshot.entries:
            self._take(Change(entry.key, entry.value, entry.revision))
        self._followed = snapshot.revision

    async def run(self) -> None:
        """Follow changes that others made to the store, and complete what was too large for it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._changesets.run(), name="changesets")
            tasks.create_task(self._follow_for_ever(), name="changes of others")

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                await self._follow_others()
            except Compacted:  # more happened at once than the store remembers
                await self._catch_up()

    async def _follow_others(self) -> None:
        async with aclosing(self.changes("", self._followed)) as changes:
            async for change in changes:
                self._followed = change.revision - 1  # there may be more of the same transaction
                while self._graves and self._graves[0][0] <= self._followed:
                    revision, key = self._graves.popleft()
                    if self._revisions.get(key) == revision:
                        del self._revisions[key]

    async def _catch_up(self) -> None:
        """Compare everything with the store, instead of what has changed."""
        snapshot = await self._store.list("")  # which the mirror has at hand: nothing comes between
        there = {entry.key for entry in snapshot.entries}
        known = list(self._objects)
        for entry in snapshot.entries:
            self._follow(Change(entry.key, entry.value, entry.revision))
        for key in known:
            if key not in there:
                self._follow(Change(key, None, snapshot.revision))
        self._followed = snapshot.revision

    def _follow(self, change: Change) -> None:
        """Take in a change unless it is known; one that cannot be read changes nothing."""
        if change.revision > max(self._followed, self._revisions.get(change.key, 0)):
            try:
                self._take(change)
            except InvalidSpec as error:
                log.error("somebody wrote to the store what cannot be read: %s", error)

    def _take(self, change: Change) -> None:
        expected = keys.type_of(change.key)
        if expected is None:
            return
        value = None
        if change.value is not None:
            value = codec.decode(expected, change.value, change.key)
        self._put(change.key, value, change.revision)

    def _put(self, key: str, value: Any, revision: int) -> None:
        self._revisions[key] = revision
        if workload := keys.workload_of(key):
            self._index(workload, key, there=value is not None)
        if value is None:
            self._objects.remove(key)
            self._graves.append((revision, key))
        else:
            self._objects.put(key, value)

    def _index(self, workload: str, key: str, *, there: bool) -> None:
        if there:
            self._of_workloads[workload].add(key)
        elif workload in self._of_workloads:
            self._of_workloads[workload].discard(key)
            if not self._of_workloads[workload]:
                del self._of_workloads[workload]

    @property
    def store(self) -> MirroredStore:
        return self._store

    # ---- reading ----

    @property
    def degraded(self) -> str | None:
        """Why the store cannot be written now; None: it can."""
        return self._store.degraded

    @property
    def revision(self) -> int:
        return self._store.revision

    def revision_of(self, key: str) -> int:
        """When it was last written; 0: it is not there."""
        return self._revisions[key] if key in self._objects else 0

    def get(self, key: str, expected: type[T]) -> T | None:
        found = self._objects.get(key)
        return found if isinstance(found, expected) else None

    def nodes(self) -> list[Node]:
        """In the order of their names."""
        return sorted(self._objects.group(keys.NODE).values(), key=lambda n: n.name)

    def node(self, node_id: str) -> Node | None:
        return self.get(keys.node(node_id), Node)

    def find_node(self, name_or_id: str) -> Node:
        """Raises `NotFound`, naming the nodes there are."""
        if found := self.node(name_or_id) or self.node_named(name_or_id):
            return found
        names = ", ".join(n.name for n in self.nodes()[:20]) or "none yet"
        raise NotFound(f'there is no node "{name_or_id}"; nodes: {names}')

    def node_named(self, name: str) -> Node | None:
        return next((n for n in self._objects.group(keys.NODE).values() if n.name == name), None)

    def status(self, node_id: str) -> NodeStatus:
        return self.get(keys.status(node_id), NodeStatus) or NodeStatus()

    def live(self, node_id: str) -> NodeLive:
        return self.get(keys.live(node_id), NodeLive) or NodeLive()

    def containers(self, node_id: str) -> list[Container]:
        return list(self._objects.group(keys.containers(node_id)).values())

    def usage(self, node_id: str) -> tuple[ContainerUsage, ...]:
        found: tuple[ContainerUsage, ...] = self._objects.get(keys.usage(node_id)) or ()
        return found

    def declared(self) -> dict[str, Declared]:
        """What is to run, by name, in the order of the names; also what is being deleted."""
        found: Mapping[str, Declared] = self._objects.group(keys.WORKLOAD)
        return {d.workload.name: d for _, d in sorted(found.items())}

    def workload(self, name: str) -> Declared | None:
        return self.get(keys.workload(name), Declared)

    def history(self, name: str) -> list[Past]:
        """The generations before the current one that are kept, oldest first."""
        return [past for _, past in self._sorted_below(keys.history(name))]

    def assignments(self, node_id: str = "") -> list[Assignment]:
        """Of one node, or all, in the order of nodes and keys."""
        prefix = keys.assignments(node_id) if node_id else keys.ASSIGNMENT
        return [assignment for _, assignment in self._sorted_below(prefix)]

    def copies(self, name: str) -> tuple[list[Assignment], dict[tuple[str, str], InstanceStatus]]:
        """The assignments of one workload, and what is seen of it, as `seen` has it."""
        there = self._of_workloads.get(name, ())
        found = {key: self._objects.get(key) for key in there}
        return (
            [value for _, value in sorted(found.items()) if isinstance(value, Assignment)],
            {
                (key.split("/")[1], value.key): value
                for key, value in found.items()
                if isinstance(value, InstanceStatus)
            },
        )

    def instance(self, node_id: str, key: str) -> InstanceStatus | None:
        return self.get(keys.instance(node_id, key), InstanceStatus)

    def seen(self, node_id: str = "") -> dict[tuple[str, str], InstanceStatus]:
        """What agents said of their instances, by node and key: of one node, or all."""
        prefix = keys.instances_of(node_id) if node_id else keys.INSTANCE
        return {(key.split("/")[1], s.key): s for key, s in self._sorted_below(prefix)}

    def secrets(self) -> list[Secret]:
        return list(self._objects.group(keys.SECRET).values())

    def agent_stream(self, node_id: str) -> AgentStream | None:
        return self.get(keys.agent_events(node_id), AgentStream)

    def group(self, prefix: str) -> Mapping[str, Any]:
        """By key, the objects of a group, as it is now."""
        return self._objects.group(prefix)

    def below(self, prefix: str) -> Iterator[Any]:
        """All objects of the group `prefix` and below, in no order."""
        return (value for _, value in self._objects.below(prefix))

    def _sorted_below(self, prefix: str) -> list[tuple[str, Any]]:
        return sorted(self._objects.below(prefix), key=itemgetter(0))

    # ---- writing ----

    def observe(self, key: str, value: object | None, *, durable: bool = True) -> None:
        """Record what was seen; None: it is gone."""
        data = None if value is None else codec.encode(value)
        revision = self._store.observe(key, data, durable=durable)
        self._put(key, value, revision)

    async def commit(
        self, values: Mapping[str, object | None], conditions: Mapping[str, int] | None = None
    ) -> int:
        """Write all of `values` (None deletes), however many, or nothing. Durable when it returns.

        `conditions`: the revision that a key must still have; 0: it must not exist.
        Raises `Conflict` or `Unavailable`.
        """
        operations = [
            Delete(k) if v is None else Put(k, codec.encode(v)) for k, v in values.items()
        ]
        required = [Condition(k, r) for k, r in (conditions or {}).items()]
        touched = {*values, *(conditions or ())}
        async with self._turns.of(touched):
            await self._changesets.settle(touched)
            commit = self._store if fits(operations, required) else self._changesets
            revision = await commit.commit(operations, required)
            for key, value in values.items():
                self._put(key, value, revision)
        return revision

    # ---- watching ----

    async def changes(self, prefix: str, after: int) -> AsyncGenerator[Change, None]:
        """As `Store.watch`; look the objects up here, they are at least as new."""
        async with aclosing(self._store.watch(prefix, after)) as changes:
            async for change in changes:
                self._follow(change)
                yield change
