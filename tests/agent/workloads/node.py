"""The workloads' side of an agent, without sessions: on a fake runtime, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from piccolo.agent.reporter import Reporter
from piccolo.agent.workloads.desired import Change
from piccolo.agent.workloads.service import Workloads
from piccolo.core.workloads.instances import (
    LABEL_INSTANCE,
    LABEL_NODE,
    DependencyState,
    InstanceStatus,
)
from tests.master.virtual_time import now
from tests.runtime.fake import FakeRuntime

NODE = "id-n1"


def labels(key: str, node: str = NODE) -> dict[str, str]:
    return {LABEL_INSTANCE: key, LABEL_NODE: node}


@dataclass(slots=True)
class Node:
    workloads: Workloads
    reporter: Reporter
    runtime: FakeRuntime
    removed: list[str]  # keys of which nothing more is said

    async def ask(self, change: Change, dependencies: Sequence[DependencyState] = ()) -> str:
        """What is wrong with it; empty: it was taken over."""
        answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.workloads.take_over(
            change, dependencies, lambda digest, error: answer.set_result((digest, error))
        )
        digest, error = await answer
        assert digest == self.workloads.digest
        return error

    @property
    def statuses(self) -> dict[str, InstanceStatus]:
        return dict(self.reporter.report.instances)

    @property
    def phases(self) -> dict[str, str]:
        return {key: str(s.phase) for key, s in self.statuses.items()}

    @property
    def running(self) -> set[str]:
        """Names of containers."""
        return {c.name for c in self.runtime._containers.values() if c.state == "running"}

    @property
    def containers(self) -> set[str]:
        return {c.name for c in self.runtime._containers.values()}

    def events(self) -> list[str]:
        """REASON of SUBJECT, of what no master has yet."""
        batch = self.workloads.journal.next_batch()
        happenings = batch.happenings if batch is not None else ()
        return [f"{h.reason} of {h.subject}" for h in happenings]


@asynccontextmanager
async def node(
    directory: Path, runtime: FakeRuntime | None = None, *, absent: bool = False
) -> AsyncIterator[Node]:
    """From the agent's start to its end by SIGKILL. `absent`: there is no runtime."""
    runtime = runtime or FakeRuntime()
    reporter = Reporter(None if absent else runtime)
    workloads = Workloads(
        reporter=reporter, runtime=None if absent else runtime, node_id=NODE, data_dir=directory
    )
    found = Node(workloads, reporter, runtime, [])
    reporter.listener = lambda delta, condition: found.removed.extend(delta.removed_instances)
    tasks = [asyncio.create_task(reporter.run()), asyncio.create_task(workloads.run())]
    try:
        yield found
        for task in tasks:
            assert not task.done() or absent, task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)


async def eventually(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    end = now() + seconds
    while not condition():
        assert now() < end, "it did not become so"
        await asyncio.sleep(0.05)
