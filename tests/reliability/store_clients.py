"""Clients of one store, in a process that is killed: `python -m tests.reliability.store_clients
DIRECTORY-OR-URL NAME`.

Each reads and compare-and-sets some keys of a `MirroredStore`, one operation after the other. A
line of JSON says that a change is begun, another one what came of an operation: see `Client`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from piccolo.core.errors import Conflict
from piccolo.store.base import Condition, Delete, Put, Store
from piccolo.store.mirror import MirroredStore
from tests.reliability.linearizable import NEVER, Operation, Outcome, Value

CLIENTS, KEYS = 8, 5
REMOVED = 0.2  # of all changes delete the key
PAUSE = 0.005  # s at most between two operations: so that there are times at which nothing happens


class Client:
    def __init__(self, name: str, store: Store) -> None:
        self._name = name
        self._store = store
        self._chance = random.Random(name)
        self._written = 0

    async def run(self) -> None:
        while True:
            key = f"register/{self._chance.randrange(KEYS)}"
            called = time.monotonic()
            entry = await self._store.get(key)
            value = entry.value.decode() if entry else None
            self._say(Outcome.READ, key, called, value)
            await asyncio.sleep(self._chance.random() * PAUSE)
            if self._chance.random() < 0.5:
                await self._swap(key, value, entry.revision if entry else 0)

    async def _swap(self, key: str, expected: Value, revision: int) -> None:
        self._written += 1
        value = None if self._chance.random() < REMOVED else f"{self._name}-{self._written}"
        operation = Delete(key) if value is None else Put(key, value.encode())
        called = time.monotonic()
        self._say(Outcome.UNKNOWN, key, called, value, expected)
        try:
            await self._store.commit([operation], [Condition(key, revision)])
        except Conflict:
            self._say(Outcome.REFUSED, key, called, value, expected)
        else:
            self._say(Outcome.SWAPPED, key, called, value, expected)

    def _say(
        self, outcome: Outcome, key: str, called: float, value: Value, expected: Value = None
    ) -> None:
        now = time.monotonic()
        print(json.dumps([self._name, outcome.name, called, now, value, expected, key]), flush=True)


def told(lines: list[str]) -> list[Operation]:
    """What the clients of a process saw until it was killed. One instant is one call of a client,
    so a call that has a result too is that."""
    found: dict[tuple[str, float], Operation] = {}
    for line in lines:
        if line.endswith("\n"):
            client, name, called, returned, value, expected, key = json.loads(line)
            outcome = Outcome[name]
            if outcome is Outcome.UNKNOWN:
                returned = NEVER
            operation = Operation(client, outcome, called, returned, value, expected, key)
            found[client, called] = operation
    return list(found.values())


async def main(target: str, name: str) -> None:
    mirror = await MirroredStore.load(await _open(target))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(mirror.run())
        for number in range(CLIENTS):
            tasks.create_task(Client(f"{name}-{number}", mirror).run())


async def _open(target: str) -> Store:
    if "://" in target:
        from piccolo.store.etcd import EtcdUrl, open_etcd

        return await open_etcd(EtcdUrl.parse(target))
    from piccolo.store.sqlite import open_sqlite

    return await open_sqlite(Path(target))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
