"""Counts of a session: a real agent and a real master, over TLS and UDP on the loopback interface,
in virtual time (`tests.master.virtual_time`), so that an hour always has the same messages.

The agent's runtime is a fake without surprises, the master's store one in memory; what is
committed to it is carried out again by the real database, to see what that writes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from grpclib.client import Stream as ClientStream
from grpclib.server import Stream as ServerStream

from benchmarks.gate.counts import Count
from piccolo.core.model import NodeState, Usage
from piccolo.core.workloads.containers import Container
from piccolo.core.workloads.instances import Phase
from piccolo.core.workloads.workload import Workload
from piccolo.master.cluster import Cluster
from piccolo.rpc import wire
from piccolo.store.base import Operation, Put
from piccolo.store.sqlite.database import Database, Transaction
from tests.agent import world
from tests.agent.world import Agent, until
from tests.master.memory_store import Disk, MemoryStore
from tests.master.virtual_time import virtual_time

HOUR = 3600.0
SETTLE = 0.02  # s of real time for packets on the loopback interface
CALM = 90.0  # s until nothing is told any more that was new
IDLE = {"wired": 600.0, "cellular": HOUR}  # s over which messages are counted
TRACED = 30.0  # s over which instructions are counted; a tenth of that in real time
NODE = "id-n1"
HEADERS = {"datagrams": 28, "stream": 52}  # IPv4 with UDP; IPv4 with TCP and its timestamps
USED = Usage(12.5, 310, 61.0, 40.0, 0.31, 123_456_789, 98_765_432)


@dataclass(slots=True)
class Meter:
    """What went over the sockets of this process, and what messages, both ways together."""

    packets: Counter[str] = field(default_factory=Counter)  # "datagrams", "stream" (at least)
    bytes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    size: dict[str, int] = field(default_factory=dict)  # of the largest message of that name

    @property
    def on_the_wire(self) -> int:
        """With the headers of IP, UDP and TCP, without TCP's bare acknowledgements."""
        return sum(self.bytes[kind] + HEADERS[kind] * n for kind, n in self.packets.items())

    def sent(self, sock: socket.socket, size: int) -> None:
        if sock.family == socket.AF_INET:  # asyncio wakes itself by another
            kind = "stream" if sock.type == socket.SOCK_STREAM else "datagrams"
            self.packets[kind] += 1
            self.bytes[kind] += size

    def said(self, message: Any) -> None:
        if isinstance(message, wire.AgentMessage | wire.MasterMessage):
            name, _ = wire.which_one_of(message, "body")
            self.messages[name] += 1
            self.size[name] = max(self.size.get(name, 0), len(bytes(message)))

    def clear(self) -> None:
        for counted in (self.packets, self.bytes, self.messages, self.size):
            counted.clear()


@contextmanager
def metering() -> Iterator[Meter]:
    """From before the session begins: a sender that waits has its method in hand already."""
    meter = Meter()

    def counted(send: Callable[..., int]) -> Callable[..., int]:
        def wrapper(sock: socket.socket, *args: Any) -> int:
            size = send(sock, *args)
            meter.sent(sock, size)
            return size

        return wrapper

    def heard(send: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(stream: Any, message: Any, **how: Any) -> None:
            meter.said(message)
            await send(stream, message, **how)

        return wrapper

    with ExitStack() as patches:
        for name in ("send", "sendto", "sendmsg"):
            patched = counted(getattr(socket.socket, name))
            patches.enter_context(patch.object(socket.socket, name, patched))
        for kind in (ClientStream, ServerStream):
            wrapper = heard(kind.send_message)
            patches.enter_context(patch.object(kind, "send_message", wrapper))
        yield meter


class _Recorded(Disk):
    """Remembers its store, which has all commits."""

    store: MemoryStore

    async def open(self) -> MemoryStore:
        self.store = await super().open()
        return self.store


def session_counts() -> list[Count]:
    found: list[Count] = []
    with patch.object(world, "Usage", lambda: USED), _quiet():
        _wired(found)
        _cellular(found)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a master and an agent tell their operators."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        logging.disable(before)


@virtual_time(settle=SETTLE)
async def _wired(found: list[Count]) -> None:
    disk = _Recorded()
    first = [Put(key, entry.value) for key, entry in world.settle(disk).entries.items()]
    with metering() as meter:
        async with world.master(disk) as cluster:
            async with world.agent(cluster.pulse_port) as agent:
                await _ready(cluster)
                await asyncio.sleep(CALM)
                found += _sizes(meter, "hello")
                joined = len(disk.store.commits)
                found += await _idle("wired", meter)
                found += _sizes(meter, "heartbeat")
                idle = len(disk.store.commits)
                found.append(await _instructions())
                meter.clear()
                await _run_workload(cluster, agent)
                found += _sizes(meter, "desired", "delta")
                ran = len(disk.store.commits)
            await until(lambda: cluster.state.status(NODE).state is NodeState.NOT_READY)
            await asyncio.sleep(CALM)
            lost = len(disk.store.commits)
    _, at_rest, by_workload, by_loss = _written(first, disk.store.commits, joined, idle, ran, lost)
    hourly = at_rest / IDLE["wired"] * HOUR
    page = 0.15  # more or less
    found += [
        Count("store, master of an idle node: to disk", hourly, "B/h", page),
        Count("store, workload applied → running: to disk", by_workload, "B", page),
        Count("store, workload applied → running: commits", ran - idle, "", 0),
        Count("store, node lost: to disk", by_loss, "B", page),
        Count("store, node lost: commits", lost - ran, "", 0),
    ]


@virtual_time(settle=SETTLE)
async def _cellular(found: list[Count]) -> None:
    with metering() as meter:
        async with (
            world.master(world.settle(Disk())) as cluster,
            world.agent(cluster.pulse_port, link_profile="cellular"),
        ):
            await _ready(cluster)
            await asyncio.sleep(CALM)
            found += await _idle("cellular", meter)


async def _ready(cluster: Cluster) -> None:
    await until(lambda: cluster.state.status(NODE).state is NodeState.READY, 60.0)


async def _idle(profile: str, meter: Meter) -> list[Count]:
    meter.clear()
    await asyncio.sleep(IDLE[profile])
    hours = IDLE[profile] / HOUR
    who = f"idle node, {profile}"
    return [
        Count(f"{who}: datagrams", meter.packets["datagrams"] / hours, "per hour"),
        Count(f"{who}: messages on the stream", meter.messages.total() / hours, "per hour"),
        Count(f"{who}: on the wire, both ways", meter.on_the_wire / hours, "B/h"),
    ]


def _sizes(meter: Meter, *names: str) -> list[Count]:
    return [Count(f"message: {name}", meter.size[name], "B", 0.05) for name in names]


async def _instructions() -> Count:
    """Of the interpreter, in all modules but those that make the virtual time."""
    executed = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal executed
        if event == "call":
            file = frame.f_code.co_filename
            if f"{os.sep}tests{os.sep}" in file or file == __file__:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            executed += 1
        return trace

    sys.settrace(trace)
    try:
        await asyncio.sleep(TRACED)
    finally:
        sys.settrace(None)
    rate = executed / (TRACED / 60)
    what = "agent and master, idle: instructions of the interpreter"
    return Count(what, rate, "per minute", 0.05, of_python=True)


async def _run_workload(cluster: Cluster, agent: Agent) -> None:
    workload = Workload("web", (Container("main", "localhost/hello"),))
    await cluster.workloads.apply([workload], [], "benchmark")
    await until(lambda: _runs(agent), 60.0)
    await asyncio.sleep(CALM)


def _runs(agent: Agent) -> bool:
    return any(status.phase is Phase.RUNNING for status in agent.reporter.report.instances.values())


def _written(
    first: Sequence[Operation], commits: Sequence[Sequence[Operation]], *ends: int
) -> Iterator[int]:
    """What the database writes to its log for the commits up to each of `ends`, from the one
    before; each by itself, as on a machine that has time for it.
    """
    with tempfile.TemporaryDirectory(prefix="piccolo-gate-") as directory:
        path = Path(directory) / "store.db"
        log = Path(f"{path}-wal")
        database = Database(path)
        try:
            database.apply([Transaction(first, ())])
            begun = 0
            for end in ends:
                before = log.stat().st_size
                for operations in commits[begun:end]:
                    database.apply([Transaction(operations, ())])
                begun = end
                yield log.stat().st_size - before
        finally:
            database.close()
