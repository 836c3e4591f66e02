"""Clients that read and compare-and-set the cluster's topology, and write down what came of it.

A topology may be updated on the condition that its revision is still the one that was read: a
register. Every value is written by one client only once, so a value tells which write is seen.
"""

from __future__ import annotations

import asyncio
import random
import time

from grpclib import GRPCError, Status

from piccolo.rpc import wire
from tests.e2e.asking import Stub
from tests.reliability.killing import ANSWER, PAUSE, UNANSWERED, Master
from tests.reliability.linearizable import NEVER, Operation, Outcome

KEY = "value"
FIRST = "first"


async def begin(master: Master) -> None:
    """A register that nobody wrote has no revision to compare with."""
    async with master.asked() as stub:
        await stub.update_topology(_update(FIRST, 0))


class Client:
    """`run` until `stop`. `history` is what it saw."""

    def __init__(self, name: str, master: Master, chance: random.Random) -> None:
        self.history: list[Operation] = []
        self.stop = asyncio.Event()
        self._name = name
        self._master = master
        self._chance = chance
        self._written = 0

    async def run(self) -> None:
        left = None  # what was read before the connection was lost
        while not self.stop.is_set():
            try:
                async with self._master.asked() as stub:
                    if left is not None:  # a new master numbers anew: this must not match by chance
                        await self._swap(stub, *left, same_master=False)
                    while not self.stop.is_set():
                        left = await self._read(stub)
                        if self._chance.random() < 0.5:
                            await self._swap(stub, *left)
            except UNANSWERED:
                await asyncio.sleep(PAUSE)

    async def _read(self, stub: Stub) -> tuple[str, int]:
        called = time.monotonic()
        async with asyncio.timeout(ANSWER):
            topology = (await stub.get_topology(wire.GetTopologyRequest())).topology
        assert topology is not None
        value = topology.config[KEY]
        self._note(Outcome.READ, called, value)
        return value, topology.revision

    async def _swap(
        self, stub: Stub, expected: str, revision: int, *, same_master: bool = True
    ) -> None:
        self._written += 1
        value = f"{self._name}-{self._written}"
        called = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER):
                await stub.update_topology(_update(value, revision))
        except UNANSWERED as error:
            if not (isinstance(error, GRPCError) and error.status is Status.ABORTED):
                self._note(Outcome.UNKNOWN, called, value, expected)
                raise
            if same_master:  # else it may be refused without need, and only takes no effect
                self._note(Outcome.REFUSED, called, value, expected)
        else:
            self._note(Outcome.SWAPPED, called, value, expected)

    def _note(self, outcome: Outcome, called: float, value: str, expected: str = "") -> None:
        returned = NEVER if outcome is Outcome.UNKNOWN else time.monotonic()
        self.history.append(Operation(self._name, outcome, called, returned, value, expected))


def _update(value: str, revision: int) -> wire.UpdateTopologyRequest:
    topology = wire.ClusterTopology(
        type=wire.TopologyType.BASIC_EMBEDDED, config={KEY: value}, revision=revision
    )
    return wire.UpdateTopologyRequest(topology=topology)
