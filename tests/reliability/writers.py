"""Clients that write without end, each to keys of its own, and know what must be there.

A writer asks for one change after the other. Each changes several things at once, which may be
there wholly or not at all. One that was acknowledged must be there from then on; of one that nobody
answered a writer finds out when it next gets to a master, and holds the master to it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from piccolo.rpc import wire
from tests.e2e.asking import Stub
from tests.e2e.workloads import text_of, workload
from tests.reliability.findings import Findings
from tests.reliability.killing import ANSWER, PAUSE, UNANSWERED, Master, refused

LOOK = 5  # writes, after which a writer reads what is there though nothing happened

State = Mapping[str, str]  # what there is of a writer, by the names of its things


@dataclass(frozen=True, slots=True)
class Write:
    """`ask` returns the revision that the master answers with; 0: it says none."""

    ask: Callable[[Stub], Awaitable[int]]
    outcome: State


class Writer(ABC):
    """`run` until `stop`. `working` is set while it gets answers."""

    def __init__(self, name: str, master: Master, found: Findings) -> None:
        self.name = name
        self.working = asyncio.Event()
        self.stop = asyncio.Event()
        self.promised: State = {}  # acknowledged, or seen
        self._master = master
        self._found = found
        self._possible: State | None = None  # what the write leads to that nobody answered
        self._revision = 0
        self._number = 0

    @abstractmethod
    def next(self, number: int) -> Write:
        """The next of its writes, given that what is `promised` is there."""

    @abstractmethod
    async def read(self, stub: Stub) -> tuple[State, int]:
        """What there is, and at which revision of the store."""

    async def run(self) -> None:
        done = False
        while not done:
            try:
                async with self._master.asked() as stub:
                    await self._look(stub)
                    self.working.set()
                    while not self.stop.is_set():
                        await self._write(stub)
                    await self._look(stub)
                    done = True
            except UNANSWERED as error:
                self.working.clear()
                if isinstance(error, TimeoutError):
                    self._found.lost.append(f"{self.name}: no answer in {ANSWER:g} s")
                await asyncio.sleep(PAUSE)

    async def _write(self, stub: Stub) -> None:
        self._number += 1
        write = self.next(self._number)
        self._possible = write.outcome
        try:
            async with asyncio.timeout(ANSWER):
                revision = await write.ask(stub)
        except UNANSWERED as error:
            if not refused(error):
                raise
            self._possible = None
            self._found.lost.append(f"{self.name}: refused without need: {error}")
        else:
            self._found.count("writes acknowledged")
            self.promised, self._possible = write.outcome, None
            self._forwards(revision)
        if self._number % LOOK == 0:
            await self._look(stub)

    async def _look(self, stub: Stub) -> None:
        """Whether all that there is follows from what was asked and acknowledged."""
        async with asyncio.timeout(ANSWER):
            there, revision = await self.read(stub)
        self._found.count("times read")
        self._forwards(revision)
        if self._possible is not None:
            came = there == self._possible
            self._found.count(f"unanswered, {'and wholly there' if came else 'and not there'}")
        if there not in (self.promised, self._possible):
            self._found.lost.append(
                f"{self.name}: there is {_short(there)}, acknowledged was {_short(self.promised)}"
                f" and asked for {_short(self._possible or {})}"
            )
        self.promised, self._possible = there, None

    def _forwards(self, revision: int) -> None:
        if revision and revision < self._revision:
            self._found.lost.append(
                f"{self.name}: the revision went back from {self._revision} to {revision}"
            )
        self._revision = max(self._revision, revision)


class Labels(Writer):
    """Two labels of a node, which has labels of others too."""

    def __init__(self, name: str, master: Master, found: Findings, node: str) -> None:
        super().__init__(name, master, found)
        self._node = node

    def next(self, number: int) -> Write:
        labels = self.labels(number)
        request = wire.LabelNodeRequest(node=self._node, set=labels, overwrite=True)

        async def ask(stub: Stub) -> int:
            node = (await stub.label_node(request)).node
            return node.revision if node else 0

        return Write(ask, labels)

    async def read(self, stub: Stub) -> tuple[State, int]:
        reply = await stub.get_node(wire.GetNodeRequest(node_id=self._node))
        assert reply.node is not None
        assert reply.view is not None
        return self.of(reply.node), reply.view.revision

    def labels(self, number: int) -> dict[str, str]:
        return {f"{self.name}-{part}": str(number) for part in ("left", "right")}

    def of(self, node: wire.Node) -> State:
        return {key: node.labels[key] for key in self.labels(0) if key in node.labels}


class Topology(Writer):
    """Two values of the cluster's configuration, which are this writer's alone."""

    def next(self, number: int) -> Write:
        config = {"left": str(number), "right": str(number)}
        topology = wire.ClusterTopology(type=wire.TopologyType.BASIC_EMBEDDED, config=config)
        request = wire.UpdateTopologyRequest(topology=topology)

        async def ask(stub: Stub) -> int:
            reply = await stub.update_topology(request)
            return reply.updated_topology.revision if reply.updated_topology else 0

        return Write(ask, config)

    async def read(self, stub: Stub) -> tuple[State, int]:
        reply = await stub.get_topology(wire.GetTopologyRequest())
        assert reply.topology is not None
        assert reply.view is not None
        return dict(reply.topology.config), reply.view.revision


class Secrets(Writer):
    """A secret that is made, replaced and deleted; its keys can be read, its values not."""

    def next(self, number: int) -> Write:
        if number % 4 == 0 and self.promised:
            gone = wire.DeleteSecretRequest(name=self.name)

            async def delete(stub: Stub) -> int:
                await stub.delete_secret(gone)
                return 0

            return Write(delete, {})
        keys = {f"left-{number}": b"left", f"right-{number}": b"right"}
        put = wire.PutSecretRequest(name=self.name, data=keys, replace=True)

        async def ask(stub: Stub) -> int:
            secret = (await stub.put_secret(put)).secret
            return secret.revision if secret else 0

        return Write(ask, dict.fromkeys(keys, self.name))

    async def read(self, stub: Stub) -> tuple[State, int]:
        reply = await stub.get_secrets(wire.GetSecretsRequest())
        return {key: s.name for s in reply.secrets if s.name == self.name for key in s.keys}, 0


class Herd(Writer):
    """Several workloads that are made, changed and deleted in one call, again and again."""

    def __init__(self, name: str, master: Master, found: Findings, size: int) -> None:
        super().__init__(name, master, found)
        self._size = size

    def next(self, number: int) -> Write:
        names, generation = list(self.promised), _one(self.promised)
        if generation == "2":
            gone = wire.DeleteWorkloadsRequest(names=names)

            async def delete(stub: Stub) -> int:
                return (await stub.delete_workloads(gone)).revision

            return Write(delete, {})
        names = names or [f"{self.name}-{number}-{n}" for n in range(self._size)]
        after = "2" if generation else "1"
        labels = {"owner": self.name, "generation": after}
        documents = [
            {**workload(name, env={"G": after}), "metadata": {"name": name, "labels": labels}}
            for name in names
        ]
        source = wire.Source(name=f"{self.name}.yaml", text=text_of(documents).encode())

        async def ask(stub: Stub) -> int:
            reply = await stub.apply(wire.ApplyRequest(sources=[source]))
            if reply.problems:
                raise AssertionError(f"{self.name} wrote wrong documents: {reply.problems}")
            return reply.revision

        return Write(ask, dict.fromkeys(names, after))

    async def read(self, stub: Stub) -> tuple[State, int]:
        reply = await stub.get_workloads(wire.GetWorkloadsRequest(filter=f"owner={self.name}"))
        assert reply.view is not None
        there = {w.name: _generation(w) for w in reply.workloads if not w.deleting}
        return there, reply.view.revision


def _generation(of: wire.Workload) -> str:
    """As it counts and as its document says: the same, unless half of a change is there."""
    said = of.labels.get("generation", "")
    return said if said == str(of.generation) else f"{of.generation}, not {said}"


def _one(state: State) -> str:
    return next(iter(state.values()), "")


def _short(state: State) -> str:
    few = ", ".join(f"{key}={value}" for key, value in list(state.items())[:4])
    return f"{few} … ({len(state)} in all)" if len(state) > 4 else few or "nothing"
