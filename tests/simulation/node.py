"""A simulated node: a disk, containers and a clock that outlive its agent, and the agent itself.

The agent's run is told from the one before by a context variable, which all its tasks inherit: what
a run that was killed still tries to do has no effect. `Node` also watches the safety properties
that can be seen on the spot (`Watch`).
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Collection
from contextvars import ContextVar, copy_context
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

from piccolo.agent.master_link import MasterLink, Membership
from piccolo.agent.pulser import Pulser
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine, Session
from piccolo.agent.workloads.desired import Desired, Everything, Spec
from piccolo.agent.workloads.service import Workloads
from piccolo.core.errors import Unavailable
from piccolo.core.model import Container, Facts, NodeRole, NodeType, Resources, Usage
from piccolo.core.workloads.instances import LABEL_NODE
from piccolo.runtime.base import ContainerRequest
from tests.runtime.fake import FakeRuntime
from tests.simulation.clocks import skew, utc
from tests.simulation.link import Link

_run: ContextVar[int] = ContextVar("run", default=0)  # of an agent

_FATAL = frozenset(("create_pod", "remove_pod", "create", "start", "stop", "remove"))


class Watch(Protocol):
    """Who looks for what must never happen."""

    def created(self, node: Node, request: ContainerRequest) -> None: ...

    def started(self, node: Node, container: Container) -> None: ...

    def ended(self, container: Container) -> None: ...

    def touched(self, node: Node, verb: str, container: Container) -> None: ...

    def desired(self, node: Node, wanted: Everything) -> None: ...

    def failed(self, text: str) -> None: ...


class NodeRuntime(FakeRuntime):
    """It takes its time, and the agent may be killed before or after whatever it asks of it."""

    def __init__(self, node: Node) -> None:
        super().__init__(now=lambda: (utc() + timedelta(seconds=node.skew)).replace(microsecond=0))
        self.node = node
        self.fatal = -1  # so many verbs that change something, until the agent is killed

    async def _ask(self, verb: str, subject: str = "") -> Container | None:
        node = self.node
        life = _run.get()
        if life != node.run:
            raise Unavailable("this agent was killed")
        if node.rng.random() < 0.2:
            await asyncio.sleep(node.rng.random() * node.slowness)
        found = await super()._ask(verb, subject)
        if life != node.run:
            raise Unavailable("this agent was killed")
        if verb in _FATAL:
            if found is not None:
                node.watch.touched(node, verb, found)
            self.fatal -= 1
            if self.fatal == 0:
                asyncio.get_running_loop().call_soon(node.shot)
                if node.rng.random() < 0.5:
                    await asyncio.Event().wait()
        return found

    async def create(self, request: ContainerRequest) -> str:
        self.node.watch.created(self.node, request)
        return await super().create(request)

    def start_by_hand(self, name: str) -> None:
        super().start_by_hand(name)
        self.node.watch.started(self.node, self._named(name))

    def end(self, name: str, exit_code: int = 0, oom: bool = False) -> None:
        super().end(name, exit_code, oom)
        self.node.watch.ended(self._named(name))

    def power_cut(self) -> None:
        """Nothing runs any more, and nobody noted how it ended."""
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()
        for container in list(self._containers.values()):
            if container.state in ("running", "paused"):
                self._change(container.name, state=self.node.rng.choice(("created", "exited")))

    @property
    def there(self) -> Collection[Container]:
        return list(self._containers.values())

    def ours(self) -> list[Container]:
        return [c for c in self.there if c.labels.get(LABEL_NODE) == self.node.id]

    @property
    def left(self) -> list[str]:
        """What else than containers is left of instances."""
        return [*self._pods, *(v for v in self.volumes if "." in v)]


class _Disk(Desired):
    def __init__(self, directory: Path, node: Node) -> None:
        super().__init__(directory)
        self._node = node

    def _write(self, wanted: Everything, fresh: dict[str, Spec]) -> None:  # type: ignore[override]
        if self._node.disk_full:
            raise OSError(errno.ENOSPC, "no space left on device")
        super()._write(wanted, fresh)


class _Workloads(Workloads):
    def __init__(self, node: Node, reporter: Reporter) -> None:
        self._node = node
        super().__init__(node.runtime, reporter, node.id, node.directory)
        self._desired = _Disk(node.directory / "workloads", node)
        self._desired.load()

    def _follow(self) -> None:
        super()._follow()
        self._node.watch.desired(self._node, self._desired.everything)


class _Renewal:
    def trust(self, bundle: object) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


class _Joined:
    node_id = ""
    cluster_id = "cluster-1"

    def joined(self, cluster_id: str) -> None: ...


class _MasterLink(MasterLink):
    """Sessions without dialling, certificates and registration."""

    def __init__(self, node: Node, reporter: Reporter, pulser: Pulser, workloads: Workloads):
        machine = Machine(
            node.id, Facts(), Resources(4, 1 << 33), Usage, 60.0, f"{node.name}-{node.run}"
        )
        membership = Membership(node.name, NodeRole.SUB, NodeType.EMBEDDED, node.profile, {})
        nothing = cast(Any, None)
        super().__init__(
            [], membership, _Joined(), machine, reporter, pulser, nothing, nothing, workloads
        )
        self._node = node

    async def _connect(self) -> None:
        await self._node.link.dial()
        self._session = Session(
            cast(Any, _Connection(self._node.link)),
            self._machine,
            self._reporter,
            self._pulser,
            self._hello,
            cast(Any, _Renewal()),
            self._workloads,
        )
        try:
            await self._session.run()
        finally:
            self._session = None

    async def _hello(self, cluster_id: str) -> None: ...


class _Connection:
    def __init__(self, link: Link) -> None:
        self.channel = link
        self.address = _Address()


class _Address:
    host = "master"


class Node:
    def __init__(
        self,
        name: str,
        profile: str,
        directory: Path,
        rng: random.Random,
        watch: Watch,
        killed: Callable[[Node], None],
    ) -> None:
        """`killed` is told when it was shot between two actions."""
        self.name, self.id = name, f"id-{name}"
        self.profile = profile
        self.directory = directory
        self.rng = rng
        self.watch = watch
        self.skew = 0.0  # s, of its clock
        self.slowness = 0.2  # s that its runtime may take
        self.disk_full = False
        self.run = 0
        self.runtime = NodeRuntime(self)
        self.link: Link
        self.workloads: Workloads | None = None
        self.reporter: Reporter | None = None
        self._killed = killed
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        if self._task is None:
            self.run += 1
            context = copy_context()
            context.run(_run.set, self.run)
            context.run(skew.set, lambda: self.skew)
            name = f"agent {self.name}"
            self._task = asyncio.create_task(self._live(), name=name, context=context)

    async def _live(self) -> None:
        try:
            reporter, pulser = Reporter(self.runtime), Pulser()
            workloads = _Workloads(self, reporter)
            self.workloads, self.reporter = workloads, reporter
            link = _MasterLink(self, reporter, pulser, workloads)
            async with asyncio.TaskGroup() as tasks:
                for part in (reporter.run(), pulser.run(), workloads.run(), link.run()):
                    tasks.create_task(part)
        except Exception as error:
            self.watch.failed(f"the agent of {self.name} ended: {error!r}")
        else:
            self.watch.failed(f"the agent of {self.name} ended")

    async def kill(self) -> None:
        """As by SIGKILL; its containers run on."""
        task, self._task = self._task, None
        self.run += 1
        self.runtime.fatal = -1
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.workloads = self.reporter = None

    def shot(self) -> None:
        self._killed(self)
