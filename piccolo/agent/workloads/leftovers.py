"""What was left on the node of instances that are not to run here any more.

It exists where an agent was killed while it removed an instance. Only what carries the label of
this very node is touched: people's containers, and those of another agent on the same machine, are
none of our business.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from piccolo.agent.workloads.desired import is_key
from piccolo.core.model import Container
from piccolo.core.workloads.instances import LABEL_INSTANCE, LABEL_NODE
from piccolo.runtime.base import Runtime

_GRACE = 10.0  # s: what the spec said is not known any more


@dataclass(frozen=True, slots=True)
class Left:
    containers: tuple[Container, ...]
    pods: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.containers or self.pods)


def owner(container: Container, node_id: str) -> str:
    """The key of the instance that a container of this node belongs to; empty: it is not ours."""
    key = container.labels.get(LABEL_INSTANCE, "")
    return key if container.labels.get(LABEL_NODE) == node_id and is_key(key) else ""


async def find(runtime: Runtime, node_id: str, directory: Path) -> set[str]:
    """The keys of all instances that have a pod or a directory. Those that have a container are
    seen by whoever follows the runtime."""
    pods = await runtime.pods({LABEL_NODE: node_id, LABEL_INSTANCE: ""})
    names = await asyncio.to_thread(_directories, directory)
    return {key for key in (*names, *(p[LABEL_INSTANCE] for p in pods.values())) if is_key(key)}


def _directories(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def look(runtime: Runtime, node_id: str, key: str) -> Left:
    found = await runtime.list()
    pods = await runtime.pods({LABEL_NODE: node_id, LABEL_INSTANCE: key})
    return Left(tuple(c for c in found if owner(c, node_id) == key), tuple(pods))


async def remove(runtime: Runtime, key: str, left: Left) -> None:
    """Gently where it runs. What was done is not to be done again, should it be interrupted."""
    running = [c.id for c in left.containers if c.state == "running"]
    stopped = await asyncio.gather(
        *(runtime.stop(id, _GRACE) for id in running), return_exceptions=True
    )
    for error in stopped:
        if error is not None:
            raise error
    for pod in left.pods:
        await runtime.remove_pod(pod)
    for container in left.containers:
        await runtime.remove(container.id)
    await runtime.remove_volumes(f"{key}.")
