"""Workloads as a master sends them, and stories of a watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from piccolo.rpc import wire
from piccolo.rpc.wire import ChangeType
from tests.cli.scripted import now

Story = Callable[[wire.WatchRequest], AsyncIterator[wire.WatchResponse]]


def workload(name: str = "web", **given: Any) -> wire.Workload:
    """One that is as asked, unless said otherwise."""
    fields: dict[str, Any] = {
        "generation": 1,
        "state": "Running",
        "wanted": 1,
        "placed": 1,
        "updated": 1,
        "ready": 1,
        "images": ["localhost/app:1"],
        "instances": [instance()],
        "created_at": now(),
        "changed_at": now(),
        "settled": True,
    }
    return wire.Workload(name=name, **(fields | given))


def starting(name: str = "web", **given: Any) -> wire.Workload:
    fields: dict[str, Any] = {"state": "Starting", "ready": 0, "settled": False}
    return workload(name, **({**fields, "message": "its image is pulled"} | given))


def failed(name: str = "web", **given: Any) -> wire.Workload:
    fields: dict[str, Any] = {"state": "Failed", "ready": 0, "failed": True}
    why = {"reason": "ImageMissing", "message": "localhost/app:1 is not on n1"}
    return workload(name, **(fields | why | given))


def instance(index: int = 0, node: str = "n1", **given: Any) -> wire.WorkloadInstance:
    status = wire.InstanceStatus(phase="Running", ready=True, generation=1, since=now())
    fields: dict[str, Any] = {"status": status, "generation": 1}
    return wire.WorkloadInstance(index=index, node_name=node, **(fields | given))


def added(*workloads: wire.Workload) -> list[wire.WatchResponse]:
    """A complete first list."""
    listed = [wire.WatchResponse(type=ChangeType.ADDED, workload=w) for w in workloads]
    return [*listed, wire.WatchResponse(type=ChangeType.SYNCED)]


def modified(w: wire.Workload) -> wire.WatchResponse:
    return wire.WatchResponse(type=ChangeType.MODIFIED, workload=w)


def deleted(name: str) -> wire.WatchResponse:
    return wire.WatchResponse(type=ChangeType.DELETED, workload=wire.Workload(name=name))


def story(*responses: wire.WatchResponse, pause: float = 0.02, goes_on: bool = True) -> Story:
    """A watch that tells this, and then is silent or, without `goes_on`, ends."""

    async def tell(_: wire.WatchRequest) -> AsyncIterator[wire.WatchResponse]:
        for response in responses:
            yield response
            await asyncio.sleep(pause)
        if goes_on:
            await asyncio.Event().wait()

    return tell


def change(name: str = "web", what: str = "created", generation: int = 1) -> wire.ObjectChange:
    return wire.ObjectChange(kind="Workload", name=name, what=what, generation=generation)
