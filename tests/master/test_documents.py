"""Whoever sends the worst documents holds nobody else up."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from piccolo.master.api_server.documents import Documents, findings
from piccolo.rpc import wire

HEAD = "apiVersion: piccolo.io/v1\nkind: Workload\nmetadata: {name: w}\nspec:\n  image: a\n"
MIB = 1 << 20
WORST = {
    "unknown keys": HEAD + "".join(f"  a{n}: b\n" for n in range(70_000)),
    "lists in lists": "a:\n" + "- - - - - - - - -\n" * (MIB // 20),
    "workloads": "---\n".join(HEAD.replace("w}", f"w{n}}}") for n in range(11_000)),
}
LIMIT = 0.2  # s


def documents() -> Documents:
    state = SimpleNamespace(declared=dict, secrets=list)
    cluster: Any = SimpleNamespace(state=state)
    return Documents(cluster)


@pytest.fixture
def heap_of_a_master() -> Iterator[None]:
    """Most pauses are the garbage collector's, and grow with what it has to look at: not with all
    that thousands of tests have imported, which a master has not."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """For how long nothing else came to its turn, each time, within the block."""
    found: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            found.append(time.perf_counter() - began - 0.001)

    watching = asyncio.create_task(watch())
    yield found
    watching.cancel()


def busy(seconds: float) -> None:
    """As a thread is that holds nobody up."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("heap_of_a_master")
@pytest.mark.parametrize("name", WORST)
async def test_heartbeats_are_served_meanwhile(name: str) -> None:
    """Also when two clients ask at once. How busy the machine is otherwise is measured too."""
    sources, reader = [wire.Source(name="f.yaml", text=WORST[name][:MIB].encode())], documents()
    for _ in range(3):
        async with pauses() as usual:
            await asyncio.to_thread(busy, 0.5)
        async with pauses() as found:
            readings = await asyncio.gather(reader.read(sources), reader.read(sources))
        for reading in readings:
            assert 0 < len(findings(reading.problems)) <= 201
        if max(found) < max(LIMIT, 4 * max(usual)):
            return
    pytest.fail(f"{max(found):.3f} s, and {max(usual):.3f} s beside a loop that does nothing")


async def test_a_bomb_is_found_out() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    reading = await documents().read([wire.Source(name="b", text="\n".join(lines).encode())])
    assert [p.message for p in reading.problems] == [
        'aliases ("*…") repeat too much: write the values out'
    ]
