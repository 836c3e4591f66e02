"""Rounds: at once after a quiet time, together in a busy one, and never for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from piccolo.core.model import NodeStatus, Topology
from piccolo.master import keys
from piccolo.master.rounds import REST, Rounds, Slices
from tests.master.virtual_time import freeze, now, virtual_time
from tests.master.world import World, master

URGENT, OTHER, NEITHER = keys.TOPOLOGY, keys.status("n"), keys.live("n")


@asynccontextmanager
async def rounds(world: World, due: float | None = None) -> AsyncIterator[list[float]]:
    """When they were, from when there was nothing to do."""
    times: list[float] = []

    async def once() -> float | None:
        times.append(now())
        return due

    found = Rounds(world.cluster.state, once, urgent=(keys.TOPOLOGY,), others=(keys.STATUS,))
    task = asyncio.create_task(found.run())
    await asyncio.sleep(1)
    del times[:]
    try:
        yield times
    finally:
        task.cancel()
        await asyncio.wait([task])


def news(world: World, key: str, text: str = "x") -> None:
    value = Topology(text, text) if key == URGENT else NodeStatus(message=text)
    world.cluster.state.observe(key, value, durable=False)


@virtual_time
async def test_at_once_and_then_after_a_rest() -> None:
    async with master() as world, rounds(world) as times:
        began = now()
        for number in range(5):
            news(world, OTHER, str(number))
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert times == [began, pytest.approx(began + REST)]


@virtual_time
async def test_what_is_urgent_cuts_the_rest_short() -> None:
    async with master() as world, rounds(world) as times:
        news(world, OTHER)
        await asyncio.sleep(REST / 2)
        news(world, URGENT)
        began = now()
        await asyncio.sleep(REST / 4)
        assert times[1:] == [began]


@virtual_time
async def test_nothing_wakes_it_but_what_matters_and_the_time() -> None:
    async with master() as world:
        async with rounds(world) as times:
            for number in range(20):
                world.cluster.state.observe(NEITHER, NodeStatus(message=str(number)))
                await asyncio.sleep(1)
            assert times == []
        async with rounds(world, due=3.0) as times:
            await asyncio.sleep(10)
            assert len(times) == 3


@virtual_time
async def test_more_changes_than_are_kept_are_one_more_round() -> None:
    async with master() as world, rounds(world) as times:
        for number in range(10_500):
            news(world, OTHER, str(number))
        await asyncio.sleep(1)
        assert 1 <= len(times) <= 2
        news(world, OTHER, "it still listens")
        await asyncio.sleep(1)
        assert 2 <= len(times) <= 3


@virtual_time
async def test_a_round_that_fails_is_heard_of() -> None:
    async def once() -> None:
        raise ZeroDivisionError

    async with master() as world:
        broken = Rounds(world.cluster.state, once, urgent=(), others=())
        with pytest.raises(ZeroDivisionError):
            await broken.run()


@virtual_time
async def test_a_long_round_lets_others_in_between() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    slices = Slices(asyncio.get_running_loop().time)
    for _ in range(10):
        freeze(0.001)
        await slices.next()
    task.cancel()
    assert 2 <= turns <= 4
