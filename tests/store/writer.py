"""A process that writes to a store until it is killed: `python -m tests.store.writer DIRECTORY`.

Prints each number once its commit was acknowledged. Every commit changes two keys.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from piccolo.store.base import Put
from piccolo.store.sqlite import open_sqlite


async def write(directory: Path, first: int) -> None:
    store = await open_sqlite(directory, history=50)

    async def write_every(start: int, step: int) -> None:
        number = start
        while True:
            text = b"%d" % number
            await store.commit([Put(f"a/{number}", text), Put(f"b/{number}", text)])
            print(number, flush=True)
            number += step

    await asyncio.gather(*(write_every(first + n, 3) for n in range(3)))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
