"""A runtime without containers, for tests of what stands above it and for simulated agents.

It passes the same contract as Podman. Its containers change by the runtime's verbs, and by the
methods of `FakeNode`, as people and programs change them on a real node. Costs nothing while
nothing changes. What a test can script:

* `scripts["web.0.main"] = Script(exit_code=3)`: what a container does; the key may also be its
  image, or the first word of its command. `commands["web.0.main"] = Command(exit_code=1)`: what
  commands run in it do, such as probes; the key may also be the command's first word.
* `missing_images`, `remote`, `foreign_images`, `missing_paths`, `used_ports`: what the node has not
  got, or what is in the way. Anything else is there.
* `fail("start", error, times=2)`: a verb raises `error`; `delays["ensure_image"] = 2.0`: it takes
  so long, in seconds.
* `journal`: what was done by the verbs that change something, as (verb, name).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from datetime import datetime
from itertools import count

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container, ContainerUsage
from piccolo.core.workloads.containers import HostPathType, MountKind, PullPolicy
from piccolo.core.workloads.workload import NetworkMode
from piccolo.runtime.base import (
    ContainerRequest,
    Containers,
    ContainerUsages,
    Detail,
    ExecResult,
    Lines,
    PodRequest,
    Refusal,
    Refused,
)
from tests.runtime.fake_node import Command, FakeNode, Follower, Script, _now

__all__ = ["Command", "FakeNode", "FakeRuntime", "Script"]

COALESCE = 0.01  # s

_CHANGING = frozenset(
    ("ensure_image", "create_pod", "remove_pod", "create", "start", "stop", "remove")
)

_numbers = count(1 << 128)  # of pods


class FakeRuntime(FakeNode):
    """A `Runtime`."""

    def __init__(self, version: str = "4.3.1", now: Callable[[], datetime] = _now) -> None:
        super().__init__(now)
        self.calls: Counter[str] = Counter()
        self.journal: list[tuple[str, str]] = []
        self.delays: dict[str, float] = {}
        self.missing_images: set[str] = set()  # and not to be had
        self.remote: set[str] = set()  # images that are not there, and can be fetched
        self.foreign_images: set[str] = set()  # of another architecture
        self.missing_paths: set[str] = set()  # of the node
        self.used_ports: set[int] = set()  # by other programs of the node
        self.volumes: set[str] = set()
        self._failures: dict[str, tuple[Exception, int]] = {}
        self._version = version
        self._away = ""
        self._pods: dict[str, tuple[str, PodRequest]] = {}
        self._addresses: dict[str, int] = {}

    def fail(self, verb: str, error: Exception, times: int = 1) -> None:
        """The next calls of `verb` raise `error`, without effect."""
        self._failures[verb] = error, times

    def go_away(self, why: str = "there is no socket; start Podman") -> None:
        """From now on every call fails with `why`, and every stream of changes breaks."""
        self._away = why
        for follower in self._followers:
            follower.broken = True
            follower.woken.set()

    def come_back(self) -> None:
        self._away = ""

    # ---- Runtime: looking ----

    async def version(self) -> str:
        await self._ask("version")
        return self._version

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        await self._ask("list")
        if ids is None:
            return [*self._containers.values()]
        return [c for id in set(ids) if (c := self._containers.get(id)) is not None]

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        await self._ask("changes")
        follower = Follower()
        self._followers.add(follower)
        try:
            yield frozenset()
            while True:
                await follower.woken.wait()
                await asyncio.sleep(COALESCE)
                if follower.broken:
                    raise Unavailable("the event stream broke; open it anew")
                follower.woken.clear()
                ids, follower.ids = follower.ids, set()
                yield frozenset(ids)
        finally:
            self._followers.discard(follower)

    async def usage(self) -> ContainerUsages:
        await self._ask("usage")
        return [
            self._usage.get(id, ContainerUsage(id, 0.1, 1 << 20))
            for id, container in self._containers.items()
            if container.state == "running"
        ]

    async def pods(self, labels: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        await self._ask("pods")
        found = {name: request.labels for name, (_, request) in self._pods.items()}
        return {
            name: has
            for name, has in found.items()
            if all(key in has and value in ("", has[key]) for key, value in labels.items())
        }

    async def inspect(self, id: str) -> Detail | None:
        await self._ask("inspect")
        container = self._containers.get(id)
        return None if container is None else self._detail(container, self._address(container))

    async def tail(self, id: str, lines: int) -> Lines:
        await self._ask("tail")
        said = self.said.get(id, [])
        return [line[:500] for line in said[max(len(said) - lines, 0) :]]

    async def exec(self, id: str, command: tuple[str, ...], timeout: float) -> ExecResult:
        container = await self._ask("exec", id)
        if container is None or container.state != "running":
            raise Refused(Refusal.REFUSED, f"{id} does not run: no command can be run in it")
        keys = (container.name, command[0])
        done = next((self.commands[key] for key in keys if key in self.commands), Command())
        async with asyncio.timeout(timeout):
            await asyncio.sleep(done.takes)
        return ExecResult(done.exit_code, done.output)

    # ---- Runtime: changing ----

    async def ensure_image(self, image: str, pull: PullPolicy) -> str:
        await self._ask("ensure_image", image)
        if image in self.foreign_images:
            raise Refused(Refusal.WRONG_ARCHITECTURE, f"{image} is for another architecture")
        if image in self.missing_images or (pull is PullPolicy.NEVER and image in self.remote):
            raise Refused(Refusal.IMAGE_MISSING, f"there is no image {image}: podman pull {image}")
        self.remote.discard(image)
        return hashlib.sha256(image.encode()).hexdigest()

    async def create_pod(self, request: PodRequest) -> str:
        await self._ask("create_pod", request.name)
        if request.name in self._pods:
            id, there = self._pods[request.name]
            _must_be_same(request.name, request.labels, there.labels)
            return id
        if self.find(request.name) is not None:
            raise Refused(Refusal.NAME_TAKEN, f"a container is called {request.name} already")
        id = f"{next(_numbers):064x}"
        self._pods[request.name] = id, request
        return id

    async def remove_pod(self, name: str) -> None:
        await self._ask("remove_pod", name)
        if self._pods.pop(name, None) is not None:
            self.remove_by_hand(*[c.name for c in self._containers.values() if c.pod == name])

    async def create(self, request: ContainerRequest) -> str:
        await self._ask("create", request.name)
        if (there := self.find(request.name)) is not None:
            _must_be_same(request.name, request.labels, there.labels)
            return there.id
        if request.name in self._pods:
            raise Refused(Refusal.NAME_TAKEN, f"a pod is called {request.name} already")
        if request.pod and request.pod not in self._pods:
            raise Refused(Refusal.REFUSED, f"there is no pod {request.pod}")
        asked = request.container
        if asked.image in self.missing_images | self.remote:
            raise Refused(Refusal.IMAGE_MISSING, f"there is no image {asked.image}")
        for mount in asked.mounts:
            made = mount.host_type in (
                HostPathType.DIRECTORY_OR_CREATE,
                HostPathType.FILE_OR_CREATE,
            )
            if mount.kind is MountKind.HOST and not made and mount.source in self.missing_paths:
                raise Refused(Refusal.MOUNT_MISSING, f"there is no {mount.source} on this node")
            if mount.kind is MountKind.SCRATCH:
                self.volumes.add(request.scratch + mount.source)
            elif mount.kind is MountKind.VOLUME:
                self.volumes.add(mount.source)
        self.requests[request.name] = request
        return self.create_by_hand(
            request.name, image=asked.image, labels=request.labels, pod=request.pod
        )

    async def start(self, id: str) -> None:
        container = await self._ask("start", id)
        if container is None:
            raise Refused(Refusal.REFUSED, f"there is no container {id} any more")
        if container.state == "running":
            return
        if self.script(container.name).missing:
            raise Refused(Refusal.COMMAND_MISSING, f"{container.image} has no such command")
        others = [c for c in self._running() if not c.pod or c.pod != container.pod]
        taken = self.used_ports.union(*map(self._ports, others))
        if ports := taken & self._ports(container):
            raise Refused(Refusal.PORT_TAKEN, f"port {min(ports)} of this node is in use")
        self.start_by_hand(container.name)

    async def stop(self, id: str, grace: float) -> None:
        container = await self._ask("stop", id)
        if container is None or container.state != "running":
            return
        if not self.script(container.name).ignores_stop:
            self.end(container.name, 143)
            return
        await asyncio.sleep(grace)
        there = self._containers.get(id)
        if there is not None and there.state == "running":
            self.kill(there.name)

    async def remove(self, id: str) -> None:
        if (container := await self._ask("remove", id)) is not None:
            self.remove_by_hand(container.name)

    async def remove_volumes(self, prefix: str) -> None:
        await self._ask("remove_volumes", prefix)
        self.volumes = {name for name in self.volumes if not name.startswith(prefix)}

    async def close(self) -> None:
        for timer in self._ends.values():
            timer.cancel()

    # ---- what stands behind ----

    async def _ask(self, verb: str, subject: str = "") -> Container | None:
        """The container that `subject` is the id of, once it is sure that the verb goes on."""
        self.calls[verb] += 1
        if self._away:
            raise Unavailable(self._away)
        if delay := self.delays.get(verb):
            await asyncio.sleep(delay)
            if self._away:
                raise Unavailable(self._away)
        if verb in self._failures:
            error, times = self._failures.pop(verb)
            if times > 1:
                self._failures[verb] = error, times - 1
            raise error
        container = self._containers.get(subject)
        if verb in _CHANGING:
            self.journal.append((verb, container.name if container is not None else subject))
        return container

    def _running(self) -> Iterator[Container]:
        return (c for c in self._containers.values() if c.state == "running")

    def _ports(self, container: Container) -> set[int]:
        request = self.requests.get(container.name)
        if request is None:
            return set()
        ports = set(request.container.ports)
        if request.pod:
            ports = set(self._pods[request.pod][1].ports) if request.pod in self._pods else set()
        return {port.host_port for port in ports if port.host_port}

    def _address(self, container: Container) -> str:
        request = self.requests.get(container.name)
        if request is None or container.state != "running":
            return ""
        network, owner = request.network, container.name
        if request.pod:
            network, owner = self._pods[request.pod][1].network, request.pod
        if network is None or network.mode is NetworkMode.NONE:
            return ""
        if network.mode is NetworkMode.HOST:
            return "127.0.0.1"
        return f"10.88.0.{self._addresses.setdefault(owner, len(self._addresses) + 2)}"


def _must_be_same(name: str, asked: Mapping[str, str], there: Mapping[str, str]) -> None:
    if not asked.items() <= there.items():
        raise Refused(Refusal.NAME_TAKEN, f"{name} is there already, and not ours: remove it")
