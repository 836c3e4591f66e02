"""How long a change takes to reach everybody who watches."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks.ground import PATIENCE
from piccolo.rpc import wire
from tests.e2e.asking import Stub, admin, connection_to
from tests.lab.cluster import Lab
from tests.lab.errors import LabError

LABEL = "fan-out"


class Watchers:
    """Clients that follow all nodes, each over a connection of its own, in this process."""

    def __init__(self, count: int) -> None:
        self._news = asyncio.Condition()
        self._synced = 0
        self._latest: list[tuple[str, float]] = [("", 0.0)] * count  # label, and when it was read

    async def follow(self, number: int, stub: Stub) -> None:
        """For ever, as one of them."""
        async for response in stub.watch(wire.WatchRequest(kind=wire.WatchKind.NODE)):
            at = time.monotonic()
            if response.type == wire.ChangeType.SYNCED:
                self._synced += 1
            elif response.node is not None and LABEL in response.node.labels:
                self._latest[number] = response.node.labels[LABEL], at
            else:
                continue
            async with self._news:
                self._news.notify_all()

    async def synced(self, count: int) -> None:
        """So many of them have read what there is."""
        async with self._news:
            await self._news.wait_for(lambda: self._synced >= count)

    async def last_to_read(self, label: str) -> float:
        """When the last of them had read that label."""
        async with self._news:
            await self._news.wait_for(lambda: all(seen == label for seen, _ in self._latest))
        return max(at for _, at in self._latest)


async def _spread(lab: Lab, node: str, watchers: int, trials: int) -> list[float]:
    crowd, tls = Watchers(watchers), admin(lab)
    took = []
    async with AsyncExitStack() as stack:
        stubs = [
            Stub((await stack.enter_async_context(connection_to(lab.address, tls, 30.0))).channel)
            for _ in range(watchers + 1)
        ]
        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as tasks:
            following = []
            for number in range(watchers):  # one after the other, as people come
                following.append(tasks.create_task(crowd.follow(number, stubs[number])))
                await crowd.synced(number + 1)
            for number in range(trials):
                label = f"trial-{number}"
                request = wire.LabelNodeRequest(node=node, set={LABEL: label}, overwrite=True)
                begun = time.monotonic()
                await stubs[-1].label_node(request)
                took.append(await crowd.last_to_read(label) - begun)
                await asyncio.sleep(0.2)
            for task in following:
                task.cancel()
    return took


def fan_out(lab: Lab, node: str, watchers: int, trials: int) -> list[float]:
    """Seconds from asking for a change of the node until the last of the watchers has read it.

    Raises `LabError` when they do not all come to see it.
    """
    try:
        with lab.master.entered():
            return asyncio.run(_spread(lab, node, watchers, trials))
    except TimeoutError as error:
        raise LabError(f"{watchers} watching clients did not all see a change of {node}") from error
