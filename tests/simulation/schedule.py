"""One schedule: a cluster that people use while it is broken, then the proof that it comes to rest.

First everything at random: what people ask, and what fails. Then nothing fails any more, and within
`BOUND` all is as asked; from then on nobody has anything to say or to do.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from piccolo.core.errors import PiccoloError
from piccolo.core.workloads.instances import LABEL_INSTANCE, LABEL_NODE
from piccolo.master import keys
from tests.master.world import request
from tests.runtime.fake import Script
from tests.simulation.clocks import now, simulate
from tests.simulation.faults import Faults
from tests.simulation.link import End, Link
from tests.simulation.master import Master
from tests.simulation.node import Node
from tests.simulation.outcome import BOUND, LATEST, Outcome
from tests.simulation.people import People
from tests.simulation.rules import Broken, Rules
from tests.simulation.settled import unsettled
from tests.simulation.view import view_of
from tests.simulation.wishes import FLAKY, JOB, ZONES

QUIET = 20.0  # s in which nothing may happen after that


def run(seed: int, nodes: int = 0, tell: Callable[[str], None] | None = None) -> Outcome:
    """`nodes` 0: as many as the seed says, 1 to 5. `tell`: of all that happens."""
    memory = Path("/dev/shm")
    base = tempfile.mkdtemp(prefix="piccolo-sim-", dir=memory if memory.is_dir() else None)
    try:
        return simulate(lambda: _run(seed, nodes, Path(base), tell), seed)
    finally:
        shutil.rmtree(base, ignore_errors=True)


async def _run(seed: int, nodes: int, base: Path, tell: Callable[[str], None] | None) -> Outcome:
    return await Schedule(seed, nodes, base, tell).run()


class Schedule:
    def __init__(
        self, seed: int, nodes: int, base: Path, tell: Callable[[str], None] | None
    ) -> None:
        self.rng = random.Random(seed)
        self.story: deque[str] = deque(maxlen=LATEST)
        self.rules = Rules(self.note, now)
        self.master = Master(self.rng, self.rules.failed)
        self.master.hung_up = self._hung_up
        self.faults = Faults(self)
        self.messages = 0  # of the master, about what is to run
        self._seed = seed
        self._tell = tell
        self._steps = 0
        self._profile = self.rng.choice(("cellular", "cellular", "cellular", "wired"))
        self.nodes: dict[str, Node] = {}
        for i in range(nodes or self.rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5))):
            node = self._node(f"n{i}", base)
            self.nodes[node.id] = node
        names = max(3, min(8, len(self.nodes) + self.rng.randrange(3)))
        self.people = People(self.rng, names, [n.name for n in self.nodes.values()])

    def _node(self, name: str, base: Path) -> Node:
        (base / name).mkdir(mode=0o700)
        (base / name / "workloads").mkdir(mode=0o700)
        shot = self.faults.shot
        node = Node(name, self._profile, base / name, self.rng, self.rules, shot)
        node.link = Link(node.id, self.master, self.rng, self.rng.choice((0.0, 0.02, 0.3)))
        node.link.sent = self._sent
        node.skew = self.rng.choice((0.0, 0.0, -3600.0, 86400.0))
        runtime = node.runtime
        runtime.scripts[JOB] = Script(exit_code=0, after=1.0)
        runtime.scripts[FLAKY] = Script(exit_code=3, after=2.0)
        runtime.run("foreign")
        runtime.run("neighbour", labels={LABEL_NODE: "id-other", LABEL_INSTANCE: "w0.0"})
        runtime.run("unlabelled", labels={LABEL_INSTANCE: "w1.0"})
        return node

    def note(self, text: str) -> None:
        line = f"{now():8.3f}  {text}"
        self.story.append(line)
        if self._tell is not None:
            self._tell(line)

    def _hung_up(self, node_id: str, end: End, error: PiccoloError | None) -> None:
        self.nodes[node_id].link.hung_up(end, error)

    def _sent(self, message: Any) -> None:
        desired = getattr(message, "desired", None)
        if desired is not None and (desired.set or desired.removed or desired.reset):
            self.messages += 1

    # ---- the course of it ----

    async def run(self) -> Outcome:
        took = 0.0
        try:
            await self._begin()
            foreign = {n.id: _foreign(n) for n in self.nodes.values()}
            await self._chaos()
            await self.faults.end()
            self.note("---- all faults are over")
            took = await self._settle()
            self.note(f"---- it is as asked, after {took:g} s")
            self._check_promises()
            await self._stay_quiet()
            for node in self.nodes.values():
                if _foreign(node) != foreign[node.id]:
                    self.rules.failed(f"{node.name}: foreign containers were touched")
        except Broken:
            pass
        finally:
            await self.master.kill()
            for node in self.nodes.values():
                await node.kill()
                await node.runtime.close()
        broken, story = tuple(self.rules.broken), tuple(self.story)
        return Outcome(self._seed, took, self._steps, broken, story)

    async def _begin(self) -> None:
        await self.master.start()
        for node in self.nodes.values():
            labels = {"zone": self.rng.choice(ZONES)}
            asked = request(node.name, labels=labels, link=node.profile)
            await self.master.cluster.nodes.register(asked)
            found = self.master.cluster.state.node(node.id)
            assert found is not None
            self.master.cluster.monitoring.expect(found)
            node.start()
        self.note(f"{len(self.nodes)} nodes, {self._profile}")

    async def _chaos(self) -> None:
        end = now() + self.rng.choice((2.0, 5.0, 10.0, 20.0, 60.0))
        pace = self.rng.choice((0.1, 1.0, 3.0))
        faults = self.rng.choice((0.0, 0.3, 0.6))
        while now() < end and not self.rules.broken:
            await asyncio.sleep(self.rng.expovariate(1 / pace))
            self._steps += 1
            if self.rng.random() < faults:
                await self.faults.one()
            elif self.master.runs:
                work = self.master.spawn(self._ask())
                await asyncio.wait({work}, timeout=self.rng.choice((0.0, 5.0)))

    async def _ask(self) -> None:
        self.note(f"people: {await self.people.ask(self.master)}")

    async def _settle(self) -> float:
        began, why = now(), "it was not looked at"
        while now() - began < BOUND:
            await asyncio.sleep(1.0)
            self._stop_if_broken()
            why = unsettled(view_of(self.master.cluster, self.nodes.values()))
            if not why:
                return now() - began
        self.rules.failed(f"it does not come to rest within {BOUND:g} s: {why}")
        raise Broken

    def _stop_if_broken(self) -> None:
        if self.rules.broken:
            raise Broken

    def _check_promises(self) -> None:
        for name, workload in self.people.promised.items():
            declared = self.master.cluster.state.workload(name)
            if (declared.workload if declared else None) != workload:
                self.rules.failed(f"{name} is not what was promised: {workload}")

    async def _stay_quiet(self) -> None:
        """A state that has converged: planned again, nothing is to do, and nothing is told."""
        assert self.master.engine is not None
        messages, written = self.messages, self.master.engine.written(keys.ASSIGNMENT)
        await asyncio.sleep(QUIET)
        self._stop_if_broken()
        if self.messages != messages:
            self.rules.failed("what is to run was told again, though nothing changed")
        if self.master.engine.written(keys.ASSIGNMENT) != written:
            self.rules.failed("copies were placed anew, though nothing changed")
        if why := unsettled(view_of(self.master.cluster, self.nodes.values())):
            self.rules.failed(f"it did not stay as asked: {why}")


def _foreign(node: Node) -> list[object]:
    """Without their state: a node that loses its power stops them as well."""
    there = (c for c in node.runtime.there if c.labels.get(LABEL_NODE) != node.id)
    return [(c.id, c.name, c.labels) for c in there]
