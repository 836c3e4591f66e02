"""Whoever is cancelled ends, also when his call breaks in the same moment."""

from __future__ import annotations

import asyncio

import pytest

from piccolo.core.errors import Unavailable
from piccolo.rpc.errors import first_of
from piccolo.rpc.isolated import isolated


async def test_cancelled_while_the_call_breaks() -> None:
    breaks = asyncio.Event()

    async def part() -> None:
        await breaks.wait()
        raise Unavailable("the connection was reset")

    async def call() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(part())
                tasks.create_task(asyncio.sleep(60))
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def tries_again_for_ever() -> None:
        while True:
            try:
                await isolated(call())
            except Unavailable:
                await asyncio.sleep(60)

    task = asyncio.create_task(tries_again_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    breaks.set()
    for _ in range(2):  # the call has failed, and is about to raise it
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    assert done, "it goes on, though it was cancelled"
    assert task.cancelled()


async def test_the_errors_of_a_call() -> None:
    async def call(error: BaseException) -> None:
        raise error

    with pytest.raises(Unavailable, match="away"):
        await isolated(call(Unavailable("away")))
    with pytest.raises(Unavailable, match="lost"):
        await isolated(call(asyncio.CancelledError()))
