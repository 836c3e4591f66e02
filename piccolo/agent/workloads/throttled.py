"""A runtime whose costly verbs wait for their turn: a node that boots starts its workloads a few at
a time, and a small device survives it.

What is fetched over the network has turns of its own, and whoever needs an image that is there
already waits for nobody: a registry that hangs delays nothing but what comes from registries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

from piccolo.core.workloads.containers import PullPolicy
from piccolo.runtime.base import (
    ContainerRequest,
    Containers,
    ContainerUsages,
    ExecResult,
    PodRequest,
    Refusal,
    Refused,
    Runtime,
)

STARTS = 4  # at a time: two containers are made and started a little slower than one
FETCHES = 3


class Throttled:
    """A `Runtime`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._starts = asyncio.Semaphore(STARTS)
        self._fetches = asyncio.Semaphore(FETCHES)
        self.version = runtime.version
        self.pods = runtime.pods
        self.remove_pod = runtime.remove_pod
        self.stop = runtime.stop
        self.remove = runtime.remove
        self.remove_volumes = runtime.remove_volumes
        self.inspect = runtime.inspect
        self.tail = runtime.tail
        self.close = runtime.close

    async def ensure_image(self, image: str, pull: PullPolicy) -> str:
        if pull is not PullPolicy.ALWAYS:
            try:
                return await self._runtime.ensure_image(image, PullPolicy.NEVER)
            except Refused as refused:
                if pull is PullPolicy.NEVER or refused.reason is not Refusal.IMAGE_MISSING:
                    raise
        async with self._fetches:
            return await self._runtime.ensure_image(image, pull)

    async def create_pod(self, request: PodRequest) -> str:
        async with self._starts:
            return await self._runtime.create_pod(request)

    async def create(self, request: ContainerRequest) -> str:
        async with self._starts:
            return await self._runtime.create(request)

    async def start(self, id: str) -> None:
        async with self._starts:
            await self._runtime.start(id)

    # ---- as they are ----

    async def list(self, ids: Collection[str] | None = None) -> Containers:
        return await self._runtime.list(ids)

    def changes(self) -> AsyncGenerator[frozenset[str], None]:
        return self._runtime.changes()

    async def usage(self) -> ContainerUsages:
        return await self._runtime.usage()

    async def exec(self, id: str, command: tuple[str, ...], timeout: float) -> ExecResult:
        return await self._runtime.exec(id, command, timeout)
