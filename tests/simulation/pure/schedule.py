"""One schedule: a cluster that people use while it is broken, then the proof that it comes to rest.

First everything at random: what people ask, and what fails. Then nothing fails any more, and within
`BOUND` all is as asked; planned again, nothing is to do, and for `QUIET` nobody says or does
anything.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from piccolo.core.model import Container
from piccolo.core.model import Node as Member
from piccolo.core.nodes.liveness import PROFILES
from piccolo.core.workloads.instances import LABEL_INSTANCE
from piccolo.master import keys
from tests.simulation.outcome import BOUND, LATEST, Outcome
from tests.simulation.pure.agent import Agent, Node
from tests.simulation.pure.clock import Clock, LocalClock
from tests.simulation.pure.faults import Faults
from tests.simulation.pure.master import Master
from tests.simulation.pure.network import Link, Stream
from tests.simulation.pure.people import People
from tests.simulation.pure.record import Store
from tests.simulation.pure.rules import Rules
from tests.simulation.pure.runtime import NodeRuntime
from tests.simulation.pure.session import AgentSession, Answer
from tests.simulation.pure.view import view_of
from tests.simulation.settled import unsettled
from tests.simulation.wishes import ZONES

QUIET = 30.0  # s in which nothing may happen once it is at rest
_SIZES = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 8)  # nodes
_LARGE = (12, 20, 35, 50)
_STEPS = 40  # of people and faults, at most
_PROFILES = ("cellular", "cellular", "wired", "wireless")


def run(seed: int, nodes: int = 0, tell: Callable[[str], None] | None = None) -> Outcome:
    """`nodes` 0: as many as the seed says, 1 to 50. `tell`: of all that happens."""
    return Schedule(seed, nodes, tell).run()


class Schedule:
    alive = True

    def __init__(self, seed: int, nodes: int, tell: Callable[[str], None] | None) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.story: deque[str] = deque(maxlen=LATEST)
        self.store = Store()
        self.master: Master | None = None
        self.nodes: dict[str, Node] = {}
        self.rules = Rules(self.note, lambda: self.clock.now, self.nodes, lambda: self.master)
        self.faults = Faults(self)
        self._seed = seed
        self._tell = tell
        self._steps = 0
        self._cut: dict[str, float] = {}  # since when nodes are cut off
        rng = self.rng
        profile = rng.choice(_PROFILES)
        count = nodes or rng.choice(_LARGE if rng.random() < 0.01 else _SIZES)
        for i in range(count):
            node = self._node(f"n{i}", profile)
            self.nodes[node.id] = node
        names = max(3, min(8, count + rng.randrange(3)))
        self.people = People(rng, names, [n.name for n in self.nodes.values()], self.note)

    def _node(self, name: str, profile: str) -> Node:
        rng = self.rng
        rate = 1.0 + rng.choice((0.0, 0.0, 0.001, -0.001))
        skew = rng.choice((0.0, 0.0, -3600.0, 86400.0))
        local = LocalClock(self.clock, rng.random() * 1000.0, rate, skew)
        node = Node(name, PROFILES[profile], self.clock, local, rng, self.rules)
        node.link = Link(self.clock, rng, rng.choice((0.001, 0.02, 0.3)), 0.02)
        node.runtime = NodeRuntime(
            node.id, name, rng, self.rules, node.changed, partial(self._later, node)
        )
        node.shot = self._shot
        return node

    def _later(self, node: Node, seconds: float, what: Callable[..., object], *args: Any) -> None:
        self.clock.after(seconds, node, what, *args)

    def note(self, text: str) -> None:
        line = f"{self.clock.now:8.3f}  {text}"
        self.story.append(line)
        if self._tell is not None:
            self._tell(line)

    # ---- who runs ----

    def start_master(self) -> None:
        profiles = {n.id: n.profile for n in self.nodes.values()}
        self.master = Master(
            self.clock, self.rng, self.store, profiles, self.rules, self._master_died
        )
        self.master.start()

    def kill_master(self) -> None:
        if self.master is not None:
            self.master.kill()
        self.master = None

    def _master_died(self) -> None:
        self.note(f"fault: {self.faults.master_down('shot in a commit')}")

    def start_agent(self, node: Node) -> None:
        if node.agent is None:
            agent = node.agent = Agent(node)
            agent.session = AgentSession(agent, self)
            agent.start()

    def _shot(self, node: Node) -> None:
        self.note(f"fault: {self.faults.agent_down(node, 'shot in an action')}")

    # ---- the master's address ----

    def connect(
        self, node_id: str, receive: Callable[[Any], None], ended: Callable[[], None]
    ) -> Stream | None:
        master = self.master
        if master is None:
            return None
        session = master.accept(node_id)
        session.stream = self.nodes[node_id].link.connect(
            partial(master.receive, session), partial(master.closed, session), receive, ended
        )
        return session.stream

    def pulse(
        self, node_id: str, generation: int, number: int, heard_ago: float, answer: Answer
    ) -> None:
        if self.master is not None and self.master.pulse(node_id, generation, number, heard_ago):
            self.nodes[node_id].link.datagram(False, answer, generation, number)

    # ---- the course of it ----

    def run(self) -> Outcome:
        took = 0.0
        self._begin()
        self._chaos()
        if not self.rules.broken:
            self.faults.end()
            self.note("---- all faults are over")
            took = self._settle()
        if not self.rules.broken:
            self.note(f"---- it is as asked, after {took:g} s")
            self._check_promises()
            self._stay_quiet()
        broken, story = tuple(self.rules.broken), tuple(self.story)
        return Outcome(self._seed, took, self._steps, broken, story)

    def _begin(self) -> None:
        for node in self.nodes.values():
            labels = {"zone": self.rng.choice(ZONES)}
            member = Member(node.id, node.name, labels=labels, admitted=True)
            self.store.commit({keys.node(node.id): member}, {})
        self.start_master()
        for node in self.nodes.values():
            self.start_agent(node)
        profile = next(iter(self.nodes.values())).profile.name
        self.note(f"{len(self.nodes)} nodes, {profile}")

    def _chaos(self) -> None:
        rng, clock = self.rng, self.clock
        end = clock.now + rng.choice((2.0, 5.0, 10.0, 20.0, 40.0))
        pace = rng.choice((0.1, 0.5, 1.0, 3.0))
        faults = rng.choice((0.0, 0.3, 0.6))
        while clock.now < end and not self.rules.broken and self._steps < _STEPS:
            clock.run_until(clock.now + rng.expovariate(1 / pace), self.rules.broken)
            self._steps += 1
            self._watch_cuts()
            if rng.random() < faults:
                self.faults.one()
            elif self.master is not None:
                self.people.ask(self.master)

    def _watch_cuts(self) -> None:
        for node in self.nodes.values():
            if not node.link.cut[True]:
                self._cut.pop(node.id, None)
            else:
                self.rules.check_cut(node, self._cut.setdefault(node.id, self.clock.now))

    def _settle(self) -> float:
        began, why = self.clock.now, "it was not looked at"
        while self.clock.now - began < BOUND:
            self.clock.run_until(self.clock.now + 1.0, self.rules.broken)
            if self.rules.broken:
                return 0.0
            why = self._unsettled()
            if not why:
                return self.clock.now - began
        self.rules.failed(f"it does not come to rest within {BOUND:g} s: {why}")
        return BOUND

    def _unsettled(self) -> str:
        assert self.master is not None
        if any(node.runtime.at_work for node in self.nodes.values()):
            return "some jobs are not done"
        return unsettled(view_of(self.master, self.nodes.values()))

    def _check_promises(self) -> None:
        for name, workload in self.people.promised.items():
            declared = self.store.workloads.get(name)
            if (declared.workload if declared else None) != workload:
                self.rules.failed(f"{name} is not what was promised: {workload}")

    def _stay_quiet(self) -> None:
        """A state that has converged: planned again, nothing is to do, and nothing is told."""
        rules, assigned = self.rules, dict(self.store.assignments)
        before = rules.messages, rules.planned_steps, self._containers()
        self.clock.run_until(self.clock.now + QUIET, rules.broken)
        if rules.broken:
            return
        if rules.messages != before[0]:
            rules.failed("what is to run was told again, though nothing changed")
        if rules.planned_steps != before[1] or self.store.assignments != assigned:
            rules.failed("copies were placed anew, though nothing changed")
        if self._containers() != before[2]:
            rules.failed("containers were made anew, though nothing changed")
        if why := self._unsettled():
            rules.failed(f"it did not stay as asked: {why}")

    def _containers(self) -> list[tuple[str, str]]:
        """Those that are to be there, with what they are doing."""
        found: list[Container] = [c for n in self.nodes.values() for c in n.runtime.ours()]
        return [(c.id, c.labels[LABEL_INSTANCE]) for c in found]
