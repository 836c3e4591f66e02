"""A process that commits 300 objects at a time until it is killed:
`python -m tests.master.changeset_writer DIRECTORY-OR-URL`.

Prints a line when it begins, then the number of each round that is acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from piccolo.core.model import Node
from piccolo.master import keys
from piccolo.master.state_manager import StateManager
from piccolo.store.base import Store
from piccolo.store.mirror import MirroredStore


async def _open(target: str) -> Store:
    if "://" in target:
        from piccolo.store.etcd import EtcdUrl, open_etcd

        return await open_etcd(EtcdUrl.parse(target), ttl=1)
    from piccolo.store.sqlite import open_sqlite

    return await open_sqlite(Path(target))


async def write(target: str) -> None:
    mirror = await MirroredStore.load(await _open(target))
    state = StateManager(mirror)
    await state.load()
    rounds = [int(node.labels["round"]) for node in state.nodes()]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(mirror.run())
        tasks.create_task(state.run())
        print("begin", flush=True)
        number = max(rounds, default=-1)
        while True:
            number += 1
            labels = {"round": str(number)}
            nodes = [Node(f"{n:03}", f"n{n}", labels=labels) for n in range(300)]
            await state.commit({keys.node(node.id): node for node in nodes})
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
