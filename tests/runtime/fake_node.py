"""The node below `tests.runtime.fake`: containers that are mere values, and what people and
programs do with them behind the runtime's back. Each change is told to whoever follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from piccolo.core.model import Container, ContainerUsage
from piccolo.runtime.base import ContainerRequest, Detail

_numbers = count(1)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Script:
    """What a container does once it is started; the default runs until it is stopped."""

    exit_code: int | None = None  # it ends by itself, with this
    after: float = 0.0  # s of running until then
    oom: bool = False  # it ends by itself, killed for its use of memory
    ignores_stop: bool = False  # it has to be killed, after the grace
    missing: bool = False  # its command is not in the image
    lines: tuple[str, ...] = ()  # that it writes when it starts


@dataclass(frozen=True, slots=True)
class Command:
    """What a command does that is run in a container."""

    exit_code: int = 0
    output: str = ""
    takes: float = 0.0  # s


@dataclass(eq=False, slots=True)
class Follower:
    ids: set[str] = field(default_factory=set)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False


class FakeNode:
    """Names are unique; unknown ones raise `KeyError`."""

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        # What containers do, by the first of these that is given: container's name, image, first
        # word of its command or arguments.
        self.scripts: dict[str, Script] = {}
        # What commands run in them do, by the container's name or the command's first word.
        self.commands: dict[str, Command] = {}
        self.requests: dict[str, ContainerRequest] = {}  # by name, of those the runtime made
        self.said: dict[str, list[str]] = {}  # by id: what containers wrote in their last run
        self._now = now
        self._containers: dict[str, Container] = {}
        self._oom: set[str] = set()  # ids
        self._usage: dict[str, ContainerUsage] = {}
        self._followers: set[Follower] = set()
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def create_by_hand(
        self,
        name: str,
        *,
        image: str = "localhost/fake:1",
        labels: Mapping[str, str] | None = None,
        health: bool = False,
        pod: str = "",
    ) -> str:
        """A new container; its id."""
        if self.find(name) is not None:
            raise ValueError(f"there is a container {name} already")
        container = Container(
            id=f"{next(_numbers):064x}",
            name=name,
            image=image,
            state="created",
            health="starting" if health else "",
            created_at=self._now(),
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
        id = self.create_by_hand(name, image=image, labels=labels, health=health, pod=pod)
        self.start_by_hand(name)
        return id

    def start_by_hand(self, name: str) -> None:
        """It runs; its script begins."""
        container, script = self._named(name), self.script(name)
        self._change(name, state="running", exit_code=0, restarts=0, started_at=self._now())
        self._oom.discard(container.id)
        self.said[container.id] = [*script.lines]
        if script.exit_code is not None or script.oom:
            later = asyncio.get_running_loop().call_later
            self._ends[container.id] = later(script.after, self._run_out, container.id, script)

    def end(self, name: str, exit_code: int = 0, oom: bool = False) -> None:
        """The container's program ends."""
        id = self._named(name).id
        if (timer := self._ends.pop(id, None)) is not None:
            timer.cancel()
        self._change(name, state="exited", exit_code=exit_code, finished_at=self._now())
        if oom:
            self._oom.add(id)

    def _run_out(self, id: str, script: Script) -> None:
        code = 137 if script.oom else script.exit_code or 0
        self.end(self._containers[id].name, code, script.oom)

    def restart(self, name: str, exit_code: int) -> None:
        """The container's program ends, and the runtime starts it anew by its policy."""
        self.end(name, exit_code)
        restarts = self._named(name).restarts + 1
        self._change(name, state="running", exit_code=0, restarts=restarts, started_at=self._now())

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

    def remove_by_hand(self, *names: str) -> None:
        for name in names:
            id = self._named(name).id
            if (timer := self._ends.pop(id, None)) is not None:
                timer.cancel()
            del self._containers[id]
            self._usage.pop(id, None)
            self._oom.discard(id)
            self.said.pop(id, None)
            self.requests.pop(name, None)
            self._tell(id)

    def use(self, name: str, cpu_percent: float, memory_bytes: int = 1 << 20) -> None:
        """What a container uses from now on. Usage is no change."""
        id = self._named(name).id
        self._usage[id] = ContainerUsage(id, cpu_percent, memory_bytes)

    # ---- what there is ----

    def find(self, name: str) -> Container | None:
        return next((c for c in self._containers.values() if c.name == name), None)

    def script(self, name: str) -> Script:
        container, request = self._named(name), self.requests.get(name)
        asked = request.container if request is not None else None
        word = (*asked.command, *asked.args, "")[0] if asked is not None else ""
        keys = (name, container.image, word)
        return next((self.scripts[key] for key in keys if key in self.scripts), Script())

    def _detail(self, container: Container, address: str) -> Detail:
        return Detail(
            id=container.id,
            state=container.state,
            exit_code=container.exit_code,
            oom_killed=container.id in self._oom,
            error="",
            address=address,
            started_at=container.started_at,
            finished_at=container.finished_at,
        )

    def _named(self, name: str) -> Container:
        if (container := self.find(name)) is None:
            raise KeyError(name)
        return container

    def _change(self, name: str, /, **values: object) -> None:
        self._put(replace(self._named(name), **values))  # type: ignore[arg-type]

    def _put(self, container: Container) -> None:
        self._containers[container.id] = container
        self._tell(container.id)

    def _tell(self, id: str) -> None:
        for follower in self._followers:
            follower.ids.add(id)
            follower.woken.set()
