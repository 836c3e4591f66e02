"""A master reduced to its store: `python -m tests.store.master URL TTL`.

Commits for each line it reads, and prints "ok" or the error.
"""

from __future__ import annotations

import asyncio
import sys

from piccolo.core.errors import PiccoloError
from piccolo.store.base import Put
from piccolo.store.etcd import open_etcd


async def serve(url: str, ttl: int) -> None:
    store = await open_etcd(url, ttl=ttl)
    print("open", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            await store.commit([Put("master", line.encode())])
            print("ok", flush=True)
        except PiccoloError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
