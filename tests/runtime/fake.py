"""A runtime without containers, for tests of what stands above it and for simulated agents.

It passes the same contract as Podman. Its containers change by the methods that people and
programs have on a real node; each change is told to whoever follows `changes()`. Costs nothing
while nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from piccolo.core.errors import Unavailable
from piccolo.core.model import Container, ContainerUsage
from piccolo.runtime.base import Containers, ContainerUsages

COALESCE = 0.01  # s

_numbers = count(1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(eq=False, slots=True)
class _Follower:
    ids: set[str] = field(default_factory=set)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False


class FakeRuntime:
    """A `Runtime`. Names are unique; unknown ones raise `KeyError`."""

    def __init__(self, version: str = "4.3.1") -> None:
        self.calls = {"version": 0, "list": 0, "usage": 0}
        self._version = version
        self._away = ""
        self._containers: dict[str, Container] = {}
        self._usage: dict[str, ContainerUsage] = {}
        self._followers: set[_Follower] = set()

    # ---- Runtime ----

    async def version(self) -> str:
        self._ask("version")
        return self._version

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        self._ask("list")
        if ids is None:
            return [*self._containers.values()]
        return [c for id in set(ids) if (c := self._containers.get(id)) is not None]

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        self._ask()
        follower = _Follower()
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
        self._ask("usage")
        return [
            self._usage.get(id, ContainerUsage(id, 0.1, 1 << 20))
            for id, container in self._containers.items()
            if container.state == "running"
        ]

    async def close(self) -> None:
        pass

    # ---- what happens on the node ----

    def create(
        self,
        name: str,
        *,
        image: str = "localhost/fake:1",
        labels: Mapping[str, str] | None = None,
        health: bool = False,
        pod: str = "",
    ) -> str:
        """A new container; its id."""
        if any(c.name == name for c in self._containers.values()):
            raise ValueError(f"there is a container {name} already")
        container = Container(
            id=f"{next(_numbers):064x}",
            name=name,
            image=image,
            state="created",
            health="starting" if health else "",
            created_at=_now(),
            labels=dict(labels or {}),
            pod=pod,
        )
        self._put(container)
        return container.id

    def run(
        self,
        name: str,
        *,
        image: str = "localhost/fake:1",
        labels: Mapping[str, str] | None = None,
        health: bool = False,
        pod: str = "",
    ) -> str:
        """A new container that runs; its id."""
        id = self.create(name, image=image, labels=labels, health=health, pod=pod)
        self.start(name)
        return id

    def start(self, name: str) -> None:
        self._change(name, state="running", exit_code=0, restarts=0, started_at=_now())

    def end(self, name: str, exit_code: int = 0) -> None:
        """The container's program ends."""
        self._change(name, state="exited", exit_code=exit_code, finished_at=_now())

    def restart(self, name: str, exit_code: int) -> None:
        """The container's program ends, and the runtime starts it anew by its policy."""
        self.end(name, exit_code)
        restarts = self._named(name).restarts + 1
        self._change(name, state="running", exit_code=0, restarts=restarts, started_at=_now())

    def stop(self, name: str) -> None:
        self.end(name, 137)

    def kill(self, name: str) -> None:
        self.end(name, 137)

    def pause(self, name: str) -> None:
        self._change(name, state="paused")

    def unpause(self, name: str) -> None:
        self._change(name, state="running")

    def rename(self, name: str, new: str) -> None:
        self._change(name, name=new)

    def check_health(self, name: str, well: bool) -> None:
        self._change(name, health="healthy" if well else "unhealthy")

    def remove(self, *names: str) -> None:
        for name in names:
            id = self._named(name).id
            del self._containers[id]
            self._usage.pop(id, None)
            self._tell(id)

    def use(self, name: str, cpu_percent: float, memory_bytes: int = 1 << 20) -> None:
        """What a container uses from now on. Usage is no change."""
        id = self._named(name).id
        self._usage[id] = ContainerUsage(id, cpu_percent, memory_bytes)

    def go_away(self, why: str = "there is no socket; start Podman") -> None:
        """From now on every call fails with `why`, and every stream of changes breaks."""
        self._away = why
        for follower in self._followers:
            follower.broken = True
            follower.woken.set()

    def come_back(self) -> None:
        self._away = ""

    def _ask(self, call: str = "") -> None:
        if call:
            self.calls[call] += 1
        if self._away:
            raise Unavailable(self._away)

    def _named(self, name: str) -> Container:
        for container in self._containers.values():
            if container.name == name:
                return container
        raise KeyError(name)

    def _change(self, name: str, /, **values: object) -> None:
        self._put(replace(self._named(name), **values))  # type: ignore[arg-type]

    def _put(self, container: Container) -> None:
        self._containers[container.id] = container
        self._tell(container.id)

    def _tell(self, id: str) -> None:
        for follower in self._followers:
            follower.ids.add(id)
            follower.woken.set()
