"""A stream of writes while the master is killed: what was acknowledged is there, none by half."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Literal, Protocol

from piccolo.rpc import wire
from piccolo.rpc.errors import first_of
from tests.lab.cluster import Lab, LoopbackLab
from tests.lab.errors import LabError
from tests.reliability.findings import Findings
from tests.reliability.killing import ANSWER, PAUSE, UNANSWERED, Master
from tests.reliability.writers import Herd, Labels, Secrets, State, Topology, Writer

NODE = "node1"
FEW, MANY = 5, 140  # workloads in one call: in one transaction of the store, and in several
AT_WORK = 0.8  # s at most, from when all clients work again to the next kill


class Watching:
    """A client that follows the labels of the node, from master to master.

    `working` is set while it hears of changes.
    """

    def __init__(self, writers: list[Labels], master: Master, found: Findings) -> None:
        self._writers = writers
        self._master = master
        self._found = found
        self._seen: dict[str, State] = {w.name: {} for w in writers}
        self._revision = 0
        self.working = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                async with self._master.asked() as stub:
                    promised = {w.name: w.promised for w in self._writers}
                    async for response in stub.watch(wire.WatchRequest(kind=wire.WatchKind.NODE)):
                        self._take(response, promised)
            except UNANSWERED:
                pass
            self.working.clear()
            await asyncio.sleep(PAUSE)

    async def up_to_date(self) -> None:
        """Until it has heard of all that was acknowledged."""
        try:
            async with asyncio.timeout(ANSWER):
                while any(self._seen[w.name] != w.promised for w in self._writers):  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            self._found.lost.append("a watch did not hear of the last changes")

    def _take(self, response: wire.WatchResponse, promised: dict[str, State]) -> None:
        """`promised`: what was acknowledged before the watch began."""
        assert response.view is not None
        if response.view.revision < self._revision:
            self._found.lost.append("the revision of a watch went back")
        self._revision = max(self._revision, response.view.revision)
        if response.type is wire.ChangeType.SYNCED:
            self._found.count("times a watch was resumed")
            self.working.set()
            for name, state in promised.items():
                if _version(self._seen[name]) < _version(state):
                    self._found.lost.append(f"a watch that was resumed lacks changes of {name}")
        elif response.node is not None:
            for writer in self._writers:
                self._hear(writer.name, writer.of(response.node))

    def _hear(self, name: str, state: State) -> None:
        if len(set(state.values())) > 1:
            self._found.lost.append(f"a watch saw half of a change: {state}")
        if _version(state) < _version(self._seen[name]):
            self._found.lost.append(f"a watch saw {name} go back to {state}")
        self._seen[name] = state


def _version(state: State) -> int:
    return max(map(int, state.values()), default=0)


def killed_under_writes(
    kills: int, chance: random.Random, store: Literal["sqlite", "etcd"], herd: int = MANY
) -> Findings:
    """Kill -9 of the master on that store, at random moments; `herd`: of the larger calls."""
    found = Findings(f"kill -9 of a master on {store} under a stream of writes")
    with LoopbackLab([NODE], store=store) as lab:
        lab.start_master()
        lab.start_agents()
        lab.agents[NODE].terminate()  # it would keep deleted workloads: it has no Podman to ask
        try:
            asyncio.run(_killed(lab, kills, chance, found, herd))
        except ExceptionGroup as group:
            raise first_of(group) from None
        found.look_for_tracebacks(lab)
    return found


async def _killed(lab: Lab, kills: int, chance: random.Random, found: Findings, herd: int) -> None:
    master = Master(lab, chance, found)
    labels = [Labels(f"labels{n}", master, found, NODE) for n in range(2)]
    writers: list[Writer] = [
        *labels,
        Topology("topology", master, found),
        Secrets("secret", master, found),
        Herd("few", master, found, FEW),
        Herd("many", master, found, herd),
    ]
    watching = Watching(labels, master, found)
    clients: dict[str, _Client] = {writer.name: writer for writer in writers} | {
        "the watch": watching
    }
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(watching.run(), name="watch")
        running = [tasks.create_task(writer.run(), name=writer.name) for writer in writers]
        while master.kills < kills:
            await _all_work(clients)
            await asyncio.sleep(chance.random() * AT_WORK)
            for client in clients.values():
                client.working.clear()
            await master.kill()
        await _all_work(clients)
        for writer in writers:
            writer.stop.set()
        await asyncio.wait(running)
        await watching.up_to_date()
        watch.cancel()


class _Client(Protocol):
    working: asyncio.Event


async def _all_work(clients: Mapping[str, _Client]) -> None:
    try:
        async with asyncio.timeout(2 * ANSWER):
            for client in clients.values():
                await client.working.wait()
    except TimeoutError:
        idle = ", ".join(name for name, client in clients.items() if not client.working.is_set())
        raise LabError(f"the master was started again, and does not answer {idle}") from None
