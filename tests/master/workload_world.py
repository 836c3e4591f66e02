"""Workloads for tests of the master: declared straight into its state, and agents that take them
over as a real one does, on a disk that outlives their sessions."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from piccolo.core import plain
from piccolo.core.model import Node
from piccolo.core.report import Delta
from piccolo.core.workloads.containers import Container, SecretKey
from piccolo.core.workloads.declared import Declared, Past
from piccolo.core.workloads.instances import (
    DependencyState,
    Instance,
    InstanceStatus,
    Phase,
    Secrets,
    sync_digest,
)
from piccolo.core.workloads.workload import Dependency, Workload
from piccolo.master import keys
from piccolo.master.security.secrets import Secrets as SecretStore
from piccolo.master.sessions import Session
from piccolo.rpc import convert, wire
from tests.master.virtual_time import utc
from tests.master.world import World


def workload(name: str = "web", *, image: str = "v1", **fields: Any) -> Workload:
    return Workload(name, (Container("main", image),), **fields)


def with_secret(name: str, secret: str, key: str = "password") -> Workload:
    env = {"PASSWORD": SecretKey(secret, key)}
    return Workload(name, (Container("main", "v1", secret_env=env),))


def needing(name: str, *others: str) -> Workload:
    return workload(name, depends_on=tuple(map(Dependency, others)))


async def declare(world: World, *workloads: Workload, **fields: Any) -> None:
    """As `piccolo apply` does: a new generation of each, the old one into the history."""
    values: dict[str, object | None] = {}
    for one in workloads:
        old = world.cluster.state.workload(one.name)
        generation = old.generation + 1 if old else 1
        values[keys.workload(one.name)] = Declared(one, generation, utc(), utc(), **fields)
        if old is not None:
            past = Past(old.workload, old.generation, utc())
            values[keys.past(one.name, old.generation)] = past
    await world.cluster.state.commit(values)


async def change(world: World, name: str, **fields: Any) -> None:
    """Something else of it than its spec."""
    old = world.cluster.state.workload(name)
    assert old is not None
    await world.cluster.state.commit({keys.workload(name): replace(old, **fields)})


async def delete(world: World, *names: str) -> None:
    for name in names:
        await change(world, name, deleting_since=utc())


async def put_secret(world: World, name: str, **data: str) -> None:
    store = SecretStore(world.cluster.state, world.cluster.clock)
    await store.put(name, {k: v.encode() for k, v in data.items()}, replace=True)


@dataclass(slots=True)
class Agent:
    """`disk` is what it holds."""

    world: World
    node: Node
    session: Session = field(init=False)
    disk: dict[str, tuple[bytes, Secrets]] = field(default_factory=dict)
    dependencies: dict[str, DependencyState] = field(default_factory=dict)
    told: list[wire.Desired] = field(default_factory=list)
    full: str = ""  # why its disk takes nothing
    asked: list[wire.HeldQuery] = field(default_factory=list)
    unreadable: str = ""  # why it cannot tell what it holds
    silent: bool = False  # it acknowledges nothing
    _coming: list[wire.Desired] = field(default_factory=list)

    @property
    def digest(self) -> int:
        digest = 0
        for key, (spec, secrets) in self.disk.items():
            digest ^= sync_digest(key, spec, secrets)
        return digest

    def runs(self) -> dict[str, str]:
        """Images by instance."""
        return {k: i.workload.containers[0].image for k, i in self.instances().items()}

    def instances(self) -> dict[str, Instance]:
        return {key: self._instance(key) for key in sorted(self.disk)}

    def _instance(self, key: str) -> Instance:
        return plain.decode(Instance, self.disk[key][0], key)

    def connect(self) -> None:
        self.session = self.world.connect(self.node)
        self._coming.clear()
        held = [
            wire.HeldInstance(key=k, digest=sync_digest(k, spec, secrets))
            for k, (spec, secrets) in self.disk.items()
        ]
        self.world.cluster.desired.open(self.session, held)

    def disconnect(self) -> None:
        """As the API server does when the stream ends."""
        self.world.cluster.desired.close(self.session)
        self.world.disconnect(self.session)

    async def settle(self, seconds: float = 0.3) -> None:
        """Takes over what it is told, for so long."""
        for tick in range(int(seconds / 0.01)):
            if tick % 50 == 0:
                self.world.pulse(self.session)
            if tick % 500 == 0:
                self.world.beat(self.session)
            await asyncio.sleep(0.01)
            for message in self.session.drain():
                if message.desired is not None:
                    self._take(message.desired)
                if message.held_query is not None:
                    self._tell(message.held_query)

    def _tell(self, query: wire.HeldQuery) -> None:
        """One at a time, as if all were large."""
        self.asked.append(query)
        key = query.keys[0]
        spec, secrets = self.disk[key]
        held = wire.DesiredInstance(key=key, spec=spec, secrets=dict(secrets))
        specs = wire.HeldSpecs(instances=[held], error="")
        if self.unreadable:
            specs = wire.HeldSpecs(error=self.unreadable)
        self.world.cluster.restored.told(self.session, specs)

    def _take(self, desired: wire.Desired) -> None:
        self.told.append(desired)
        self._coming.append(desired)
        if not desired.last:
            return
        change, self._coming = self._coming, []
        disk = {} if any(d.reset for d in change) else dict(self.disk)
        for message in change:
            for key in message.removed:
                disk.pop(key, None)
            disk |= {i.key: (i.spec, dict(i.secrets)) for i in message.set}
            states = map(convert.dependency_from_wire, message.dependencies)
            self.dependencies |= {s.workload: s for s in states}
        before, self.disk = self.disk, disk
        error = self.full if disk != before else ""
        if self.digest != desired.digest:
            error = "this does not fit to what is here"
        if error:
            self.disk = before
        if not self.silent:
            self.world.cluster.desired.answered(self.session, desired.digest, error)

    def beat(self) -> None:
        self.world.cluster.desired.beat(self.session, self.digest)

    def report(self, *instance_keys: str, phase: Phase = Phase.RUNNING, ready: bool = True) -> None:
        """They are in this phase; without names, all that it holds, and nothing else is there."""
        wanted = instance_keys or tuple(self.disk)
        seen = self.world.cluster.reports.of(self.node.id).instances
        gone = () if instance_keys else tuple(k for k in seen if k not in self.disk)
        statuses = (self._status(self._instance(key), phase, ready) for key in wanted)
        delta = Delta(instances=tuple(statuses), removed_instances=gone)
        self.world.cluster.reports.delta(self.node.id, delta)

    def _status(self, of: Instance, phase: Phase, ready: bool) -> InstanceStatus:
        return InstanceStatus(
            of.workload.name, of.index, of.generation, phase, ready, since=utc(), hash=of.hash
        )

    def sizes(self) -> list[int]:
        return [len(bytes(message)) for message in self.told]


async def agent(world: World, name: str = "n1", **fields: Any) -> Agent:
    """A node that has joined, and its agent."""
    found = Agent(world, await world.register(name, **fields))
    found.connect()
    return found


async def settled(agents: Iterable[Agent], seconds: float = 0.3) -> None:
    async with asyncio.TaskGroup() as tasks:
        for one in agents:
            tasks.create_task(one.settle(seconds))


def secret(text: str) -> str:
    """As it travels."""
    return base64.b64encode(text.encode()).decode()
