"""What goes wrong, at random and between any two actions: links, agents, nodes, the master."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from piccolo.core.pods.steps import (
    Create,
    CreatePod,
    EnsureImage,
    Look,
    Remove,
    RemovePod,
    Start,
    Stop,
)
from tests.simulation.pure.agent import Node
from tests.simulation.pure.clock import Clock
from tests.simulation.pure.master import Master

_ACTIONS = (Create, Start, Stop, Remove, CreatePod, RemovePod, EnsureImage, Look)


class World(Protocol):
    rng: random.Random
    clock: Clock
    master: Master | None
    nodes: dict[str, Node]

    def note(self, text: str) -> None: ...

    def start_master(self) -> None: ...

    def kill_master(self) -> None: ...

    def start_agent(self, node: Node) -> None: ...


class Faults:
    alive = True

    def __init__(self, world: World) -> None:
        self._w = world
        self._over: dict[str, Callable[[], None]] = {}  # how each ends, by what it is
        self._kinds: dict[Callable[[], str], int] = {
            self._end_container: 6,
            self._remove_container: 3,
            self._kill_agent: 5,
            self._shoot_agent: 6,
            self._kill_master: 4,
            self._shoot_master: 5,
            self._break: 5,
            self._cut: 5,
            self._reboot: 2,
            self._runtime_away: 2,
            self._refuse: 3,
            self._mute: 2,
            self._deaf: 2,
            self._unwell: 1,
            self._disk_full: 2,
            self._disk_damaged: 1,
            self._step_clock: 1,
            self._store_away: 2,
            self._lossy: 2,
        }

    def one(self) -> None:
        kind = self._w.rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        if what := kind():
            self._w.note(f"fault: {what}")

    def end(self) -> None:
        """Everything is put right."""
        self.alive = False
        for over in list(self._over.values()):
            over()
        self._over.clear()
        w = self._w
        if w.master is None:
            w.start_master()
        assert w.master is not None
        w.master.fatal = 0
        for node in w.nodes.values():
            node.fatal, node.mute, node.deaf = 0, 0.0, 0.0
            node.runtime.steady, node.runtime.unwell = True, 0.0
            node.runtime.failures.clear()
            w.start_agent(node)

    def agent_down(self, node: Node, how: str) -> str:
        if node.agent is None:
            return ""
        node.kill()
        node.link.troubled_at = self._w.clock.now
        return self._for(
            f"the agent of {node.name} is down", lambda: self._w.start_agent(node), how
        )

    def master_down(self, how: str) -> str:
        if self._w.master is None:
            return ""
        self._w.kill_master()
        return self._for("the master is down", self._w.start_master, how)

    def _for(self, what: str, over: Callable[[], None], how: str = "") -> str:
        """It lasts for a while, then `over` puts it right."""
        rng, clock = self._w.rng, self._w.clock

        def end() -> None:
            if self._over.pop(what, None):
                over()
                self._w.note(f"over: {what}")

        if what in self._over:
            return ""
        self._over[what] = over
        span = rng.choice((0.01, 0.5, 3.0, 12.0)) * (0.5 + rng.random())
        clock.after(span, self, end)
        return f"{what}: {how}" if how else what

    @property
    def _node(self) -> Node:
        return self._w.rng.choice(list(self._w.nodes.values()))

    # ---- containers ----

    def _end_container(self) -> str:
        node, rng = self._node, self._w.rng
        running = [box for box in node.runtime.boxes.values() if box.state == "running"]
        if not running:
            return ""
        box, code = rng.choice(running), rng.choice((0, 1, 137, 143))
        node.runtime.end(box, code)
        return f"{box.name} ends on {node.name} with {code}"

    def _remove_container(self) -> str:
        node = self._node
        if not node.runtime.boxes:
            return ""
        box = self._w.rng.choice(list(node.runtime.boxes.values()))
        node.runtime.remove(box)
        return f"{box.name} is removed by hand on {node.name}"

    def _runtime_away(self) -> str:
        runtime = self._node.runtime
        runtime.away = True
        return self._for(f"the runtime of {runtime.name} is away", lambda: _back(runtime))

    def _refuse(self) -> str:
        runtime, action = self._node.runtime, self._w.rng.choice(_ACTIONS)
        runtime.failures[action] = self._w.rng.choice((1, 1, 3))
        return f"{action.__name__} is refused on {runtime.name}"

    def _mute(self) -> str:
        node = self._node
        node.mute = 0.3
        return self._for(f"answers get lost on {node.name}", lambda: setattr(node, "mute", 0.0))

    def _deaf(self) -> str:
        node = self._node
        node.deaf = 0.5
        return self._for(f"events get lost on {node.name}", lambda: setattr(node, "deaf", 0.0))

    def _unwell(self) -> str:
        runtime = self._node.runtime
        runtime.unwell = 0.5
        return self._for(f"checks fail on {runtime.name}", lambda: setattr(runtime, "unwell", 0.0))

    # ---- agents and nodes ----

    def _kill_agent(self) -> str:
        return self.agent_down(self._node, "killed")

    def _shoot_agent(self) -> str:
        node = self._node
        node.fatal = self._w.rng.randrange(1, 12)
        return f"the agent of {node.name} will be killed at its {node.fatal}th action"

    def _reboot(self) -> str:
        node = self._node
        if node.agent is None:
            return ""
        node.link.part(True, True)
        node.kill()
        node.runtime.power_cut()

        def over() -> None:
            node.link.part(False, False)
            self._w.start_agent(node)

        return self._for(f"{node.name} is rebooting", over)

    def _disk_full(self) -> str:
        node = self._node
        node.disk.full = True
        return self._for(
            f"the disk of {node.name} is full", lambda: setattr(node.disk, "full", False)
        )

    def _disk_damaged(self) -> str:
        node = self._node
        if not node.disk.everything or node.agent is None:
            return ""
        key = self._w.rng.choice(list(node.disk.everything))
        down = self.agent_down(node, f"killed, and {key} on its disk is damaged")
        node.disk.lose_a_piece(key)
        return down

    def _step_clock(self) -> str:
        node = self._node
        node.local.skew += self._w.rng.choice((-7200.0, -1.0, 1.0, 86400.0))
        return f"the clock of {node.name} is off by {node.local.skew:g} s"

    # ---- links ----

    def _break(self) -> str:
        node = self._node
        node.link.break_streams()
        return f"the connection of {node.name} breaks"

    def _cut(self) -> str:
        node = self._node
        up, down = self._w.rng.choice(((True, True), (True, True), (True, False), (False, True)))
        node.link.part(up, down)
        way = f"to the master {up}, from the master {down}"
        what = f"the link of {node.name} is cut"
        return self._for(what, lambda: node.link.part(False, False), way)

    def _lossy(self) -> str:
        node, before = self._node, 0.02
        link = node.link
        link.loss = self._w.rng.choice((0.3, 0.9))

        def over() -> None:
            link.loss, link.troubled_at = before, self._w.clock.now

        return self._for(f"datagrams of {node.name} get lost", over)

    # ---- the master ----

    def _kill_master(self) -> str:
        return self.master_down("killed")

    def _shoot_master(self) -> str:
        master = self._w.master
        if master is None:
            return ""
        master.fatal = self._w.rng.randrange(1, 8)
        return f"the master will be killed at its {master.fatal}th commit"

    def _store_away(self) -> str:
        master = self._w.master
        if master is None:
            return ""
        master.store_away = True
        return self._for("the store is away", lambda: setattr(master, "store_away", False))


def _back(runtime: object) -> None:
    setattr(runtime, "away", False)  # noqa: B010
