"""What goes wrong, at random and at any moment: links, agents, nodes, the master, containers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from piccolo.core.errors import Unavailable
from piccolo.runtime.base import Refusal, Refused
from tests.simulation.master import Master
from tests.simulation.node import Node
from tests.simulation.wishes import FLAKY

_VERBS = ("create", "start", "stop", "remove", "create_pod", "remove_pod", "ensure_image", "list")


class World(Protocol):
    rng: random.Random
    master: Master
    nodes: dict[str, Node]

    def note(self, text: str) -> None: ...


class Faults:
    def __init__(self, world: World) -> None:
        self._w = world
        self._over: dict[str, Callable[[], Awaitable[None]]] = {}  # how each ends, by what it is
        # In order: sets of tasks have none.
        self._timers: dict[asyncio.Task[None], None] = {}
        self._dying: dict[asyncio.Task[None], None] = {}  # who was shot
        self._kinds: dict[Callable[[], Coroutine[Any, Any, str]], int] = {
            self._end_container: 6,
            self._remove_container: 4,
            self._kill_agent: 5,
            self._shoot_agent: 5,
            self._kill_master: 4,
            self._shoot_master: 4,
            self._break: 5,
            self._cut: 4,
            self._reboot: 2,
            self._runtime_away: 2,
            self._verb_fails: 3,
            self._disk_full: 2,
            self._step_clock: 1,
            self._store_away: 2,
        }

    async def one(self) -> None:
        kinds = self._kinds
        kind = self._w.rng.choices(list(kinds), list(kinds.values()))[0]
        if what := await kind():
            self._w.note(f"fault: {what}")

    async def end(self) -> None:
        """Everything is put right."""
        await self._cease()
        for task in list(self._timers):
            task.cancel()
        await asyncio.gather(*self._timers, return_exceptions=True)
        for over in list(self._over.values()):
            await over()
        self._over.clear()
        master = self._w.master
        if not master.runs:
            await master.start()
        for node in self._w.nodes.values():
            node.runtime._failures.clear()
            node.runtime.scripts.pop(FLAKY, None)
            node.start()

    async def _cease(self) -> None:
        """Nobody is shot any more, and who was shot already is dead: it is told so a moment later,
        and does nothing more until then."""
        if (engine := self._w.master.engine) is not None:
            engine.fatal = -1
        for node in self._w.nodes.values():
            node.runtime.fatal = -1
        await asyncio.sleep(0)
        await asyncio.gather(*self._dying)

    def _for(self, seconds: float, what: str, over: Callable[[], Awaitable[None]]) -> None:
        """It lasts that long, then `over` puts it right."""
        self._over[what] = over
        self._later(seconds, what)

    def _later(self, seconds: float, what: str) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            if over := self._over.pop(what, None):
                await over()
                self._w.note(f"over: {what}")

        _spawn(wait(), self._timers)

    @property
    def _node(self) -> Node:
        return self._w.rng.choice(list(self._w.nodes.values()))

    def _span(self) -> float:
        return self._w.rng.choice((0.01, 0.5, 3.0, 12.0)) * (0.5 + self._w.rng.random())

    # ---- containers ----

    async def _end_container(self) -> str:
        node, rng = self._node, self._w.rng
        running = [c for c in node.runtime.ours() if c.state == "running"]
        if not running:
            return ""
        found, code = rng.choice(running), rng.choice((0, 1, 137, 143))
        node.runtime.end(found.name, code, oom=code == 137 and rng.random() < 0.5)
        return f"{found.name} ends on {node.name} with {code}"

    async def _remove_container(self) -> str:
        node = self._node
        if not (ours := node.runtime.ours()):
            return ""
        found = self._w.rng.choice(ours)
        node.runtime.remove_by_hand(found.name)
        return f"{found.name} is removed by hand on {node.name}"

    async def _runtime_away(self) -> str:
        node = self._node

        async def over() -> None:
            node.runtime.come_back()

        node.runtime.go_away()
        self._for(self._span(), f"the runtime of {node.name} is away", over)
        return f"the runtime of {node.name} is away"

    async def _verb_fails(self) -> str:
        node, rng = self._node, self._w.rng
        verb, times = rng.choice(_VERBS), rng.choice((1, 1, 3))
        away = verb == "list" or rng.random() < 0.5
        error = Unavailable("away") if away else Refused(Refusal.REFUSED, "not now")
        node.runtime.fail(verb, error, times)
        return f"{verb} fails {times} times on {node.name}: {error}"

    # ---- agents and nodes ----

    async def _kill_agent(self) -> str:
        return await self._down(self._node, "killed")

    async def _down(self, node: Node, how: str) -> str:
        what = f"the agent of {node.name} is down"
        if not node.runs:
            return ""
        await node.kill()

        async def over() -> None:
            node.start()

        self._for(self._span(), what, over)
        return f"{what}: {how}"

    async def _shoot_agent(self) -> str:
        node, verbs = self._node, self._w.rng.randrange(1, 12)
        node.runtime.fatal = verbs
        return f"the agent of {node.name} will be killed at its {verbs}th action"

    def shot(self, node: Node) -> None:
        async def die() -> None:
            self._w.note(f"fault: {await self._down(node, 'shot in an action')}")

        _spawn(die(), self._dying)

    async def _reboot(self) -> str:
        node, what = self._node, ""
        if not node.runs:
            return ""
        what = f"{node.name} is rebooting"
        node.link.part(True, True)
        await node.kill()
        node.runtime.power_cut()

        async def over() -> None:
            node.link.part(False, False)
            node.start()

        self._for(self._span(), what, over)
        return what

    async def _disk_full(self) -> str:
        node = self._node
        node.disk_full = True

        async def over() -> None:
            node.disk_full = False

        self._for(self._span(), f"the disk of {node.name} is full", over)
        return f"the disk of {node.name} is full"

    async def _step_clock(self) -> str:
        node = self._node
        node.skew += self._w.rng.choice((-7200.0, -1.0, 1.0, 86400.0))
        return f"the clock of {node.name} is off by {node.skew:g} s"

    # ---- links ----

    async def _break(self) -> str:
        node = self._node
        node.link.break_streams()
        return f"the connection of {node.name} breaks"

    async def _cut(self) -> str:
        node = self._node
        up, down = self._w.rng.choice(((True, True), (True, False), (False, True)))
        node.link.part(up, down)

        async def over() -> None:
            node.link.part(False, False)

        self._for(self._span(), f"the link of {node.name} is cut", over)
        return f"the link of {node.name} is cut: to the master {up}, from the master {down}"

    # ---- the master ----

    async def _kill_master(self) -> str:
        return await self._master_down("killed")

    async def _master_down(self, how: str) -> str:
        master = self._w.master
        if not master.runs:
            return ""
        await master.kill()
        self._for(self._span(), "the master is down", master.start)
        return f"the master is down: {how}"

    async def _shoot_master(self) -> str:
        master = self._w.master
        if not master.runs or master.engine is None:
            return ""

        async def die() -> None:
            self._w.note(f"fault: {await self._master_down('shot in a commit')}")

        commits = self._w.rng.randrange(1, 6)
        master.engine.fatal = commits
        master.engine.kill = lambda: _spawn(die(), self._dying)
        return f"the master will be killed at its {commits}th commit"

    async def _store_away(self) -> str:
        engine = self._w.master.engine
        if engine is None or not self._w.master.runs:
            return ""

        async def over() -> None:
            if engine.away == "the disk is away":
                engine.away = ""

        engine.away = "the disk is away"
        self._for(self._span(), "the store is away", over)
        return "the store is away"


def _spawn(work: Coroutine[Any, Any, None], tasks: dict[asyncio.Task[None], None]) -> None:
    task = asyncio.create_task(work)
    tasks[task] = None
    task.add_done_callback(lambda done: tasks.pop(done, None))
